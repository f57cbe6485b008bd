"""Backends: the same numbers from each, and no slow run in silence where one cannot be had."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import rtx
from rtx.api import read_clip
from rtx.engine.backends import load
from rtx.engine.engine import Engine
from rtx.engine.graph_backend import Graph, GraphBackend
from rtx.engine.onnx_graph import open_session
from rtx.engine.quicker import Captures
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.explain.features import ksigma
from rtx.nets import cards

if TYPE_CHECKING:
    import openvino

GRAPHS = ("onnx", "openvino")
FILES = ("hitting_baseball.mp4", "flipping_pancake.mkv")


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return read_clip("scene:hall?seed=7", "figures", 6.0).clip.frames[None]


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("backend", GRAPHS)
@pytest.mark.parametrize("explainer", ["cam(rest=True)", "contrast", "tube", "cam | selective(n=2)"])
def test_each_gives_what_torch_gives(backend: str, explainer: str, figures: TorchBackend, clip: np.ndarray):
    expected = Engine(figures, explainer, continual=False).run(clip)
    with_graph = Engine(load(figures.card, backend, "cpu", "fp32"), explainer, continual=False)  # type: ignore[arg-type]
    for n in (1, 3):  # The graph is made once and takes any number.
        found = with_graph.run(np.repeat(clip, n, 0))
        assert far(found.forward.logits, expected.forward.logits) < 1e-3
        assert far(found.explained.relevance, expected.explained.relevance) < 1e-3
        assert len(found.explained.relevance) == n


@pytest.mark.parametrize("backend", [pytest.param("onnx", marks=pytest.mark.thorough), "openvino"])
def test_on_real_clips_with_real_weights_all_agree(backend: str, i3d: TorchBackend, clips: Path):
    frames = np.concatenate([read_clip(clips / file, "i3d-k400").clip.frames[None] for file in FILES])
    with_graph = Engine(load(i3d.card, backend, "cpu", "fp32", 1), "cam")  # type: ignore[arg-type]
    expected, found = Engine(i3d, "cam").run(frames), with_graph.run(frames)
    assert far(found.forward.logits, expected.forward.logits) < 1e-3
    assert far(found.explained.relevance, expected.explained.relevance) < 1e-3
    strong, cells = (ksigma(run.forward, k=3.0) for run in (found, expected))
    assert float(((strong - cells).abs() > 1e-3 * cells.max()).float().mean()) < 1e-3, "but for cells on the threshold"


def test_in_bf16_the_first_class_is_the_same(i3d: TorchBackend, clips: Path, monkeypatch: pytest.MonkeyPatch):
    """A CPU without bf16 computes in fp32 with numbers that are rounded as one with bf16 would round them."""
    backend = load(i3d.card, "openvino", "cpu", "auto", 1)
    if backend.precision == "fp32":
        core = backend._core  # type: ignore[attr-defined]
        read = SimpleNamespace(
            read_model=lambda path: rounding(core.read_model(path)), compile_model=core.compile_model
        )
        monkeypatch.setattr(backend, "_core", read)
    frames = np.concatenate([read_clip(clips / file, "i3d-k400").clip.frames[None] for file in FILES])
    expected, found = (Engine(of, "cam").run(frames).forward.logits for of in (i3d, backend))
    assert far(found, expected) > 1e-4, "it is rounded"
    assert found.argmax(1).tolist() == expected.argmax(1).tolist()


def rounding(model: openvino.Model) -> openvino.Model:
    """Its convolutions and products take and give numbers rounded to bf16; their sums are of fp32."""
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            users = node.output(0).get_target_inputs()
            for taken in node.inputs():
                taken.replace_source_output(in_bf16(taken.get_source_output()))
            given = in_bf16(node.output(0))
            for user in users:
                user.replace_source_output(given)
    return model


def in_bf16(value: openvino.Output) -> openvino.Output:
    """The nearest of 8 significant bits, by Dekker's splitting: a conversion there and back is optimised away."""
    from openvino import opset13 as op

    large = op.multiply(value, np.float32(2**16 + 1))
    return op.subtract(large, op.subtract(large, value)).output(0)


def test_numbers_are_rounded_to_bf16_as_torch_rounds_them():
    import openvino
    from openvino import opset13 as op

    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    taken = op.parameter([1000], np.float32)
    model = openvino.Model([op.result(in_bf16(taken.output(0)))], [taken])
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(model, "CPU", settings).create_infer_request().infer([values.numpy()])[0]
    assert torch.equal(torch.from_numpy(found), values.bfloat16().float())


def test_a_smaller_clip_gets_a_graph_of_its_own(clip: np.ndarray):
    backend = load(cards.card("figures"), "openvino", "cpu", "fp32")
    engine = Engine(backend, "cam", continual=False)
    assert engine.run(clip).explained.relevance.shape != engine.run(clip[:, :, ::2, ::2]).explained.relevance.shape


@pytest.mark.parametrize(("backend", "endings"), [("onnx", [".onnx"]), ("openvino", [".bin", ".xml"])])
def test_a_graph_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: np.ndarray, backend: str, endings: list[str]
):
    monkeypatch.setenv("RTX_CACHE", str(tmp_path))
    times = []
    for _ in range(2):
        Engine(load(cards.card("figures"), backend, "cpu"), "cam", continual=False).run(clip)  # type: ignore[arg-type]
        written = sorted((tmp_path / "graphs").iterdir(), key=lambda path: path.suffix)
        assert [path.suffix for path in written] == endings
        times.append([path.stat().st_mtime_ns for path in written])
    assert times[0] == times[1]


@pytest.mark.parametrize("backend", [pytest.param("onnx", marks=pytest.mark.thorough), "openvino"])
def test_a_kept_graph_that_is_damaged_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: np.ndarray, backend: str, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RTX_CACHE", str(tmp_path))
    expected = Engine(load(cards.card("figures"), backend, "cpu"), "cam", continual=False).run(clip)  # type: ignore[arg-type]
    for path in (tmp_path / "graphs").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = Engine(load(cards.card("figures"), backend, "cpu"), "cam", continual=False).run(clip)  # type: ignore[arg-type]
    assert torch.equal(found.forward.logits, expected.forward.logits)
    assert "cannot be read and is made anew" in capfd.readouterr().err


def test_of_kept_graphs_the_least_lately_used_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RTX_CACHE", str(tmp_path))
    monkeypatch.setattr("rtx.engine.graph_backend.MOST_KEPT", 2)

    class InTwoFiles(GraphBackend):
        ending = ".xml"

        def write(self, clip: torch.Tensor, path: Path) -> None:
            path.write_text("graph")
            path.with_suffix(".bin").write_text("weights")

        def open(self, path: Path) -> Graph:
            return lambda clip: (clip, clip)

    backend = InTwoFiles(cards.card("figures"), torch.device("cpu"), "fp32", 1)
    of_size = [torch.zeros(1, 3, 16, size, size) for size in (64, 32, 16)]
    backend.graph(of_size[0])
    (first,) = (tmp_path / "graphs").glob("*.xml")
    for clip in (of_size[1], of_size[0], of_size[2]):
        backend.graph(clip)
    kept = list((tmp_path / "graphs").glob("*.xml"))
    assert len(kept) == len(list((tmp_path / "graphs").glob("*.bin"))) == 2
    assert first in kept, "it was used since"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_is_refused_where_onnx_runtime_would_take_the_cpu(clip: np.ndarray):
    """It lists CUDA among what is available, and falls back to the CPU without a word."""
    engine = Engine(load(cards.card("figures"), "onnx", "cuda"), "cam", continual=False)
    with pytest.raises(UserError, match=r"took CPUExecutionProvider instead of CUDAExecutionProvider.*--device cpu"):
        engine.run(clip)


def test_a_session_that_gets_what_was_asked_for_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    class Session:
        def __init__(self, path: str, options: object, providers: list[object]):
            asked.append(providers)

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    open_session(tmp_path / "any.onnx", "cuda", 1)
    assert asked == [[("CUDAExecutionProvider", {"use_tf32": "0"})]]


@pytest.mark.parametrize(
    ("backend", "device", "precision", "says"),
    [
        ("openvino", "cuda", "auto", "runs on CPUs"),
        ("openvino", "cpu", "fp16", "'fp16' is not for openvino"),
        ("onnx", "cpu", "bf16", "computes in fp32"),
        ("graphs", "cpu", "auto", "needs a GPU"),
    ],
)
def test_what_cannot_be_is_said(backend: str, device: str, precision: str, says: str):
    with pytest.raises(UserError, match=says):
        load(cards.card("figures"), backend, device, precision)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"backend": "nope"}, {"device": "tpu"}, {"precision": "int8"}])
def test_what_is_not_known_is_never_taken_for_something_else(wrong: dict[str, str]):
    (what,) = wrong
    with pytest.raises(UserError, match=f"unknown {what} '{wrong[what]}'"):
        rtx.load("figures", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", GRAPHS)
def test_an_explainer_that_needs_gradients_is_refused(backend: str):
    with pytest.raises(UserError, match=f"grad_cam reads gradients, and backend '{backend}' gives features only"):
        Engine(rtx.load("figures", backend=backend), "grad_cam", continual=False)  # type: ignore[arg-type]


def test_a_network_that_is_followed_frame_by_frame_stays_with_torch():
    with pytest.raises(UserError, match=r"only backend 'torch' does.*worker.continual=false"):
        Engine(rtx.load("figures", backend="openvino"), "cam")


class Recorded:
    """A captured pass that only tells what it was given."""

    made: list[tuple[int, ...]] = []  # noqa: RUF012

    def __init__(self, run: object, clip: torch.Tensor):
        self.made.append(tuple(clip.shape))

    def __call__(self, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return clip, clip + 1


def test_a_pass_is_captured_once_for_each_shape_and_the_least_used_makes_room():
    Recorded.made.clear()
    captures = Captures(lambda clip: (clip, clip), Recorded, most=2)
    one, two, three = (torch.zeros(n, 3) for n in (1, 2, 3))
    for clip in (one, two, one, three, one, two):
        features, logits = captures(clip)
        assert features is clip
        assert float(logits.min()) == 1
    assert Recorded.made == [(1, 3), (2, 3), (3, 3), (2, 3)]
