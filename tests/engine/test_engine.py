"""The engine and the worker's rounds: batches over cameras, targets, what travels."""

from __future__ import annotations

import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import rtx
from rtx.config import Budget, Camera, Pipeline, Worker
from rtx.engine.engine import MAX_MAP_SIDE, Engine, Found
from rtx.engine.pace import Pace
from rtx.engine.stream import Stream
from rtx.engine.torch_backend import TorchBackend, choose_device, choose_precision
from rtx.engine.window import Clip, Window
from rtx.engine.worker import Watched, step
from rtx.engine.worker import _choose as choose
from rtx.errors import UserError
from rtx.explain.steps import Memory
from rtx.geometry import Rect
from rtx.link.frames import Frame, FrameReader
from rtx.link.sockets import Sockets, private_folder
from rtx.link.wire import Choice, Explanation, pack, unpack_map
from rtx.process import Report
from rtx.scenes.film import film
from rtx.scenes.scene import Cast


def a_clip(camera: str = "c", seed: int = 0, size: int = 112) -> Clip:
    """Of the drawn hall."""
    frames = film(Cast.draw(seed, held_out=True), 16, 15, size, size).frames
    return Clip(camera, 7, 3, 63, frames, tuple(range(0, 1600, 100)), 480, 640, Rect(80, 0, 480, 480))


def test_explanations_survive_the_wire(figures):
    explanation = Engine(figures, "cam").explain([a_clip()])[0]
    assert unpack_map(pack(explanation)) == explanation
    assert explanation.rect == (80, 0, 480, 480)
    assert explanation.map.shape == (16, 14, 14)
    assert explanation.target == explanation.top[0].label


def test_a_batch_gives_what_each_clip_gives_alone(figures):
    engine = Engine(figures, "ksigma(k=2)")
    clips = [a_clip("a", 1), a_clip("b", 2)]
    for together, clip in zip(engine.explain(clips), clips, strict=True):
        alone = engine.explain([clip])[0]
        assert together.camera == alone.camera
        np.testing.assert_allclose(together.map.array(), alone.map.array(), rtol=1e-3, atol=1e-3)
        assert together.top[0].p == pytest.approx(alone.top[0].p, abs=1e-4)


def test_maps_of_clip_size_travel_small_and_newest_only(i3d):
    explanation = Engine(i3d, "cam | selective(n=1)").explain([a_clip(size=224)], [Memory()])[0]
    assert explanation.map.shape == (1, MAX_MAP_SIDE, MAX_MAP_SIDE)
    assert explanation.map.dtype == "float16"
    assert explanation.map.cells.centre == (15.0, 1.5, 1.5)
    assert 0 <= explanation.motion_share <= 1


def test_a_target_is_explained_and_listed_though_it_is_unlikely(figures):
    likely = {top.label for top in Engine(figures, "cam").explain([a_clip()])[0].top}
    unlikely = next(label for label in figures.card.labels if label not in likely)
    explanation = Engine(figures, "cam", unlikely).explain([a_clip()])[0]
    assert explanation.target == unlikely
    assert {top.label for top in explanation.top} == likely | {unlikely}


def test_a_class_blind_explainer_names_no_target(figures):
    assert Engine(figures, "ksigma").explain([a_clip()])[0].target is None


def test_live_and_file_say_the_same(figures):
    """One clip through the live engine and through `rtx.explain`."""
    clip = rtx.read_clip("scene:hall?seed=7", figures, 4)
    live = Engine(figures, "cam", continual=False).explain([clip.clip])[0]
    result = rtx.explain(figures, clip, "cam")
    np.testing.assert_allclose(live.map.array(), result.relevance, rtol=1e-5, atol=1e-4)
    assert live.top[0].label == result.top[0].label


def test_two_threads_explain_with_one_model(figures):
    expected = [rtx.explain(figures, a_clip(seed=s).frames, "ksigma").relevance for s in (1, 2)]
    found: dict[int, np.ndarray] = {}

    def work(seed: int) -> None:
        found[seed] = rtx.explain(figures, a_clip(seed=seed).frames, "ksigma").relevance

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (1, 2):
        np.testing.assert_allclose(found[seed], expected[seed - 1], rtol=1e-4, atol=1e-4)


def test_a_wrong_clip_is_named(figures):
    with pytest.raises(UserError, match=r"\(16, H, W, 3\) in BGR; got uint8 \(8, 64, 64, 3\)"):
        rtx.explain(figures, np.zeros((8, 64, 64, 3), np.uint8))


def test_cuda_is_refused_where_it_is_not():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match="device 'cuda' is not usable here"):
        choose_device("cuda")
    with pytest.raises(UserError, match="fp16' needs a GPU"):
        choose_precision("fp16", choose_device("auto"))


def test_bf16_is_refused_where_the_cpu_would_only_emulate_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rtx.engine.torch_backend.cpu_has_bf16", lambda: False)
    assert choose_precision("auto", torch.device("cpu")) == "fp32"
    with pytest.raises(UserError, match="this CPU does not multiply bf16"):
        choose_precision("bf16", torch.device("cpu"))


class CountingEngine(Engine):
    """Notes which cameras came together."""

    def __init__(self, backend: TorchBackend, explainer: str, continual: bool = True):
        super().__init__(backend, explainer, continual=continual)
        self.batches: list[list[str]] = []

    def find(self, clips: list[Clip], memory: list[Memory] | None = None) -> list[Found]:
        self.batches.append([clip.camera for clip in clips])
        return super().find(clips, memory)


@pytest.mark.parametrize("continual", [True, False])
def test_cameras_that_are_due_together_are_one_batch(figures, continual: bool):
    engine = CountingEngine(figures, "cam", continual)
    names = ("a", "b", "c")
    pipeline = Pipeline(camera=tuple(Camera(source="synthetic:", name=name) for name in names), worker=Worker())
    with private_folder() as folder, Sockets() as sockets:
        watched = []
        for index, camera in enumerate(pipeline.camera):
            window = (Stream if continual else Window)(figures.card.clip, camera.roi, camera.fit)
            reader = FrameReader(sockets, pipeline.link, folder, index)
            out = sockets.publish(f"ipc://{folder}/maps-{index}")
            watched.append(Watched(index, camera, window, reader, out, None))
        picture = np.zeros((240, 320, 3), np.uint8)
        for number in range(70):
            for one in watched[: 2 if number < 5 else 3]:
                frame = Frame(one.camera.name, 1, number, number * 33_333_333, picture)
                one.window.shrink(frame)
                one.window.add(frame)
        report = Report("worker")
        pace: Pace[Watched] = Pace(engine, Budget(), len(names), report)
        step(engine, watched, report, pace)
        step(engine, watched, report, pace)
    assert engine.batches == [["a", "b", "c"]], "one batch of three, and none again without new frames"
    assert report.counts["largest_batch"] == 3


def test_evidence_is_what_is_shown(figures):
    """The newest frame: a map that is empty there says so, whatever it has on frames before."""
    engine = Engine(figures, "dtd | selective(n=4)", continual=False)
    seen = set()
    for number in range(4):
        explanation = engine.explain([a_clip(seed=number)])[0]
        assert explanation.evidence == bool((explanation.map.array()[-1] > 0).any())
        seen.add(explanation.evidence)
    assert False in seen


def test_a_usual_peak_is_that_of_the_explainer_as_declared(figures):
    peaks = figures.card.peaks
    for chain, peak in (("cam", peaks["cam"]), ("cam | selective", peaks["cam"]), ("pyramid(depth=0)", 0.0)):
        assert Engine(figures, chain, continual=False).explain([a_clip()])[0].peak == peak


def test_another_explainer_is_chosen_and_one_that_does_not_fit_leaves_all_as_it_was(figures):
    engine = Engine(figures, "cam", continual=False)
    engine.choose("ksigma(k=2)", None)
    assert engine.explain([a_clip()])[0].explainer == "ksigma(k=2.0)"
    engine.choose("contrast(against='kick')", "squat")
    with pytest.raises(UserError, match="unknown layer 'block9'"):
        engine.choose("cam3d(layer='block9')", None)
    with pytest.raises(UserError, match="did you mean 'squat'"):
        engine.choose("cam", "sqat")
    explanation = engine.explain([a_clip()])[0]
    assert (explanation.explainer, explanation.asked) == ("contrast(against=7)", "squat")


def test_what_goes_wrong_with_a_choice_is_an_answer_and_not_the_end_of_the_worker(figures, monkeypatch, capsys):
    """Somebody's network may fail in its own way."""
    engine, report = Engine(figures, "cam"), Report("worker")

    def fail(*_: object) -> None:
        raise RuntimeError("element 0 of tensors does not require grad\nand more")

    monkeypatch.setattr(engine, "warm_up", fail)
    said = choose(Choice(1, "dtd", None), engine, [], report, Pace(engine, Budget(), 1, report))
    assert said == "dtd fails here, and it stays with cam: RuntimeError: element 0 of tensors does not require grad"
    assert report.counts["choices_failed"] == 1
    assert "Traceback" in capsys.readouterr().err
    assert str(engine.chain) == "cam"


def test_what_is_explained_already_costs_nothing(figures, monkeypatch):
    engine = Engine(figures, "contrast(against='kick')", "squat")
    monkeypatch.setattr(engine, "warm_up", lambda *_: pytest.fail("a pass for nothing"))
    assert not engine.choose("contrast(against=7)", "squat")


def test_whether_a_stream_is_followed_depends_on_what_was_chosen(figures):
    engine = Engine(figures, "cam")
    assert engine.follows
    engine.choose("dtd", None)
    assert not engine.follows
    engine.choose("ksigma", None)
    assert engine.follows


def moving_right(size: int) -> np.ndarray:
    """Blotches that move four pixels a frame: 16 size size 3."""
    dice = np.random.default_rng(0)
    wide = cv2.resize(dice.integers(0, 256, (size // 8, size // 2, 3), np.uint8), (4 * size, size))
    return np.stack([wide[:, 2 * size - 4 * t : 3 * size - 4 * t] for t in range(16)])


def test_k_sigma_of_a_twin_network_shows_both_branches(twin: Engine):
    clip = replace(a_clip(size=48), frames=moving_right(48))
    explanation = unpack_map(pack(twin.explain([clip])[0]))
    assert isinstance(explanation, Explanation)
    assert explanation.beside is not None
    assert explanation.beside.map.shape == explanation.map.shape == (2, 6, 6)
    assert not np.array_equal(explanation.beside.map.array(), explanation.map.array())
    flow = explanation.beside.flow()
    limit = twin.card.flow.mean + 3 * twin.card.flow.deviation
    assert np.median(flow[8:-8, 8:-8, 0]) * limit == pytest.approx(4, abs=0.5)


def test_it_does_on_a_backend_that_gives_features_only(twin: Engine):
    pytest.importorskip("openvino")
    clip = replace(a_clip(size=48), frames=moving_right(48))
    asked = Worker(model="twin", explainer="ksigma(k=1)", backend="openvino", precision="fp32")
    expected, found = (engine.explain([clip])[0] for engine in (twin, Engine.of(asked)))
    assert expected.beside is not None
    assert found.beside is not None
    np.testing.assert_allclose(found.beside.map.array(), expected.beside.map.array(), atol=1e-3)


def test_other_explainers_of_it_show_one_map(twin: Engine):
    twin.choose("saliency", None)
    assert twin.explain([replace(a_clip(size=48), frames=moving_right(48))])[0].beside is None


class Broken(torch.nn.Module):
    """Says of every clip that its score is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv3d(3, 4, 3, 2, 1), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(4, 3)
        )
        torch.nn.init.constant_(self.net[3].weight, float("nan"))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.net(clip)
        return scores


def test_a_network_whose_scores_are_no_numbers_is_refused_before_it_names_anything():
    with pytest.raises(UserError, match="its scores are no numbers"):
        Engine(rtx.load(Broken().eval()), "ksigma").warm_up()
