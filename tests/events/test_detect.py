"""An event is a class over its threshold for long enough, with hysteresis."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtx.clock import NS_PER_S
from rtx.config import Events
from rtx.events.detect import Detector
from rtx.link.wire import TopClass

SETTINGS = Events(threshold=0.6, release=0.4, on_s=0.5, off_s=1.0, longest_s=10)


@dataclass
class Told:
    """A detector that is told a clip every tenth of a second, and what it said: what, class, second."""

    detector: Detector = field(default_factory=lambda: Detector(SETTINGS))
    tenths: int = 0
    said: list[tuple[str, str, float, float]] = field(default_factory=list)

    def tell(self, seconds: float, **p: float) -> None:
        for _ in range(round(10 * seconds)):
            changes = self.detector.step(self.tenths * NS_PER_S // 10, [TopClass(k, v) for k, v in p.items()])
            for change in changes:
                of = change.episode
                self.said.append((change.what, of.label, of.start / NS_PER_S, of.seen / NS_PER_S))
            self.tenths += 1


def test_it_begins_when_it_first_was_likely_and_ends_when_it_last_was():
    told = Told()
    told.tell(1.0, kick=0.1)
    told.tell(2.0, kick=0.9)
    told.tell(3.0, kick=0.1)
    assert told.said == [("begins", "kick", 1.0, 1.5), ("ends", "kick", 1.0, 2.9)]


def test_what_does_not_last_is_no_event():
    told = Told()
    for _ in range(5):
        told.tell(0.4, kick=0.9)
        told.tell(0.2, kick=0.3)
    assert told.said == []


def test_between_the_thresholds_nothing_begins_and_nothing_ends():
    told = Told()
    told.tell(2.0, kick=0.5)
    assert told.said == []
    told.tell(1.0, kick=0.7)
    told.tell(5.0, kick=0.45)
    assert [what for what, *_ in told.said] == ["begins"]
    told.tell(0.9, kick=0.39)
    assert [what for what, *_ in told.said] == ["begins"], "a moment's doubt"
    told.tell(0.5, kick=0.41)
    told.tell(1.2, kick=0.1)
    assert [what for what, *_ in told.said] == ["begins", "ends"]


def test_a_class_that_is_not_named_is_not_likely():
    told = Told()
    told.tell(1.0, kick=0.9)
    told.tell(1.5, punch=0.2)
    assert [what for what, *_ in told.said] == ["begins", "ends"]


def test_only_the_chosen_classes_are_events():
    told = Told(Detector(Events(classes=("kick",), on_s=0)))
    told.tell(1.0, punch=0.9, kick=0.05)
    told.tell(1.0, kick=0.9)
    assert [label for _, label, *_ in told.said] == ["kick"]


def test_two_classes_may_be_events_at_once():
    told = Told(Detector(Events(threshold=0.4, release=0.3, on_s=0.2)))
    told.tell(1.0, kick=0.5, punch=0.45)
    assert {label for _, label, *_ in told.said} == {"kick", "punch"}


def test_what_lasts_too_long_becomes_several():
    told = Told()
    told.tell(25.0, kick=0.9)
    assert [what for what, *_ in told.said] == ["begins", "ends", "begins", "ends", "begins"]
    begins = [start for what, _, start, _ in told.said if what == "begins"]
    assert begins[1] == pytest.approx(10.1, abs=0.11)


def test_a_camera_that_is_gone_ends_what_was_open():
    told = Told()
    told.tell(1.0, kick=0.9)
    assert [(change.what, change.episode.label) for change in told.detector.end()] == [("ends", "kick")]
    assert told.detector.end() == []


@given(st.lists(st.floats(0, 1), max_size=200))
def test_beginnings_and_endings_alternate_and_keep_their_order(ps: list[float]):
    told = Told()
    for p in ps:
        told.tell(0.1, kick=p)
    for i, (what, _, start, seen) in enumerate(told.said):
        assert what == ("begins", "ends")[i % 2]
        assert start <= seen
    spans = [(start, seen) for what, _, start, seen in told.said if what == "ends"]
    assert all(before[1] < after[0] for before, after in pairwise(spans))
