"""The reading end of a run: whose class is right, and whose heat is counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from msgspec.structs import replace

from rtx.clock import NS_PER_S
from rtx.config import Camera, Pipeline
from rtx.link.sockets import Sockets, private_folder
from rtx.link.wire import Cells, Explanation, RelevanceMap, Shape, TopClass, Truth
from rtx.show.overlay import LiveScale
from rtx.show.viewer import CameraViewer

BOX = np.array([(200, 200), (400, 200), (400, 400), (200, 400)], np.int32) * 16
SECOND_OF_FRAMES = tuple(range(0, NS_PER_S + 1, NS_PER_S // 10))


@pytest.fixture
def viewer() -> Iterator[CameraViewer]:
    with private_folder() as folder, Sockets() as sockets:
        camera = Camera(source="scene:hall", name="hall")
        yield CameraViewer(sockets, Pipeline(camera=(camera,)), folder, 0, camera, LiveScale())


def explained(label: str, truth: Truth | None, at: tuple[int, int] = (6, 6), input_side: int = 112) -> Explanation:
    """Of a picture of 720 x 720, with a map of 14 x 14 whose maximum lies there."""
    values = np.zeros((1, 14, 14), np.float32)
    values[0, at[1], at[0]] = 1
    stride = input_side / 14
    cells = Cells((16.0, stride, stride), (15.0, (stride - 1) / 2, (stride - 1) / 2))
    return Explanation(
        camera="hall", epoch=1, first_seq=0, last_seq=10, t_frames=SECOND_OF_FRAMES, height=720, width=720,
        rect=(0.0, 0.0, 720.0, 720.0), model="figures", explainer="cam", device="cpu", backend="torch",
        precision="fp32", top=(TopClass(label, 0.9), TopClass("stand", 0.1)), target=label, evidence=True, peak=0.5,
        map=RelevanceMap.of(values, cells, (16, input_side, input_side)), motion_share=None, ms={}, truth=truth,
    )  # fmt: skip


def waving(lasted_ns: int) -> Truth:
    return Truth("wave one hand", ("left_upper_arm",), (Shape("left_upper_arm", BOX.tobytes()),), lasted_ns)


def test_a_class_is_right_or_wrong_where_the_truth_is_known(viewer: CameraViewer):
    for label, right in (("wave one hand", True), ("kick", False)):
        viewer._judge(explained(label, waving(10 * NS_PER_S)))
        assert viewer._right is right
    viewer._judge(explained("kick", None))
    assert viewer._right is None
    assert (viewer.hits.judged, viewer.hits.right) == (2, 1)


def test_a_network_that_has_no_name_for_an_act_is_not_judged_by_it(viewer: CameraViewer):
    explanation = replace(explained("punching bag", waving(10 * NS_PER_S)), model="i3d-k400")
    viewer._judge(explanation)
    assert viewer._right is None
    assert viewer.hits.judged == 0


def test_a_clip_that_shows_two_acts_is_neither_right_nor_wrong(viewer: CameraViewer):
    viewer._judge(explained("wave one hand", waving(NS_PER_S - 1)))
    assert viewer._right is None
    assert viewer.hits.judged == 0
    viewer._judge(explained("wave one hand", waving(NS_PER_S)))
    assert viewer._right is True


@pytest.mark.parametrize("input_side", [112, 224, 4480])
def test_heat_is_judged_where_it_lies_whatever_the_networks_input(viewer: CameraViewer, input_side: int):
    """Cells of 51 pixels; the arm covers those from 4 to 7."""
    for at, hit in (((5, 5), True), ((11, 5), False), ((5, 1), False)):
        hits = viewer.hits.totals[1]
        viewer._judge(explained("wave one hand", waving(10 * NS_PER_S), at, input_side))
        assert viewer.hits.totals[1] - hits == hit
