"""A checkpoint of one's own becomes a model: opened without running anything in it, or refused with the reason."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import rtx
from rtx.cli import app
from rtx.errors import UserError
from rtx.nets import cards
from rtx.nets.add import add
from rtx.nets.i3d import I3D
from rtx.nets.resnet3d import r3d_18
from rtx.nets.weights import read_state

CLASSES = ("fall", "stand up", "walk")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models, a file of labels, and where to put checkpoints."""
    monkeypatch.setenv("RTX_MODELS", str(tmp_path / "models"))
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    return tmp_path


def a_network(classes: int = 3) -> Any:
    torch.manual_seed(0)
    return r3d_18(classes).eval()


def torchvisions(network: Any) -> dict[str, torch.Tensor]:
    return {name.removeprefix("stages."): value for name, value in network.state_dict().items()}


def added(own: Path, checkpoint: Path, **about: Any) -> cards.Card:
    return add(checkpoint, "r3d_18", own / "labels.txt", about.pop("name", "mine"), about, {})


@pytest.mark.parametrize(
    "kind",
    ["wrapped, of several GPUs", *(pytest.param(of, marks=pytest.mark.thorough) for of in ("plain", "safetensors"))],
)
def test_a_checkpoint_gives_the_same_scores_as_the_network_it_is_of(own: Path, kind: str):
    network = a_network()
    state = torchvisions(network)
    path = own / "weights.pth"
    if kind == "safetensors":
        path = own / "weights.safetensors"
        save_file(state, path)
    elif kind == "plain":
        torch.save(state, path)
    else:
        wrapped = {f"module.{name}": value for name, value in state.items()}
        torch.save({"epoch": 3, "state_dict": wrapped, "optimizer": {"lr": 0.1}}, path)
    assert added(own, path).labels == CLASSES
    backend = rtx.load("mine", device="cpu", precision="fp32")
    clip = rtx.read_clip("scene:hall?seed=7", backend).clip.frames[None]
    with torch.inference_mode():
        expected = network(backend.normalise(clip))
    torch.testing.assert_close(backend.forward(clip, [None]).logits, expected, rtol=1e-3, atol=1e-4)
    result = rtx.explain(backend, clip[0], "cam", "walk")
    assert result.target == "walk"
    assert result.relevance.shape == (2, 7, 7)


def test_the_command_says_how_to_run_it_and_the_list_whose_it_is(own: Path):
    torch.save(torchvisions(a_network()), own / "Falls v2.pth")
    options = ["--arch", "r3d_18", "--labels", str(own / "labels.txt"), "--clip", "stride_ms=40"]
    done = CliRunner().invoke(app, ["models", "add", str(own / "Falls v2.pth"), *options])
    assert done.exit_code == 0, done.output
    assert "rtx run 0 --model falls-v2" in done.output
    assert "in place of" not in done.output
    assert cards.card("falls-v2").clip.stride_ms == 40
    listed = CliRunner().invoke(app, ["models", "list"], env={"COLUMNS": "160"}).output
    assert "yours" in next(line for line in listed.splitlines() if "falls-v2" in line)
    assert "none to fetch" in next(line for line in listed.splitlines() if "mfnet" in line)
    again = CliRunner().invoke(app, ["models", "add", str(own / "Falls v2.pth"), *options])
    assert "in place of the model of this name" in " ".join(again.output.split())


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path.with_name("was-here"),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda path: path.write_bytes(pickle.dumps(Evil(path))), "nothing else is opened"),
        (lambda path: torch.save({"model": Evil(path)}, path), "nothing else is opened"),
        (lambda path: path.write_bytes(b"not a checkpoint at all"), "nothing else is opened"),
        (lambda path: path.write_bytes(b""), "nothing else is opened"),
        (lambda path: torch.save([1, 2], path), "no state dict"),
        (lambda path: torch.save({"a": 3}, path), "no state dict"),
        (lambda path: torch.save(torchvisions(a_network(5)), path), r"'fc.weight'.* \(5, 512\), this .* \(3, 512\)"),
        (lambda path: torch.save({"backbone.conv1": torch.zeros(3)}, path), "'backbone.conv1' .* has no place"),
    ],
)
def test_what_is_no_checkpoint_of_it_is_refused(own: Path, made: Any, said: str):
    made(own / "weights.pth")
    with pytest.raises(UserError, match=said):
        added(own, own / "weights.pth")
    assert not (own / "was-here").exists()
    assert not (own / "models" / "mine").exists(), "nothing half made stays"


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"name": "i3d"}, "none of rtx's own"),
        ({"name": "../x"}, "lower-case letters"),
        ({"frames": 0}, "frames"),
        ({"colour": 1}, "colour"),
    ],
)
def test_wrong_settings_are_named(own: Path, about: dict[str, Any], said: str):
    torch.save(torchvisions(a_network()), own / "weights.pth")
    with pytest.raises(UserError, match=said):
        added(own, own / "weights.pth", **about)
    assert not (own / "models" / "mine").exists()


def test_unknown_architectures_files_and_labels_are_named(own: Path):
    torch.save(torchvisions(a_network()), own / "weights.pth")
    with pytest.raises(UserError, match="did you mean 'r3d_18'"):
        add(own / "weights.pth", "r3d18", own / "labels.txt", "mine", {}, {})
    with pytest.raises(UserError, match="takes no such argument"):
        add(own / "weights.pth", "r3d_18", own / "labels.txt", "mine", {}, {"depth": 3})
    with pytest.raises(UserError, match="No such file"):
        added(own, own / "nowhere.pth")
    (own / "labels.txt").write_text("fall\n\nwalk\n")
    with pytest.raises(UserError, match="no empty line between"):
        added(own, own / "weights.pth")


@pytest.mark.parametrize("name", ["r3d-18", "mfnet", "c3d"])
def test_an_architecture_without_weights_does_not_pretend(name: str):
    with pytest.raises(UserError, match=r"without weights that rtx can fetch .* `rtx models add"):
        rtx.load(name)


def test_every_architecture_of_a_card_is_there():
    from rtx.nets.zoo import ARCHITECTURES

    for name in cards.names():
        assert cards.card(name).architecture in ARCHITECTURES
        published = cards.card(name).published
        assert published is None or (published.by and published.files and published.classes and published.licence)


def test_i3d_for_flow_is_another_than_for_rgb(own: Path):
    published = {name: torch.rand(shape) for name, shape in I3D(3, channels=2).published().items()}
    save_file(published, own / "flow.safetensors")
    card = add(own / "flow.safetensors", "i3d_flow", own / "labels.txt", "flow", {"frames": 16}, {})
    assert card.flow is not None
    assert card.flow.alone
    assert rtx.load("flow", device="cpu").normalise(np.zeros((1, 16, 224, 224, 3), np.uint8)).shape[1] == 2
    with pytest.raises(UserError, match="this network has"):
        add(own / "flow.safetensors", "i3d", own / "labels.txt", "rgb", {}, {})


@pytest.mark.parametrize("junk", [b"left\nright\n", b"\x80\x02.", b"PK", b"", b"\x80\x02cos\nsystem\n."])
def test_what_is_no_checkpoint_is_one_line_without_bad_advice(tmp_path: Path, junk: bytes):
    (tmp_path / "x.pt").write_bytes(junk)
    with pytest.raises(UserError, match="no checkpoint of weights alone, and nothing else is opened") as error:
        read_state(tmp_path / "x.pt")
    assert "weights_only" not in str(error.value)
