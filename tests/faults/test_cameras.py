"""Cameras that die, freeze or change: the rest goes on, the state shows, they come back by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtx.link.sockets import Sockets
from rtx.show.view import View
from rtx.show.viewer import Viewer
from tests.faults.conftest import Watched, watched
from tests.rtsp import RtspServer, why_not
from tests.running import SMALL

WITHOUT_WORKER = 'link.parts=["capture", "show"]'
STREAM, OTHER = "grabber camera-1", "grabber camera-2"


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    if reason := why_not():
        pytest.skip(reason)
    with RtspServer(size="320x240", fps=15) as server:
        yield server


@pytest.fixture(scope="module")
def hall(server: RtspServer) -> Iterator[Watched]:
    """An RTSP camera and a second one beside it, shown; nobody explains."""
    with watched(server.url, SMALL, changes=(WITHOUT_WORKER,)) as run:
        run.more(STREAM, "captured", 10)
        yield run


@pytest.fixture
def eyes(hall: Watched) -> Iterator[Viewer]:
    """A second reader of the same run, which sees what the display sees."""
    with Sockets() as sockets:
        yield Viewer(sockets, hall.supervisor.pipeline, hall.supervisor.folder)


def lost(run: Watched) -> bool:
    return "camera lost" in run[STREAM].state


def live(run: Watched) -> bool:
    return run[STREAM].state == "live"


def is_lost_and_the_rest_goes_on(run: Watched, seconds: float) -> None:
    run.until(lambda: lost(run), seconds)
    run.more(OTHER, "captured", 20)
    run.more("display", "shown", 15)


def comes_back_by_itself(run: Watched) -> None:
    run.until(lambda: live(run), 25)
    run.more(STREAM, "captured", 10)
    assert run[STREAM].restarts == run[OTHER].restarts == run["display"].restarts == 0, run.said


def view_of(run: Watched, eyes: Viewer, camera: int, wanted: object) -> View:
    """What is shown of a camera, once its states or its size are as wanted."""

    def seen() -> View | None:
        eyes.views(20)
        view = eyes.cameras[camera].again()
        found = view is not None and wanted in (view.camera_state.split(" ")[:2], view.image.shape[:2])
        return view if found else None

    return run.until(seen, 25)


def test_a_killed_camera_is_lost_and_comes_back(hall: Watched, server: RtspServer, eyes: Viewer):
    view_of(hall, eyes, 0, ["live"])
    server.stop()
    is_lost_and_the_rest_goes_on(hall, 8)
    view = view_of(hall, eyes, 0, ["camera", "lost"])
    assert view.frame_age_ms > 0
    assert "refused" in hall[STREAM].state or "ended" in hall[STREAM].state
    server.start()
    comes_back_by_itself(hall)
    assert view_of(hall, eyes, 0, ["live"]).epoch > view.epoch


def test_a_frozen_camera_is_lost_within_5_s_and_comes_back(hall: Watched, server: RtspServer):
    server.freeze()
    is_lost_and_the_rest_goes_on(hall, 5)
    server.thaw()
    comes_back_by_itself(hall)


def test_a_camera_that_comes_back_with_another_size_is_shown_so(hall: Watched, server: RtspServer, eyes: Viewer):
    view_of(hall, eyes, 0, (240, 320))
    server.stop()
    server._options[1] = "480x272"
    server.start()
    view_of(hall, eyes, 0, (272, 480))
    comes_back_by_itself(hall)


def test_a_lost_camera_empties_its_clip_and_is_explained_again(server: RtspServer):
    with watched(server.url, SMALL, changes=("worker.model=figures",)) as run, Sockets() as sockets:
        eyes = Viewer(sockets, run.supervisor.pipeline, run.supervisor.folder)

        def heat(wanted: bool) -> View | None:
            eyes.views(20)
            view = eyes.cameras[0].again()
            return view if view is not None and (view.heat is not None) == wanted else None

        run.until(lambda: heat(True), 60)
        server.stop()
        run.until(lambda: lost(run), 8)
        run.more("worker", "explained", 1)
        server.start()
        first = run.until(lambda: heat(False), 25)
        assert first.top == ()
        again = run.until(lambda: heat(True), 40)
        assert again.epoch == first.epoch
