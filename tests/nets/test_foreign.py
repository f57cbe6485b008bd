"""Somebody else's network: its layers, its head and where its cells lie are found out; it is left as it was."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rtx
from rtx.engine.engine import Engine
from rtx.errors import UserError
from rtx.explain.registry import DECLARED
from rtx.nets.c3d import C3D
from rtx.nets.foreign import Foreign
from rtx.nets.forward import Network, Staged
from rtx.nets.resnet3d import ResNet3D
from tests.explain.nets import NETS, SIZE, Block, Branched, Plain, Residual, a_clip, a_net, forward_of

CLIP = {"frames": SIZE[0], "size": SIZE[1], "mean": (127.5,) * 3, "std": (127.5,) * 3}
EVERY = [name for name, of in DECLARED.items() if not of.is_step]


class Theirs(nn.Module):
    """As people write them: sums and functional ReLUs in `forward`, one ReLU module used again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, 6, 3, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.block1 = Block(6, 8, 1)
        self.block2 = Block(8, 8, 2)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.block2(F.relu(self.block1(x)))
        scores: Tensor = self.head(self.dropout(F.adaptive_avg_pool3d(x, 1).flatten(1)))
        return scores


class Stack(nn.Module):
    """A plain stack with a fully connected head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(3, 6, 3, 1, 1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(6, 8, 3, 1, 1), nn.ReLU()
        )
        self.pool = nn.MaxPool3d((4, 6, 6))
        self.fc1, self.fc2 = nn.Linear(8 * 4, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc2(F.relu(self.fc1(self.pool(self.features(x)).flatten(1))))
        return scores


def theirs(kind: type[nn.Module] = Theirs) -> nn.Module:
    torch.manual_seed(2)
    return kind()


def frames(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (SIZE[0], *SIZE[1:], 3), np.uint8)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("name", [name for name in EVERY if name != "p3dcam"])  # It looks at all layers that there are.
def test_a_network_taken_as_it_is_is_explained_as_one_of_ours(kind: type[Staged], name: str):
    """The same maps, whether rtx knows the network's stages or has found them out."""
    ours, clip = a_net(kind), a_clip(3)
    found = Foreign(ours, SIZE, f"stages.{ours.last}")
    explainer = DECLARED[name].function
    try:
        expected = explainer(forward_of(ours, clip))
    except UserError as error:
        with pytest.raises(UserError, match=str(error)[:20]):
            explainer(forward_of(found, clip))
        return
    torch.testing.assert_close(explainer(forward_of(found, clip)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [*NETS, *(pytest.param(of, marks=pytest.mark.thorough) for of in (C3D, ResNet3D))])
def test_cells_are_found_where_the_architecture_says_they_lie(kind: type[Staged]):
    torch.manual_seed(0)
    network = kind().eval()
    size = (16, 112, 112) if kind in (C3D, ResNet3D) else SIZE
    found = Foreign(network, size)
    for stage in network.names:
        cells = found.cells(size, f"stages.{stage}")
        assert cells == network.cells(size, stage)
        assert found.shape(size, f"stages.{stage}") == network.shape(size, stage)


def test_what_is_padded_by_hand_moves_the_cells_as_padding_does():
    by_hand = nn.Sequential(nn.ConstantPad3d((1, 0, 2, 0, 3, 1), 0.0), nn.Conv3d(3, 4, 3), nn.Conv3d(4, 4, 1, 2))
    found = Foreign(nn.Sequential(by_hand, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5)), SIZE, "0")
    assert found.cells(SIZE).centre == (-2.0, -1.0, 0.0)
    assert found.cells(SIZE).stride == (2.0, 2.0, 2.0)


def test_what_cannot_be_followed_is_spread_evenly():
    class Resized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, (4, 6, 6), mode="trilinear")

    network = nn.Sequential(Resized(), nn.Conv3d(3, 4, 3, 1, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5))
    cells = Foreign(network, SIZE).cells(SIZE)
    assert cells.stride == (2.0, 4.0, 4.0)
    assert cells.centre == (0.5, 1.5, 1.5)


@pytest.mark.parametrize(
    ("kind", "last"), [(Theirs, "block2"), (Stack, "features"), (Plain, "stages.three"), (Residual, "stages.two")]
)
def test_features_come_from_the_last_layer_with_time_and_space(kind: type[nn.Module], last: str):
    torch.manual_seed(0)
    found = Foreign(kind(), SIZE)
    # A container and the last module in it give the same.
    assert found.last in (last, last.rpartition(".")[0] or last)
    features, _ = found.run(a_clip(1))
    assert features.dim() == 5
    assert min(features.shape[2:]) > 1


def test_pooled_time_is_passed_over_unless_it_is_asked_for():
    network = nn.Sequential(
        nn.Conv3d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv3d(4, 4, (4, 3, 3)), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(4, 5),
    )  # fmt: skip
    assert Foreign(network, SIZE).last == "1"
    assert Foreign(network, SIZE, "2").last == "2"


@pytest.mark.parametrize("kind", [Theirs, Residual, Branched])
def test_a_head_of_pooling_and_one_linear_layer_is_found(kind: type[nn.Module]):
    torch.manual_seed(0)
    network = kind().eval()
    found = Foreign(network, SIZE)
    weight = network.head.weight if isinstance(network, Theirs) else network.weight
    torch.testing.assert_close(found.linear, weight.detach())
    torch.testing.assert_close(found.pooling(2), torch.ones_like(found.pooling(2)))


def test_how_a_head_pools_over_time_is_found(i3d):
    """I3D counts inner feature frames twice."""
    found = Foreign(i3d.network.float(), (16, 96, 96), "stages.Mixed_5c")
    torch.testing.assert_close(found.linear, i3d.network.weight)
    torch.testing.assert_close(found.pooling(4), i3d.network.pooling(4), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("kind", "layer"), [(Stack, None), (Plain, None), (Theirs, "block1")])
def test_any_other_head_is_none(kind: type[nn.Module], layer: str | None):
    found = Foreign(theirs(kind), SIZE, layer)
    assert found.linear is None
    with pytest.raises(UserError, match=r"right before a head of pooling and one linear layer.*take grad_cam"):
        DECLARED["cam"].function(forward_of(found, a_clip(1)))


def state(module: nn.Module) -> dict[str, object]:
    """All that one could notice of a module."""
    return {
        name: (
            type(of), of.training, [*of._forward_hooks], [*of._backward_hooks], of.__dict__.keys(),
            {n: (id(p), p.requires_grad, p.grad is None, p._version) for n, p in of.named_parameters(recurse=False)},
            {n: (id(b), b._version) for n, b in of.named_buffers(recurse=False)},
        )
        for name, of in module.named_modules()
    }  # fmt: skip


@pytest.mark.parametrize("kind", [Theirs, Stack])
@pytest.mark.parametrize("training", [True, False])
def test_your_network_comes_back_as_it_was(kind: type[nn.Module], training: bool):
    """Also while it is being trained, and after every explainer, whether it can explain this network or not."""
    network = theirs(kind).train(training)
    before = state(network)
    model = rtx.load(network, clip=CLIP)
    for name in EVERY:
        try:
            first, again = (rtx.explain(model, frames(), name).relevance for _ in range(2))
        except UserError:
            continue
        np.testing.assert_array_equal(first, again)  # No dropout, no statistics gathered.
    assert state(network) == before


def test_it_comes_back_as_it_was_after_an_exception():
    network = theirs()
    broken: list[str] = []

    def breaks(*_):
        if broken:
            raise RuntimeError(broken[0])

    network.block2.register_forward_hook(breaks)
    model = rtx.load(network, clip=CLIP)
    before = state(network)
    broken.append("broken")
    for name in ("cam", "guided_backprop", "dtd", "pyramid"):
        with pytest.raises(RuntimeError, match="broken"):
            rtx.explain(model, frames(), name)
    broken.clear()
    assert state(network) == before
    rtx.explain(model, frames(), "dtd")


def test_it_is_explained_with_the_weights_that_it_has_now():
    network = theirs()
    model = rtx.load(network, clip=CLIP)
    before = rtx.explain(model, frames(), "grad_cam", 1).relevance
    with torch.no_grad():
        network.block2.one[0].weight.mul_(0.5)
    assert np.abs(rtx.explain(model, frames(), "grad_cam", 1).relevance - before).max() > 0


def test_two_threads_explain_with_one_network():
    network = theirs()
    model = rtx.load(network, clip=CLIP)
    names = [name for name in EVERY if name not in ("cam", "contrast")]
    expected = {name: rtx.explain(model, frames(), name, *given(name)).relevance for name in names}
    wrong: list[str] = []

    def explain(name: str) -> None:
        for _ in range(5):
            if not np.array_equal(rtx.explain(model, frames(), name, *given(name)).relevance, expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=explain, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def given(name: str) -> tuple[int, ...]:
    return () if DECLARED[name].class_blind else (2,)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("blok2", r"unknown layer 'blok2': did you mean 'block2'\?"),
        ("head", r"layer 'head' has no time or no space any more .*; the last one that has: 'block2'"),
    ],
)
def test_a_layer_that_cannot_be_is_named_with_the_nearest_that_can(layer: str, said: str):
    with pytest.raises(UserError, match=said):
        rtx.load(theirs(), layer=layer, clip=CLIP)


class Odd(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.network = theirs()

    def forward(self, x: Tensor) -> object:
        y = self.network(x[:, :2] if self.kind == "crash" else x)
        return {"tuple": (y, y), "sequence": y[:, :, None]}.get(self.kind, y.softmax(1))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("tuple", "the network returns a tuple; wrap it so that it returns logits N M"),
        ("sequence", r"the network returns a tensor of \(1, 5, 1\); wrap it"),
        ("probabilities", "the network returns probabilities; wrap it so that it returns what its softmax takes"),
        ("crash", "the network does not take a clip N C T H W of 1x3x8x24x24: RuntimeError: "),
    ],
)
def test_a_network_that_says_something_else_is_refused(kind: str, said: str):
    with pytest.raises(UserError, match=said):
        rtx.load(Odd(kind), clip=CLIP)


def test_a_network_without_time_and_space_is_refused():
    with pytest.raises(UserError, match="the network has no layer with time and space"):
        rtx.load(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE[0] * SIZE[1] ** 2, 4)), clip=CLIP)


def test_what_your_network_takes_is_checked():
    with pytest.raises(UserError, match=r"clip=\{'size': 'big'\}: Expected `int`, got `str`"):
        rtx.load(theirs(), clip={"size": "big"})
    with pytest.raises(UserError, match=r"leave out device, precision and backend"):
        rtx.load(theirs(), "cpu", clip=CLIP)
    model = rtx.load(theirs(), clip=CLIP)
    with pytest.raises(UserError, match=r"a clip of Theirs is uint8 with shape \(8, H, W, 3\)"):
        rtx.explain(model, frames()[:5])
    with pytest.raises(UserError, match=r"class 5 does not exist: the model has classes 0\.\.4"):
        rtx.explain(model, frames(), "cam", 5)


MODULE = """
from torch import nn

def make(classes=4):
    return nn.Sequential(
        nn.Conv3d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, classes)
    )

def broken():
    raise OSError("no such file: weights.pt")

def number():
    return 3
"""
CARD = """
name = "mine"
title = "Mine"
architecture = "{module}:make"
paper = ""
layer = "1"
[arguments]
classes = 3
[clip]
frames = 8
stride_ms = 40
size = 24
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Python module beside the user; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"mine_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def test_a_factory_makes_a_model(here: str):
    model = rtx.load(f"{here}:make")
    assert model.precision == "fp32"
    result = rtx.explain(model, rtx.read_clip("scene:hall?seed=7", model), "cam")
    assert result.target in {f"class {number}" for number in range(4)}
    assert result.relevance.shape == (8, 56, 56)


def test_a_card_of_ones_own_says_what_the_network_takes_and_knows(here: str, tmp_path: Path):
    card = tmp_path / "card.toml"
    card.write_text(CARD.format(module=here))
    (tmp_path / "labels.txt").write_text("sit\nstand\nrun\n")
    model = rtx.load(str(card))
    result = rtx.explain(model, frames(), "grad_cam", "stand")
    assert (result.model, result.target, result.relevance.shape) == ("mine", "stand", (4, 12, 12))
    assert Engine(rtx.load(str(card), layer="0"), "grad_cam").backend.network.last == "0"
    (tmp_path / "labels.txt").write_text("sit\nstand\n")
    with pytest.raises(UserError, match=r"labels\.txt names 2 classes, but the network scores 3"):
        rtx.load(str(card))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{here}:mak", r"unknown factory in {here}: 'mak': did you mean 'make'\?"),
        ("{here}:broken", "could not be made: OSError: no such file: weights.pt"),
        ("{here}:number", "makes a int, not a torch module"),
        ("nowhere_at_all:make", "No module named 'nowhere_at_all'"),
        ("nowhere/card.toml", "nowhere/card.toml: No such file or directory"),
        ("i3dk400", r"unknown model 'i3dk400': did you mean 'i3d-k400'\?"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_clear_line(here: str, model: str, said: str):
    with pytest.raises(UserError, match=said.format(here=here)):
        rtx.load(model.format(here=here))


def test_a_card_of_ours_without_weights_says_how_to_bring_them(tmp_path: Path):
    card = tmp_path / "card.toml"
    card.write_text(CARD.replace('"{module}:make"', '"i3d"'))
    with pytest.raises(UserError, match=r"bring a checkpoint: `rtx models add CHECKPOINT --arch i3d"):
        rtx.load(str(card))


def test_a_stage_of_ours_can_give_the_features(i3d):
    model = rtx.load("i3d-k400", layer="Mixed_4f")
    clip = rtx.read_clip("scene:hall?seed=7", model)
    assert rtx.explain(model, clip, "grad_cam").relevance.shape == (8, 14, 14)
    network: Network = copy.copy(model.network)
    assert network.linear is None
    with pytest.raises(UserError, match=r"unknown layer 'Mixed_4g': did you mean 'Mixed_4f'\?"):
        rtx.load("i3d-k400", layer="Mixed_4g")


class Hidden(nn.Module):
    """What is easily overlooked: modules in a plain list and under a second name, a buffer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.network = theirs()
        self.norm = nn.BatchNorm3d(3)
        self.path = [self.norm]
        self.again = self._again
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def _again(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return self.network(self.again(self.path[0](x)))  # type: ignore[no-any-return]


def test_nothing_is_touched_that_hides():
    network = Hidden().train()
    before = state(network)
    model = rtx.load(network, clip=CLIP)
    for name in ("cam", "guided_backprop", "dtd", "pyramid"):
        rtx.explain(model, frames(), name)
    assert state(network) == before
    assert int(network.steps) == 0


def test_statistics_gathered_meanwhile_are_taken_over():
    network = theirs().train()
    model = rtx.load(network, clip=CLIP)
    before = rtx.explain(model, frames(), "grad_cam", 1).relevance
    network(torch.randn(2, 3, *SIZE))
    assert np.abs(rtx.explain(model, frames(), "grad_cam", 1).relevance - before).max() > 0


class TwoStems(nn.Module):
    """Branches side by side, one of them with a layer that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.fast = nn.Conv3d(3, 4, 3, 1, 1), nn.Conv3d(3, 4, 3, 1, 1)
        self.aside = nn.Conv3d(4, 2, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        slow, fast = F.relu(self.slow(x)), F.relu(self.fast(x))
        self.aside(fast)
        scores: Tensor = self.head(torch.cat((slow, fast), 1).mean(dim=(2, 3, 4)))
        return scores


def test_3dcam_of_layers_side_by_side():
    found = Foreign(TwoStems(), SIZE)
    relevance = DECLARED["p3dcam"].function(forward_of(found, a_clip(2)))
    assert relevance.shape == (2, *SIZE)
    assert torch.isfinite(relevance).all()


def test_a_stage_counts_once_however_deep_it_is_wrapped():
    torch.manual_seed(0)
    one, two = nn.Sequential(nn.Conv3d(3, 4, 3, 1, 1), nn.ReLU()), nn.Sequential(nn.Conv3d(4, 4, 3, 2, 1), nn.ReLU())
    end = (nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 5))
    flat = nn.Sequential(one, two, *end)
    wrapped = nn.Sequential(nn.Sequential(nn.Sequential(one), nn.Sequential(nn.Sequential(two))), *end)
    networks = [Foreign(of, SIZE) for of in (flat, wrapped)]
    assert networks[0].main == ("0", "1")
    assert networks[1].main == ("0.0", "0.1")
    maps = [DECLARED["p3dcam"].function(forward_of(of, a_clip(1))) for of in networks]
    torch.testing.assert_close(*maps)


def test_half_precision_does_not_hide_a_head():
    found = Foreign(theirs().to(torch.bfloat16), SIZE)
    assert found.linear is not None
    assert found.linear.dtype == torch.float32


def test_a_network_that_takes_one_clip_at_a_time():
    class One(Theirs):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.view(1, 3, *SIZE))

    assert Foreign(One(), SIZE).linear is not None


def test_weights_made_of_others_are_shared_too():
    network = theirs()
    nn.utils.parametrizations.weight_norm(network.stem)
    model = rtx.load(network, clip=CLIP)
    with torch.no_grad():
        ours = exact_logits(model, frames())
        torch.testing.assert_close(ours, network.eval()(model.normalise(frames()[None])))


def exact_logits(model, clip: np.ndarray) -> Tensor:
    return model.forward(clip[None], [None]).logits


def test_frames_left_out_by_slicing_move_the_cells():
    class Every4th(Theirs):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x[:, :, 1::4])

    found = Foreign(Every4th(), (16, 24, 24), "stem")
    assert found.cells((16, 24, 24)).centre == (1.0, 0.0, 0.0)
    assert found.cells((16, 24, 24)).stride == (8.0, 2.0, 2.0)


@pytest.mark.parametrize("model", [None, 3])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(UserError, match="load takes a model's name, a card's file, module:factory, or a torch module"):
        rtx.load(model)


def test_a_clip_read_for_another_model_is_refused(figures):
    clip = rtx.read_clip("scene:hall?seed=7", "i3d-k400")
    with pytest.raises(UserError, match=r"figures takes clips of 16x112x112 .*, this one is 16x224x224: read_clip"):
        rtx.explain(figures, clip)


class Aside(nn.Module):
    """A layer that has no part in the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.aside = nn.Conv3d(3, 4, 3), nn.Conv3d(4, 2, 1)
        self.out = nn.Linear(4, 3)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        a = self.first(clip).relu()
        self.aside(a)
        scores: torch.Tensor = self.out(a.mean(dim=(2, 3, 4)))
        return scores


class Cut(Aside):
    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return super().forward(clip)


@pytest.mark.parametrize(
    ("network", "explainer"),
    [
        (Aside, "cam3d(layer='aside')"),
        (Aside, "excitation_backprop(layer='aside')"),
        (Cut, "saliency"),
        (Cut, "grad_cam"),
    ],
)
def test_a_layer_that_has_no_part_in_the_scores_is_named(network: type[nn.Module], explainer: str):
    model = rtx.load(network().eval(), clip={"frames": 4, "size": 16})
    with pytest.raises(UserError, match="the scores do not depend on what is to be explained"):
        rtx.explain(model, np.zeros((4, 16, 16, 3), np.uint8), explainer)
