"""The faithfulness meter: what it takes away, what it says of that, and how little it costs."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from rtx.clock import NS_PER_S
from rtx.config import Camera
from rtx.engine.engine import Engine, Found
from rtx.engine.faithfulness import PASSES, SHARE, Meter, blanked, elsewhere, most_relevant
from rtx.engine.stream import Stream
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import Clip
from rtx.engine.worker import _tell_faithfulness
from rtx.explain.placing import upsample
from rtx.explain.steps import Memory
from rtx.geometry import Rect
from rtx.health import faithfulness_of
from rtx.link.frames import Frame
from rtx.process import Report
from rtx.scenes.film import Film, film
from rtx.scenes.scene import Cast

SIZE = (16, 112, 112)
LOT = np.random.default_rng(0)


def a_shot(seed: int = 3) -> Film:
    return film(Cast.draw(seed, held_out=True), 16, 15, 112, 112)


def a_clip(seed: int = 3, camera: str = "hall") -> Clip:
    frames = a_shot(seed).frames
    times = tuple(range(1, 17))
    return Clip(Camera(source="scene:hall", name=camera).name, 0, 1, 16, frames, times, 112, 112, Rect(0, 0, 112, 112))


@pytest.fixture
def engine(figures: TorchBackend) -> Engine:
    return Engine(figures, "cam", continual=False)


@pytest.fixture
def found(engine: Engine) -> Found:
    return engine.find([a_clip()])[0]


class Clock:
    """Every look at it is a tenth of a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


def measured(meter: Meter) -> None:
    """A clip, whole: its passes, one after another."""
    for _ in range(2 * PASSES):
        if meter.step():
            return
        meter.explained([], 1e9)
    raise AssertionError("no clip is measured")


def test_the_most_relevant_tenth_is_that_of_the_map_on_the_clip(engine: Engine, found: Found):
    mask = most_relevant(found, LOT)
    assert mask.shape == SIZE
    batch = engine.run(a_shot().frames[None])
    whole = upsample(batch.forward, batch.explained.relevance)[0].numpy()
    assert mask.mean() == pytest.approx(0.1, abs=0.002)
    assert whole[mask].min() >= whole[~mask].max() - 1e-4 * whole.max()


def test_nothing_that_is_not_relevant_is_taken_away(found: Found):
    little = torch.zeros_like(found.relevance)
    little[0, 0, 0] = 1
    assert 0 < most_relevant(replace(found, relevance=little), LOT).mean() < 0.05


def test_of_what_is_equally_relevant_a_tenth_is_taken_by_lot(found: Found):
    even = replace(found, relevance=torch.ones_like(found.relevance))
    mask = most_relevant(even, LOT)
    assert mask.mean() == pytest.approx(0.1, abs=1e-4)
    frames = mask.mean(axis=(1, 2))
    assert frames.min() > 0.05, "from all over the clip"
    assert not most_relevant(replace(found, relevance=torch.zeros_like(found.relevance)), LOT).any()


def test_elsewhere_is_as_much_in_the_same_shape():
    mask = np.zeros(SIZE, bool)
    mask[2:9, 20:50, 30:60] = True
    other = elsewhere(mask, np.random.default_rng(1))
    assert other.sum() == mask.sum()
    assert not np.array_equal(other, mask)
    assert np.array_equal(np.sort(other.any(axis=(1, 2))), np.sort(mask.any(axis=(1, 2))))


def test_what_is_taken_away_has_the_clips_mean_colour_and_the_rest_stays():
    frames = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), np.uint8)
    mask = np.zeros((4, 8, 8), bool)
    mask[1, 2:4] = True
    left = blanked(frames, mask)
    assert np.array_equal(left[~mask], frames[~mask])
    assert (np.abs(left[mask] - frames.mean(axis=(0, 1, 2))) <= 0.5).all()


def test_the_score_falls_where_the_heat_goes_and_less_elsewhere(engine: Engine):
    meter = Meter(engine)
    for seed in range(6):
        meter.explained(engine.find([a_clip(seed)]), 1e9)
        measured(meter)
    told = meter.of("hall")
    assert told is not None
    assert told.clips == 6
    assert told.hottest < told.elsewhere - 0.1
    assert told.elsewhere <= told.whole + 0.05


def test_what_is_said_is_what_the_definition_gives(engine: Engine, found: Found):
    meter = Meter(engine, seed=7)
    meter.explained([found], 1e9)
    measured(meter)

    def score(frames: np.ndarray, number: int) -> float:
        return float(engine.backend.forward(frames[None], [None]).logits[0].softmax(0)[number])

    frames, lot = a_shot().frames, np.random.default_rng(7)
    number = engine.labels.index(found.explanation.top[0].label)
    mask = most_relevant(found, lot)
    other = elsewhere(mask, lot)
    whole, hot, cold = (score(of, number) for of in (frames, blanked(frames, mask), blanked(frames, other)))
    told = meter.of("hall")
    assert told is not None
    assert (told.whole, told.hottest, told.elsewhere) == pytest.approx((whole, hot, cold), abs=1e-3)


def test_it_takes_the_place_of_fewer_than_one_clip_in_twenty(engine: Engine, found: Found):
    """Passes take as long as explaining does, 0.1 s."""
    meter = Meter(engine, Clock())
    for _ in range(1000):
        meter.explained([found], 0.1)
        meter.step()
    assert 1000 * SHARE * 0.8 < meter.passes <= 1000 * SHARE * 1.1
    assert meter.passes / 1000 < 1 / 20
    told = meter.of("hall")
    assert told is not None
    assert told.cost == pytest.approx(meter.passes / 1000, rel=0.05), "counted, and said"


class Slowly:
    """A clock that stands still, but for what the test and a pass add."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch, a_pass: float):
        self.now, score = 0.0, Meter._score

        def slow(meter: Meter, *of: object) -> tuple[int, float]:
            self.now += a_pass
            return score(meter, *of)  # type: ignore[arg-type]

        monkeypatch.setattr(Meter, "_score", slow)

    def __call__(self) -> float:
        return self.now


def test_time_that_the_worker_has_left_counts(engine: Engine, found: Found, monkeypatch: pytest.MonkeyPatch):
    """Thirty clips a second for a minute, explained in no time; and nothing for an hour, which buys nothing."""
    clock = Slowly(engine, monkeypatch, a_pass=0.12)
    meter = Meter(engine, clock)
    for _ in range(60 * 30):
        clock.now += 1 / 30
        meter.explained([found], 0.001)
        meter.step()
    minute = meter.passes
    assert 60 * SHARE / 0.12 * 0.8 < minute <= 60 * SHARE / 0.12 * 1.1
    told = meter.of("hall")
    assert told is not None
    assert told.cost == pytest.approx(minute * 0.12 / 60, rel=0.1)
    clock.now += 3600
    for _ in range(30):
        clock.now += 1 / 30
        meter.explained([found], 0.001)
        meter.step()
    assert meter.passes - minute <= 1


def test_it_stands_back_while_something_is_given_up_and_where_nothing_is_found(engine: Engine, found: Found):
    meter = Meter(engine)
    meter.explained([found], 1e9)
    engine.rung = replace(engine.rung, words="fewer explanations a second")
    assert not meter.step()
    engine.rung = replace(engine.rung, words="")
    meter.explained([replace(found, relevance=-found.relevance.abs())], 1.0)
    for _ in range(5):
        assert not meter.step()
    engine.rung = replace(engine.rung, words="cam instead of dtd")
    meter.explained([found], 1.0)
    engine.rung = replace(engine.rung, words="")
    assert not meter.step(), "that was another explainer's map"
    assert meter.passes == 0


def test_time_in_which_nothing_could_be_measured_is_no_store_of_passes(engine: Engine, found: Found):
    """Ten minutes of overload, and then of clips without evidence; a worker that has just recovered needs its time."""
    meter = Meter(engine, Clock())
    meter.explained([found], 10.0)
    measured(meter)
    before, calm = meter.passes, engine.rung
    engine.rung = replace(calm, words="fewer explanations a second")
    for _ in range(6000):
        meter.explained([found], 0.1)
        meter.step()
    engine.rung = calm
    for _ in range(6000):
        meter.explained([replace(found, relevance=-found.relevance.abs())], 0.1)
        meter.step()
    assert meter.passes == before
    for _ in range(100):
        meter.explained([found], 0.1)
        meter.step()
    assert meter.passes - before <= PASSES + 1 + 100 * SHARE


def test_what_was_measured_of_another_explainer_is_told_no_more(engine: Engine, found: Found):
    meter, report = Meter(engine), Report("worker")
    meter.explained([found], 1e9)
    measured(meter)
    _tell_faithfulness(meter, report)
    assert set(faithfulness_of(report.facts)) == {"hall"}
    meter.anew()
    _tell_faithfulness(meter, report)
    assert faithfulness_of(report.facts) == {}


def test_cameras_take_turns_and_another_explainer_begins_anew(engine: Engine):
    meter = Meter(engine)
    for _ in range(4):
        meter.explained(engine.find([a_clip(3, "a"), a_clip(4, "b")]), 1e9)
        measured(meter)
    told = {camera: meter.of(camera) for camera in meter.cameras}
    assert {camera: of and of.clips for camera, of in told.items()} == {"a": 2, "b": 2}
    meter.anew()
    assert meter.of("a") is None


def test_it_measures_a_network_that_follows_the_stream_once_there_is_a_whole_clip(figures: TorchBackend):
    engine = Engine(figures, "cam")
    assert engine.follows
    stream, meter = Stream(figures.card.clip, (0, 0, 1, 1), "crop"), Meter(engine)
    measured_at = []
    for number, picture in enumerate(film(Cast.draw(3, held_out=True), 40, 15, 112, 112).frames):
        frame = Frame("hall", 1, number, round((number + 1) * NS_PER_S / 15), picture)
        assert stream.wants(frame)
        stream.shrink(frame)
        stream.add(frame)
        clip = stream.clip("hall")
        assert clip is not None
        meter.explained(engine.find([clip], [Memory()]), 1e9)
        meter.step()
        if meter.passes:
            measured_at.append(number)
    assert measured_at[0] == figures.card.clip.frames - 1
    assert meter.of("hall") is not None


def test_of_a_stream_it_measures_what_was_explained_after_all_that_came_before(figures: TorchBackend):
    """The score of the whole clip is the one that stands beside the heat, also where more was seen than the clip."""
    engine = Engine(figures, "cam")
    stream, times = Stream(figures.card.clip, (0, 0, 1, 1), "crop"), []
    for number, picture in enumerate(film(Cast.draw(4, held_out=True), 60, 15, 112, 112).frames):
        frame = Frame("hall", 1, number, round((number + 1) * NS_PER_S / 15), picture)
        stream.shrink(frame)
        stream.add(frame)
        clip = stream.clip("hall")
        assert clip is not None
        found = engine.find([clip], [Memory()])[0]
        if number not in (15, 22, 29, 30, 44, 59):
            continue
        meter = Meter(engine)
        meter.explained([found], 1e9)
        measured(meter)
        told = meter.of("hall")
        assert told is not None
        assert told.whole == pytest.approx(found.explanation.top[0].p, abs=2e-4), number
        times.append(number)
    assert len(times) == 6


def test_the_class_that_was_explained_is_measured_though_another_is_likelier_now(engine: Engine, found: Found):
    least = engine.labels[int(figures_logits(engine).argmin())]
    asked = replace(found, explanation=msgspec.structs.replace(found.explanation, target=least))
    meter = Meter(engine)
    meter.explained([asked], 1e9)
    measured(meter)
    told = meter.of("hall")
    assert told is not None
    assert told.whole == pytest.approx(float(figures_logits(engine).softmax(0).min()), abs=1e-4)


def figures_logits(engine: Engine) -> torch.Tensor:
    return engine.backend.forward(a_shot().frames[None], [None]).logits[0]
