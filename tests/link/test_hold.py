"""A clip on its way to those who look at it closely: one question at a time, and nothing malformed is believed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from rtx.clock import NS_PER_S
from rtx.link import hold as hold_module
from rtx.link.hold import PATIENCE_S, HoldAnswer, HoldAsk
from rtx.link.sockets import Sockets, private_folder
from rtx.link.wire import (
    BadMessage,
    Cells,
    Explanation,
    Held,
    HeldClip,
    Hold,
    RelevanceMap,
    TopClass,
    TreeLayer,
    pack,
    unpack_held,
)
from tests.waiting import until

CELLS = Cells((1.0, 8.0, 8.0), (0.0, 3.5, 3.5))
MAP = RelevanceMap("float32", (1, 1, 2), b"\0" * 8, CELLS, (16, 112, 112))
JPEG = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x70\x00\x70\x01\x01\x11\x00"
CLIP = HeldClip(
    Explanation(
        camera="hall", epoch=1, first_seq=0, last_seq=9, t_frames=(0, 1), height=480, width=640, rect=(0, 0, 480, 480),
        model="figures", explainer="cam", device="cpu", backend="torch", precision="fp32", top=(TopClass("kick", 0.9),),
        target="kick", map=MAP, evidence=True, peak=1.0,
    ),
    (JPEG, JPEG),
    (TreeLayer(-1, 3, 8, ((2, 0.5),), MAP), TreeLayer(0, 1, 8, ((1, 1.0),), MAP)),
)  # fmt: skip


class Ends:
    """Both ends of a line: what the worker was asked, what viewers were told."""

    def __init__(self, sockets: Sockets, address: str):
        self.worker = HoldAnswer(sockets.answer(address))
        self.socket = sockets.ask(address)
        self.display = HoldAsk(self.socket)
        self.asked: list[Hold] = []
        self.told: list[tuple[str, HeldClip | str]] = []

    def ask(self, viewer: str, camera: str = "hall", tree: tuple[int, int] | None = None) -> None:
        self.display.ask(viewer, camera, tree, lambda answer: self.told.append((viewer, answer)))

    def answer(self, hold: Hold) -> Held:
        self.asked.append(hold)
        return Held(hold.number, CLIP) if hold.camera == "hall" else Held(hold.number, refused="no such camera")

    def until_told(self, number: int) -> None:
        def told() -> bool:
            self.display.step()
            self.worker.answer(self.answer)
            return len(self.told) >= number

        until(told)


@pytest.fixture
def ends() -> Iterator[Ends]:
    with private_folder() as folder, Sockets() as sockets:
        yield Ends(sockets, f"ipc://{folder}/hold-0")


def test_each_viewer_gets_what_it_asked_for(ends: Ends):
    ends.ask("a")
    ends.ask("b", "court")
    ends.ask("c", tree=(1, 9))
    ends.until_told(3)
    assert ends.told == [("a", CLIP), ("b", "no such camera"), ("c", CLIP)]
    assert [(of.camera, of.tree) for of in ends.asked] == [("hall", None), ("court", None), ("hall", (1, 9))]


def test_of_one_viewer_the_newest_wish_counts_and_one_is_under_way(ends: Ends):
    ends.ask("a")
    ends.display.step()
    for camera in ("x", "y", "court"):
        ends.ask("b", camera)
        ends.display.step()
    ends.until_told(2)
    assert [of.camera for of in ends.asked] == ["hall", "court"]


def test_a_worker_that_does_not_answer_is_not_waited_for(ends: Ends, monkeypatch: pytest.MonkeyPatch):
    at = [0]
    monkeypatch.setattr(hold_module, "now", lambda: at[0])
    ends.ask("a")
    ends.display.step()
    at[0] = int((PATIENCE_S + 1) * NS_PER_S)
    ends.display.step()
    viewer, why = ends.told[0]
    assert viewer == "a"
    assert "no answer from the worker within 30 s" in str(why)
    ends.ask("b")
    ends.until_told(2)
    assert ends.told[1:] == [("b", CLIP)], "the late answer is nobody's"


def test_what_cannot_be_read_is_counted(ends: Ends):
    ends.socket.send(b"\xc1")

    def counted() -> bool:
        ends.worker.answer(ends.answer)
        return ends.worker.malformed == 1

    until(counted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": (b"no jpeg",)},
        {"frames": ()},
        {"explanation": msgspec.structs.replace(CLIP.explanation, map=msgspec.structs.replace(MAP, data=b"\0" * 7))},
        {"tree": (msgspec.structs.replace(CLIP.tree[0], map=msgspec.structs.replace(MAP, shape=(9, 9, 9))),)},
        {"tree": (msgspec.structs.replace(CLIP.tree[0], below=0), msgspec.structs.replace(CLIP.tree[1], below=5))},
        {"tree": (msgspec.structs.replace(CLIP.tree[0], strongest=((1, float("nan")),)),)},
    ],
)
def test_a_clip_that_is_none_is_not_believed(wrong: dict[str, object]):
    with pytest.raises(BadMessage):
        unpack_held(pack(Held(1, msgspec.structs.replace(CLIP, **wrong))))
