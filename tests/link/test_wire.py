"""The messages: whole round trips, and limits that hold before anything is allocated."""

from __future__ import annotations

import ast
import math
import pickle
import tracemalloc
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtx
from rtx.link import wire
from rtx.link.wire import (
    BadMessage,
    CameraState,
    Cells,
    Explanation,
    FrameJpeg,
    FrameRef,
    Handled,
    RelevanceMap,
    Shape,
    Shown,
    TopClass,
    Truth,
    WorkerState,
    jpeg_size,
    pack,
    unpack_frame,
    unpack_map,
    unpack_shown,
)

CELLS = Cells((8.0, 32.0, 32.0), (4.0, 15.5, 15.5))
VALUES = np.arange(2 * 7 * 7, dtype=np.float32).reshape(2, 7, 7)


def explanation(**changes: object) -> Explanation:
    about = {
        "camera": "hall", "epoch": 3, "first_seq": 10, "last_seq": 70, "t_frames": tuple(range(0, 160, 10)),
        "height": 720, "width": 1280, "rect": (280.0, 0.0, 720.0, 720.0), "model": "i3d-k400",
        "explainer": "ksigma(k=3)", "device": "cpu", "backend": "torch", "precision": "fp32",
        "top": (TopClass("playing cricket", 0.7), TopClass("golf driving", 0.1)), "target": None,
        "map": RelevanceMap.of(VALUES, CELLS, (16, 224, 224)), "evidence": True, "peak": 0.5,
        "motion_share": 0.25, "ms": {"forward": 100.0},
    }  # fmt: skip
    return Explanation(**(about | changes))  # type: ignore[arg-type]


def frame_ref(**changes: object) -> FrameRef:
    about = {
        "camera": "hall", "epoch": 3, "seq": 5, "t_capture": 12, "height": 720, "width": 1280,
        "ring": "memfd:1:2:3", "slot": 5,
    }  # fmt: skip
    return FrameRef(**(about | changes))  # type: ignore[arg-type]


def frame_jpeg(jpeg: bytes, height: int, width: int) -> FrameJpeg:
    return FrameJpeg(camera="hall", epoch=3, seq=5, t_capture=12, height=height, width=width, jpeg=jpeg)


def jpeg(height: int, width: int) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def resized(data: bytes, height: int, width: int) -> bytes:
    """The JPEG with other dimensions in its frame header."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]


FRAMES = [
    frame_ref(),
    frame_jpeg(jpeg(36, 64), 36, 64),
    CameraState(camera="hall", state="lost", since=-5, reason="no frame"),
]
MAPS = [
    explanation(),
    WorkerState(camera="hall", state="collecting", since=4, progress=0.5),
    Handled(camera="hall", epoch=1, seq=2),
]
SHOWN = Shown(camera="hall", epoch=1, seq=2)


@pytest.mark.parametrize("message", FRAMES, ids=lambda m: type(m).__name__)
def test_frame_messages_come_back_as_they_went(message):
    assert unpack_frame(pack(message)) == message


@pytest.mark.parametrize("message", MAPS, ids=lambda m: type(m).__name__)
def test_map_messages_come_back_as_they_went(message):
    assert unpack_map(pack(message)) == message


def test_an_acknowledgement_comes_back_as_it_went():
    assert unpack_shown(pack(SHOWN)) == SHOWN


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_map_keeps_its_numbers(dtype):
    there = unpack_map(pack(explanation(map=RelevanceMap.of(VALUES.astype(dtype), CELLS, (16, 224, 224)))))
    np.testing.assert_array_equal(there.map.array(), VALUES)
    assert there.map.array().dtype == np.float32


def test_a_message_of_another_socket_is_refused():
    for data, unpack in ((pack(MAPS[0]), unpack_frame), (pack(FRAMES[0]), unpack_map), (pack(MAPS[2]), unpack_shown)):
        with pytest.raises(BadMessage):
            unpack(data)


def changed(message: object, **fields: object) -> bytes:
    """The message as it would travel with these fields, whatever its type admits."""
    plain = msgspec.to_builtins(message, builtin_types=(bytes,))
    for name, value in fields.items():
        *path, last = name.split("__")
        node = plain
        for step in path:
            node = node[step]
        node[last] = value
    return msgspec.msgpack.encode(plain)


NAN, INF = math.nan, math.inf
BAD_MAPS = {
    "a shape beyond its bytes": {"map__shape": [512, 8192, 8192]},
    "a side beyond the limit": {"map__shape": [2, 7, 1 << 40]},
    "no side": {"map__shape": [0, 7, 7]},
    "a negative side": {"map__shape": [-2, -7, 7]},
    "four dimensions": {"map__shape": [1, 2, 7, 7]},
    "too few bytes": {"map__data": VALUES.tobytes()[:-1]},
    "too many bytes": {"map__data": VALUES.tobytes() + b"\0"},
    "another dtype": {"map__dtype": "object"},
    "wrong dtype for its bytes": {"map__dtype": "float16"},
    "more frames than any clip": {"map__shape": [8192, 1, 1], "map__data": bytes(4 * 8192)},
    "a clip longer than any": {"map__input_size": [8192, 224, 224]},
    "a map that is not finite": {"map__data": (VALUES * NAN).tobytes()},
    "an infinite relevance": {"map__data": np.full((2, 7, 7), INF, np.float32).tobytes()},
    "a rectangle that is no place": {"rect": [NAN, 0.0, 720.0, 720.0]},
    "an infinite rectangle": {"rect": [0.0, 0.0, INF, 720.0]},
    "an empty rectangle": {"rect": [0.0, 0.0, 0.0, 720.0]},
    "a rectangle far beyond any picture": {"rect": [0.0, 0.0, 1e30, 1e30]},
    "cells that do not advance": {"map__cells": {"stride": [0.0, 32.0, 32.0], "centre": [0.0, 0.0, 0.0]}},
    "cells nowhere": {"map__cells": {"stride": [1.0, 32.0, 32.0], "centre": [NAN, 0.0, 0.0]}},
    "a peak that is no number": {"peak": NAN},
    "a probability that is no number": {"top": [{"label": "x", "p": NAN}]},
    "a probability above one": {"top": [{"label": "x", "p": 1e9}]},
    "no class": {"top": []},
    "a thousand classes": {"top": [{"label": "x", "p": 0.1}] * 1000},
    "a label of a megabyte": {"top": [{"label": "x" * (1 << 20), "p": 0.1}]},
    "a motion share that is no number": {"motion_share": NAN},
    "a duration that is no number": {"ms": {"forward": NAN}},
    "a thousand durations": {"ms": {str(i): 1.0 for i in range(1000)}},
    "no capture time": {"t_frames": []},
    "a thousand capture times": {"t_frames": list(range(1000))},
    "a negative number of a frame": {"last_seq": -1},
    "a camera's name of a megabyte": {"camera": "x" * (1 << 20)},
    "an unknown kind": {"type": "surprise"},
    "text for a number": {"epoch": "3"},
}


@pytest.mark.parametrize("what", BAD_MAPS)
def test_refuses(what):
    with pytest.raises(BadMessage):
        unpack_map(changed(MAPS[0], **BAD_MAPS[what]))


def test_what_the_other_tests_change_is_itself_accepted():
    assert unpack_map(changed(MAPS[0], peak=0.75)).peak == 0.75


@pytest.mark.parametrize(
    "fields",
    [{"height": 0}, {"width": 8193}, {"slot": -1}, {"slot": 1 << 20}, {"seq": -1}, {"ring": "x" * 500}, {"seq": 1.5}],
    ids=str,
)
def test_refuses_a_frame_with(fields):
    with pytest.raises(BadMessage):
        unpack_frame(changed(FRAMES[0], **fields))


def test_nothing_large_is_allocated_for_a_message_that_only_says_it_is_large():
    data = changed(MAPS[0], map__shape=[512, 8192, 8192])
    tracemalloc.start()
    with pytest.raises(BadMessage):
        unpack_map(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_an_oversized_message_is_refused_unread(monkeypatch: pytest.MonkeyPatch):
    class Never:
        def decode(self, data: bytes) -> None:
            raise AssertionError("it was read")

    monkeypatch.setattr(wire, "_map_decoder", Never())
    with pytest.raises(BadMessage, match="bytes"):
        unpack_map(bytes(wire.MAX_MESSAGE_BYTES + 1))


def test_a_jpeg_of_another_size_than_its_message_says_is_refused():
    with pytest.raises(BadMessage):
        unpack_frame(pack(frame_jpeg(jpeg(36, 64), 64, 36)))


def test_a_jpeg_bomb_is_refused_before_it_is_decoded():
    bomb = resized(jpeg(36, 64), 60000, 60000)
    assert jpeg_size(bomb) == (60000, 60000)
    with pytest.raises(BadMessage):
        unpack_frame(pack(frame_jpeg(bomb, 36, 64)))
    with pytest.raises(BadMessage):
        unpack_frame(pack(frame_jpeg(bomb, 60000, 60000)))


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\x01", b"\xff\xd0"], ids=["fill byte", "TEM", "RST0"])
def test_a_false_header_in_a_comment_deceives_nobody(filler: bytes):
    """Decoders skip these bytes; who takes what follows for a length lands where the sender wants it."""
    comments = bytearray((b"\xff\xfe" + (60000).to_bytes(2, "big")).ljust(60002, b" ") * 2)
    follows = (filler + bytes(comments))[2:4]
    lands = 4 + int.from_bytes(follows, "big") - 2 - len(filler)
    comments[lands : lands + 19] = b"\xff\xc0\x00\x11\x08" + (8).to_bytes(2, "big") * 2 + bytes(10)
    true = jpeg(36, 64)
    crafted = true[:2] + filler + bytes(comments) + true[2:]
    decoded = cv2.imdecode(np.frombuffer(crafted, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is None or decoded.shape == (36, 64, 3)
    assert jpeg_size(crafted) in (None, (36, 64))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\x89PNG\r\n", b"\xff\xd8\xff\xc0\x00", b"\xff\xd8" + b"\xff" * 50]
)
def test_what_is_no_jpeg_has_no_size(data: bytes):
    assert jpeg_size(data) is None


@pytest.mark.parametrize("size", [(36, 64), (1, 1), (719, 1283)])
def test_the_size_of_a_jpeg(size: tuple[int, int]):
    assert jpeg_size(jpeg(*size)) == size


@given(st.binary(max_size=300))
def test_random_bytes_are_bad_messages_and_nothing_else(data: bytes):
    for unpack in (unpack_frame, unpack_map, unpack_shown):
        with pytest.raises(BadMessage):
            unpack(data)


@given(st.sampled_from([*FRAMES, *MAPS, SHOWN]), st.data())
def test_damaged_messages_are_bad_messages_or_messages(message, data):
    damaged = bytearray(pack(message))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for unpack in (unpack_frame, unpack_map, unpack_shown):
        try:
            unpack(bytes(damaged))
        except BadMessage:
            continue


def test_deep_nesting_is_a_bad_message():
    with pytest.raises(BadMessage):
        unpack_map(b"\x91" * 100_000)


def test_a_pickle_is_a_bad_message():
    with pytest.raises(BadMessage):
        unpack_map(pickle.dumps(explanation()))


def test_nothing_that_comes_from_outside_is_unpickled():
    """`nets/weights` alone knows pickle, and admits arrays only (see its own tests)."""
    for path in Path(rtx.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        if path.name != "weights.py":
            assert not imported & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}, path
        assert not used & {"recv_pyobj", "send_pyobj"}, path


def outline(*points: tuple[int, int]) -> bytes:
    return np.array(points, np.int32).tobytes()


TRIANGLE = outline((-160, 0), (160, 33), (7, 2**19))
TRUTH = Truth("wave one hand", ("right_upper_arm",), (Shape("right_upper_arm", TRIANGLE), Shape("head", TRIANGLE)))
KNOWN = [frame_ref(truth=TRUTH), msgspec.structs.replace(FRAMES[1], truth=TRUTH), explanation(truth=TRUTH)]
MOST = 16 * 4 * wire.MAX_SIDE


def unpacked(message: object, data: bytes) -> FrameRef | FrameJpeg | Explanation:
    there = unpack_map(data) if isinstance(message, Explanation) else unpack_frame(data)
    assert isinstance(there, FrameRef | FrameJpeg | Explanation)
    return there


@pytest.mark.parametrize("message", KNOWN, ids=lambda m: type(m).__name__)
def test_a_truth_comes_back_as_it_went(message):
    there = unpacked(message, pack(message))
    assert there == message
    assert there.truth is not None
    assert [shape.outline().tolist() for shape in there.truth.shapes] == [[[-160, 0], [160, 33], [7, 2**19]]] * 2


@pytest.mark.parametrize("message", [FRAMES[0], FRAMES[1], MAPS[0]], ids=lambda m: type(m).__name__)
def test_a_frame_that_was_not_drawn_has_no_truth(message):
    assert unpacked(message, pack(message)).truth is None


def test_a_truth_may_show_nothing():
    bare = Truth("stand", (), ())
    assert unpacked(KNOWN[0], pack(frame_ref(truth=bare))).truth == bare


@pytest.mark.parametrize("message", KNOWN, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("points", [outline((MOST, -MOST)), outline(*[(0, 0)] * 64)], ids=["far", "many points"])
def test_an_outline_at_the_limit_is_accepted(message, points: bytes):
    changes = {"truth__shapes": [{"part": "head", "points": points}] * 128}
    there = unpacked(message, changed(message, **changes)).truth
    assert there is not None
    assert len(there.shapes) == 128


BAD_SHAPES = {
    "odd bytes": {"points": TRIANGLE[:-1]},
    "half a point": {"points": TRIANGLE[:-4]},
    "no points": {"points": b""},
    "a point beyond any picture": {"points": outline((0, 0), (MOST + 1, 0))},
    "a point before any picture": {"points": outline((0, -MOST - 1))},
    "the least number there is": {"points": outline((-(2**31), 0))},
    "too many points": {"points": outline(*[(0, 0)] * 65)},
    "points that are text": {"points": "12345678"},
    "points that are a list": {"points": [0, 0]},
    "a part's name of a megabyte": {"part": "x" * (1 << 20)},
    "a part without a name": {"part": None},
}


@pytest.mark.parametrize("message", KNOWN, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("what", BAD_SHAPES)
def test_refuses_a_shape_with(message, what: str):
    shape = {"part": "head", "points": TRIANGLE}
    assert unpacked(message, changed(message, truth__shapes=[shape])).truth is not None
    with pytest.raises(BadMessage):
        unpacked(message, changed(message, truth__shapes=[shape, shape | BAD_SHAPES[what]]))


BAD_TRUTHS = {
    "too many shapes": {"truth__shapes": [{"part": "head", "points": TRIANGLE}] * 129},
    "too many parts that act": {"truth__acting": ["head"] * 33},
    "a part that acts of a megabyte": {"truth__acting": ["x" * (1 << 20)]},
    "an action of a megabyte": {"truth__action": "x" * (1 << 20)},
    "no action": {"truth__action": None},
    "a truth that is a number": {"truth": 1},
}


@pytest.mark.parametrize("message", KNOWN, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("what", BAD_TRUTHS)
def test_refuses_a_truth_with(message, what: str):
    with pytest.raises(BadMessage):
        unpacked(message, changed(message, **BAD_TRUTHS[what]))


@given(st.sampled_from(KNOWN), st.data())
def test_a_damaged_truth_is_a_bad_message_or_an_outline_that_can_be_drawn(message, data):
    damaged = bytearray(pack(message))
    begin = damaged.index(b"truth")
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(begin, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        truth = unpacked(message, bytes(damaged)).truth
    except BadMessage:
        return
    for shape in truth.shapes if truth is not None else ():
        assert 1 <= len(shape.outline()) <= 64
        assert np.abs(shape.outline().astype(np.int64)).max() <= MOST
