"""The live page, driven in a real browser; what it refuses, by raw clients."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from rtx.capture.clockbars import draw_clock, read_clock
from rtx.clock import now
from rtx.config import Page as PageConfig
from rtx.config import Worker
from rtx.errors import UserError
from rtx.explain.registry import DECLARED, Parameter, parse
from rtx.geometry import Rect, input_rect
from rtx.health import Health
from rtx.link.sockets import Sockets, private_folder
from rtx.link.wire import Faithfulness, Shape, TopClass, Truth
from rtx.measure.localisation import HitRates
from rtx.show.asks import Asks
from rtx.show.holding import Holding
from rtx.show.overlay import DIM, draw_focus, draw_heat
from rtx.show.page import PageSink, check_address
from rtx.show.page import shot as shot_module
from rtx.show.page import sink as sink_module
from rtx.show.seating import Seating
from rtx.show.steering import Link, Steering
from rtx.show.view import Heat, Look, View
from tests.browser import MISSING, chromium, until
from tests.show.steered import Steered

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, WebSocketRoute

GREY = 128
BUDGET_MS = 2000.0
NO_EVENTS = Path("/nonexistent")
WHOLE = (0.0, 0.0, 1.0, 1.0)
in_browser = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
Image = NDArray[np.uint8]
Serve = Callable[..., PageSink]


class Known:
    """What is heard of the run's processes, without processes."""

    def __init__(self, newest: Health | None = None):
        self.newest = newest
        self.seats = None if newest is None else newest.seats

    def step(self) -> None:
        return


def asks(steering: Steering | None = None, holding: Holding | None = None, health: Health | None = None) -> Asks:
    known = Known(health)
    steering, holding = steering or Steering(None, Worker(model="figures")), holding or Holding(None)
    return Asks(steering, holding, Seating(None, known), known)  # type: ignore[arg-type]


def plain(height: int = 720, width: int = 1280) -> Image:
    return np.full((height, width, 3), GREY, np.uint8)


def hot(rows: slice, columns: slice, rect: Rect) -> Heat:
    values = np.zeros((56, 56), np.uint8)
    values[rows, columns] = 255
    return Heat(values, rect)


def view(image: Image | None = None, **changes: Any) -> View:
    image = plain() if image is None else image
    rect = input_rect(*image.shape[:2], WHOLE, "crop")
    usual: dict[str, Any] = {
        "camera": "hall",
        "seq": 1,
        "epoch": 1,
        "t_capture": 0,
        "frame_age_ms": 30.0,
        "camera_state": "live",
        "worker_state": "explaining",
        "heat": hot(slice(0, 8), slice(0, 8), rect),
        "top": (TopClass("arm wrestling", 0.834), TopClass("shaking hands", 0.09), TopClass("clapping", 0.021)),
        "target": "arm wrestling",
        "explainer": "cam",
        "model": "i3d-k400",
        "precision": "bf16",
        "heatmap_age_ms": 412.0,
        "misalignment_ms": 374.0,
    }
    return View(image=image, **usual | changes)


def port_of(sink: PageSink) -> int:
    return int(sink.address.rstrip("/").rpartition(":")[2])


class Feed:
    """Shows a view over and over at about 60 a second, each with its own number, until it is stopped."""

    def __init__(self, sink: PageSink, *views: View) -> None:
        self.views = views
        self.seq = 0
        self._sink = sink
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1 / 60):
            self.seq += 1
            for shown in self.views:
                self._sink.show(replace(shown, seq=self.seq))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts pages on free ports."""
    sinks = []

    def start(
        *cameras: str, port: int = 0, opacity: float = 0.6, wishes: Asks | None = None,
        steering: Steering | None = None, events: Path = NO_EVENTS, budget_ms: float = BUDGET_MS, **config: Any,
    ) -> PageSink:  # fmt: skip
        served = PageConfig(port=port, **config)
        sink = PageSink(served, list(cameras or ("hall",)), Look(opacity), budget_ms, wishes or asks(steering), events)
        sinks.append(sink)
        sink.start()
        return sink

    yield start
    for sink in sinks:
        sink.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page at desktop size. Any complaint in its console fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    complaints: list[str] = []
    opened.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    opened.close()
    # A lost connection is logged by the browser itself and cannot be silenced.
    assert [text for text in complaints if "WebSocket connection" not in text] == []


def visit(page: Page, sink: PageSink) -> None:
    page.goto(sink.address, wait_until="commit")
    until(lambda: page.evaluate("document.body !== null"), "the page")


def seq(page: Page, camera: str = "hall") -> int:
    """Number of the frame on the screen; 0 before the first."""
    return int(page.evaluate("name => window.rtx?.tiles[name]?.seq ?? 0", camera))


def shown(page: Page, sink: PageSink, what: View) -> Image:
    """The canvas once `what` is drawn and nothing more is coming."""
    before, had = page.evaluate("[window.rtx?.frames ?? 0, window.rtx?.views ?? 0]")
    sent = sink.status()["frames"]
    with Feed(sink, what) as feed:
        until(lambda: page.evaluate("window.rtx?.frames ?? 0") > before + 2, "the view on the screen")
    handled(sink)
    until(lambda: page.evaluate("rtx.views") - had == sink.status()["frames"] - sent, "all that was sent to arrive")
    quiet(page)
    assert seq(page) <= feed.seq
    return canvas(page)


def handled(sink: PageSink) -> None:
    """Wait until the page's thread has dealt with all that it was shown: woken viewers, sent to them, and counted."""
    assert sink._loop is not None
    for _ in range(3):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), sink._loop).result(10)


def quiet(page: Page) -> None:
    """Wait until all that the page of one camera got is drawn and answered."""
    until(lambda: page.evaluate("rtx.sent === rtx.views + 2"), "the page to have drawn all it got")


def canvas(page: Page, camera: str = "hall") -> Image:
    """The pixels of a tile's canvas: H W 3, BGR."""
    return canvas_of(page, f"[data-camera='{camera}'] canvas")


def canvas_of(page: Page, selector: str) -> Image:
    """The pixels of a canvas: H W 3, BGR."""
    return decoded(page.evaluate("selector => document.querySelector(selector).toDataURL('image/png')", selector))


def decoded(url: str) -> Image:
    """A picture that a page gave as a data URL: H W 3, BGR."""
    image = cv2.imdecode(np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def differs(page: Page, other: Image) -> bool:
    return int(cv2.absdiff(canvas(page), other).max()) > 20


def off(image: Image, grey: float) -> float:
    """The largest difference from a grey."""
    return float(np.abs(image.astype(float) - grey).max())


def words(page: Page, selector: str) -> str:
    return str(page.evaluate("selector => document.querySelector(selector)?.textContent ?? ''", selector))


@in_browser
def test_tile_says_what_is_done_and_how(serve: Serve, page: Page) -> None:
    sink = serve("hall", "court-2")
    visit(page, sink)
    lost = view(camera="court-2", camera_state="camera lost 12 s", worker_state="silent 3 s", evidence=False)
    with Feed(sink, view(motion_share=0.63, uncertainty_ms=3.2), lost):
        until(lambda: seq(page) and seq(page, "court-2"), "both tiles")
    hall, court = "[data-camera='hall'] ", "[data-camera='court-2'] "
    assert words(page, hall + ".name") == "hall"
    rows = page.evaluate("() => [...document.querySelectorAll(`[data-camera='hall'] li`)].map(row => row.innerText)")
    assert [re.sub(r"\s+", " ", row) for row in rows] == ["arm wrestling 83 %", "shaking hands 9 %", "clapping 2 %"]
    width = "s => document.querySelector(s).getBoundingClientRect().width"
    bar = hall + "li .bar"
    until(
        lambda: abs(page.evaluate(width, bar + " span") / page.evaluate(width, bar) - 0.834) < 0.01,
        "the bar as long as the class is likely",
    )
    assert words(page, hall + ".camera") == "live"
    assert words(page, hall + ".worker") == "explaining"
    assert words(page, hall + ".heat") == "Heat: evidence for arm wrestling"
    assert re.fullmatch(r"\d+ ms ± 3 ms", words(page, hall + ".age dd"))
    assert words(page, hall + ".behind dd") == "374 ms"
    assert words(page, hall + ".motion dd") == "63 %"
    assert words(page, hall + ".how") == "cam · i3d-k400 · bf16"
    assert words(page, court + ".camera") == "camera lost 12 s"
    assert words(page, court + ".worker") == "silent 3 s"
    assert words(page, court + ".heat") == "No evidence above threshold"
    assert page.evaluate("() => document.getElementById('notice').hidden")


@in_browser
def test_new_words_come_with_an_old_frame(serve: Serve, page: Page, encoded: list[int]) -> None:
    sink = serve()
    visit(page, sink)
    same = view(heat=None, heatmap_age_ms=None, top=(), worker_state="loading i3d-k400")

    def words_after(state: str) -> str:
        sink.show(replace(same, worker_state=state))
        return words(page, ".worker")

    for state in ("loading i3d-k400", "collecting the first clip 40 %"):
        until(lambda state=state: words_after(state) == state, state)  # type: ignore[misc]
    assert len(encoded) == 1
    assert not page.is_visible(".age")
    assert canvas(page)[0, 0, 0] == pytest.approx(GREY, abs=2)


@in_browser
@pytest.mark.parametrize(
    ("size", "fit", "rows", "columns", "box"),
    [
        ((720, 1280), "crop", slice(0, 8), slice(0, 8), (280, 0, 383, 103)),
        pytest.param(
            (720, 1280), "crop", slice(48, 56), slice(48, 56), (897, 617, 1000, 720), marks=pytest.mark.thorough
        ),
        pytest.param((1080, 1920), "crop", slice(0, 8), slice(0, 8), (280, 0, 383, 103), marks=pytest.mark.thorough),
        ((720, 1280), "pad", slice(28, 36), slice(0, 8), (0, 360, 183, 543)),
        ((480, 640), "pad", slice(24, 28), slice(52, 56), (594, 194, 640, 240)),
    ],
)
def test_heat_lies_where_the_network_looked(
    serve: Serve,
    page: Page,
    size: tuple[int, int],
    fit: Any,
    rows: slice,
    columns: slice,
    box: tuple[int, int, int, int],
) -> None:
    sink = serve()
    visit(page, sink)
    what = view(plain(*size), heat=hot(rows, columns, input_rect(*size, WHOLE, fit)))
    seen = shown(page, sink, what)
    width = min(1280, size[1])
    assert seen.shape == (size[0] * width // size[1], width, 3)
    coloured = np.abs(seen.astype(int) - seen.mean(axis=2, keepdims=True)).max(axis=2) > 20
    ys, xs = np.nonzero(coloured)
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx(box, abs=14)  # half a cell
    middle = seen[(box[1] + box[3]) // 2, (box[0] + box[2]) // 2]
    assert middle == pytest.approx(0.4 * GREY + 0.6 * np.array([164, 255, 252]), abs=6)
    if fit == "crop":
        for unseen in (seen[:, :279], seen[:, 1001:]):
            assert off(unseen, GREY * DIM) <= 3


@in_browser
def test_browser_draws_as_the_overlay_does(serve: Serve, page: Page) -> None:
    """The page and the recorded file show the same: here any smooth heat over any picture."""
    sink = serve(opacity=0.8)
    visit(page, sink)
    ramp = np.linspace(0, 255, 1280, dtype=np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (720, 1280, 3)))
    down, across = np.mgrid[0:56, 0:56] / 56
    heat = Heat(
        (255 * np.exp(-((across - 0.3) ** 2 + (down - 0.6) ** 2) / 0.05)).astype(np.uint8),
        Rect(200.0, -40.0, 700.0, 800.0),
    )
    expected = image.copy()
    draw_heat(expected, heat, 0.8)
    difference = cv2.absdiff(shown(page, sink, view(image, heat=heat)), expected)
    assert difference.mean() < 2
    assert np.percentile(difference, 99.9) < 16


def a_truth(action: str = "wave one hand") -> Truth:
    """A body of 400 x 400 pixels, its arm of 200 x 100 beside it, a ball; in a picture of 1280 x 720."""

    def box(part: str, x: int, y: int, width: int, height: int) -> Shape:
        corners = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.int32)
        return Shape(part, (16 * corners).tobytes())

    arm = box("left_upper_arm", 800, 300, 200, 100)
    shapes = (box("distractor", 100, 100, 80, 80), box("trunk", 400, 200, 400, 400), arm)
    return Truth(action, ("left_upper_arm",), shapes)


@in_browser
def test_what_the_score_is_without_the_heat_is_said_beside_what_it_is_without_as_much_elsewhere(
    serve: Serve, page: Page
):
    sink = serve()
    visit(page, sink)
    shown(page, sink, view(motion_share=0.4, faithfulness=Faithfulness(0.91, 0.434, 0.88, 12, 0.0124)))
    assert page.locator(".motion dd").inner_text() == "40 %"
    assert page.locator(".faithfulness dd").all_inner_texts() == [
        "43 %",
        "of 91\u00a0%; elsewhere 88\u00a0%",
        "12 clips, 1.2 % of the time",
    ]
    shown(page, sink, view(faithfulness=None))
    assert page.locator(".faithfulness").is_hidden()


@in_browser
@pytest.mark.parametrize("width", [375, 800, 1400])
def test_no_fact_is_written_over_another(serve: Serve, page: Page, width: int):
    sink = serve()
    page.set_viewport_size({"width": width, "height": 900})
    visit(page, sink)
    known = Faithfulness(0.91, 0.434, 0.88, 12, 0.0124)
    shown(
        page, sink, view(motion_share=0.4, faithfulness=known, truth=a_truth(), hits=HitRates(0.94, 0.5, 0.1, 0.04, 80))
    )
    facts = page.locator("article dl > div:visible")
    assert facts.count() == 6
    assert all(facts.evaluate_all("all => all.map(of => of.scrollWidth <= of.clientWidth)"))


@in_browser
def test_truth_is_told_and_outlined_where_it_is_known(serve: Serve, page: Page) -> None:
    sink = serve()
    visit(page, sink)
    known = view(heat=None, truth=a_truth(), right=False, hits=HitRates(0.94, 0.5, 0.1, 0.04, 80))
    plain_picture = shown(page, sink, known)
    assert np.abs(plain_picture.astype(int) - GREY).max() < 3, "no outline before it is asked for"
    assert words(page, ".truth .words") == "Truth: wave one hand"
    assert (page.get_attribute(".truth", "data-right"), words(page, ".truth .mark")) == ("false", "✗")
    assert page.locator(".body dd").all_inner_texts() == ["94 %", "chance 10 %"]
    assert page.locator(".limbs dd").all_inner_texts() == ["50 %", "chance 4 %"]
    page.keyboard.press("t")
    until(lambda: differs(page, plain_picture), "an outline")
    drawn = canvas(page).astype(int)
    changed = np.abs(drawn - GREY).max(axis=2) > 40
    outer = np.zeros((720, 1280), bool)
    for x, y, width, height in ((400, 200, 400, 400), (800, 300, 200, 100), (100, 100, 80, 80)):
        outer[y - 5 : y + height + 6, x - 5 : x + width + 6] = True
    assert not changed[~outer].any()
    assert not changed[210:590, 410:790].any(), "nothing within the body"
    assert (drawn[198, 450:750] > 200).all(), "the body in white"
    blue, green, red = drawn[298, 850:950].T
    assert (red > 200).all(), "the arm in orange"
    assert (blue < 120).all()
    assert (green > blue).all()
    page.keyboard.press("t")
    until(lambda: not differs(page, plain_picture), "the outline gone")


@in_browser
def test_truth_has_no_switch_where_it_is_not_known(serve: Serve, page: Page) -> None:
    sink = serve()
    visit(page, sink)
    shown(page, sink, view())
    assert not page.is_visible("#truth")
    assert not page.is_visible(".truth")
    page.keyboard.press("t")
    assert page.get_attribute("#truth", "aria-pressed") == "false"


@in_browser
def test_no_heat_paints_nothing(serve: Serve, page: Page) -> None:
    sink = serve()
    visit(page, sink)
    rect = input_rect(720, 1280, WHOLE, "pad")
    seen = shown(page, sink, view(heat=Heat(np.zeros((56, 56), np.uint8), rect), evidence=False))
    assert off(seen, GREY) <= 2


@in_browser
def test_controls_act_at_once_without_a_message_and_are_remembered(serve: Serve, page: Page) -> None:
    sink = serve()
    sent: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda payload: sent.append(payload)))
    visit(page, sink)
    at_first = shown(page, sink, view())
    assert words(page, "#opacity-word") == "60 %"
    page.evaluate("0")  # Playwright tells of frames when it is spoken to.
    messages, asked = page.evaluate("rtx.views"), len(sent)
    assert asked == page.evaluate("rtx.sent")

    page.focus("#opacity")
    page.keyboard.press("End")
    until(lambda: differs(page, at_first), "stronger heat")
    full = canvas(page)
    assert full[50, 330] == pytest.approx([164, 255, 252], abs=4)
    page.keyboard.press("Home")
    until(lambda: differs(page, full), "no heat")
    none = canvas(page)
    assert none[50, 330] == pytest.approx(GREY, abs=2)
    assert none[50, 100] == pytest.approx(GREY * DIM, abs=2)
    page.keyboard.press("End")
    until(lambda: not differs(page, full), "full heat again")

    page.keyboard.press("h")
    until(lambda: differs(page, full), "the plain picture")
    assert off(canvas(page), GREY) <= 2
    assert page.get_attribute("#overlay", "aria-pressed") == "false"
    page.click("#overlay")
    until(lambda: not differs(page, full), "heat again")
    page.click("#overlay")

    assert page.evaluate("rtx.views") == messages
    assert page.evaluate("rtx.sent") == len(sent) == asked

    page.reload(wait_until="commit")
    assert off(shown(page, sink, view()), GREY) <= 2
    assert words(page, "#opacity-word") == "100 %"
    assert page.get_attribute("#overlay", "aria-pressed") == "false"


@in_browser
def test_focus_shows_the_picture_where_the_evidence_is(serve: Serve, page: Page) -> None:
    """As the window and files show it; switched in the browser, without a message, and remembered."""
    sink = serve()
    visit(page, sink)
    at_first = shown(page, sink, view())
    messages = page.evaluate("rtx.views")
    page.keyboard.press("f")
    until(lambda: differs(page, at_first), "the focused picture")
    assert page.evaluate("rtx.views") == messages
    focused = canvas(page).astype(float)
    of = view()
    expected = np.full_like(of.image, GREY)
    assert of.heat is not None
    draw_focus(expected, of.heat)
    for where in (np.s_[60:300:7, 330:400:7], np.s_[60:300:7, 20:200:7]):  # Seen by the network, and not.
        assert np.abs(focused[where] - expected[where][..., ::-1]).mean() < 4
    assert focused[50, 330] == pytest.approx(GREY, abs=3)
    assert page.get_attribute("#focus", "aria-pressed") == "true"
    assert page.is_disabled("#opacity")
    page.reload(wait_until="commit")
    assert shown(page, sink, view()).astype(float)[50, 330] == pytest.approx(GREY, abs=3)
    page.click("#focus")
    until(lambda: not differs(page, at_first), "heat again")


@pytest.fixture
def steered() -> Iterator[Steered]:
    with private_folder() as folder, Sockets() as sockets:
        yield Steered(sockets, folder)


@contextmanager
def panel(serve: Serve, page: Page, steered: Steered, known: bool = True) -> Iterator[Callable[[], None]]:
    """The open panel of a page that is fed, with a worker that answers; what it gives lets the worker answer.

    `known`: only when the page knows what is explained.
    """
    sink = serve(steering=steered.steering)
    visit(page, sink)
    with Feed(sink, view()):
        until(lambda: page.evaluate("document.querySelectorAll('#explainer option').length > 10"), "the explainers")
        page.keyboard.press("e")
        until(lambda: not known or page.is_enabled("#explainer"), "what is explained")
        yield steered.answered


def asked(page: Page, steered: Steered, act: Callable[[], object]) -> tuple[str, str | None]:
    """What the worker is asked for when this is done on the page."""
    before = len(steered.taken)
    act()

    def taken() -> bool:
        steered.steering.step()
        steered.worker.serve(steered.take)
        page.evaluate("0")
        return len(steered.taken) > before and not steered.steering.state.asked

    until(taken, "the worker to be asked")
    until(lambda: not words(page, "#choice").startswith("Asking"), "the page to be told")
    return steered.taken[-1]


@in_browser
def test_explainers_are_offered_as_they_are_declared(serve: Serve, page: Page, steered: Steered) -> None:
    with panel(serve, page, steered):
        offered = page.locator("#explainer option").all_inner_texts()
        assert sorted(offered) == sorted(of.name for of in DECLARED.values() if not of.is_step)
        for name in offered:
            asked(page, steered, lambda name=name: page.select_option("#explainer", name))  # type: ignore[misc]
            assert steered.taken[-1][0] == name
            declared = DECLARED[name]
            shown_now = page.locator("#parameters .control span").all_inner_texts()
            assert shown_now == list(declared.parameters)
            for parameter in declared.parameters.values():
                field = page.locator(f"#{name}-{parameter.name}")
                kind = field.evaluate("node => node.localName === 'select' ? 'select' : node.type")
                assert kind == widget(parameter)
                if parameter.choices:
                    assert field.locator("option").all_inner_texts() == list(parameter.choices)
            assert page.is_disabled("#target") == declared.class_blind
            assert words(page, "#explainer-paper") == declared.paper


def widget(parameter: Parameter) -> str:
    if parameter.of_class or parameter.of_layer:
        return "text"
    if parameter.choices:
        return "select"
    if parameter.kind is bool:
        return "checkbox"
    assert parameter.range is not None
    return "number" if parameter.kind is int and parameter.range.high > 100 else "range"


@pytest.mark.thorough
@in_browser
def test_sliders_reach_both_ends_of_what_is_declared(serve: Serve, page: Page, steered: Steered) -> None:
    """And what lies between reads back as it was set."""
    with panel(serve, page, steered):
        for name, of in DECLARED.items():
            for parameter in of.parameters.values():
                if widget(parameter) != "range":
                    continue
                if of.is_step:
                    asked(page, steered, lambda: page.select_option("#explainer", "cam"))
                    asked(page, steered, lambda name=name: page.check(f"#step-{name}"))  # type: ignore[misc]
                elif page.locator("#explainer").input_value() != name:
                    asked(page, steered, lambda name=name: page.select_option("#explainer", name))  # type: ignore[misc]
                field = f"#{name}-{parameter.name}"
                assert parameter.range is not None
                for key, end in (("End", parameter.range.high), ("Home", parameter.range.low)):
                    page.focus(field) if key == "End" else None
                    assert page.evaluate("document.activeElement.id") == field[1:], "it keeps the focus"
                    chain, _ = asked(page, steered, lambda key=key: page.keyboard.press(key))  # type: ignore[misc]
                    call = next(call for call in parse(chain).calls if call.declaration.name == name)
                    assert call.parameters[parameter.name] == pytest.approx(end)
                if of.is_step:
                    asked(page, steered, lambda name=name: page.uncheck(f"#step-{name}"))  # type: ignore[misc]


@in_browser
def test_nothing_can_be_chosen_before_it_is_known_what_is_explained(
    serve: Serve, page: Page, steered: Steered
) -> None:  # fmt: skip
    held: list[Callable[[], None]] = []

    def hold(line: WebSocketRoute) -> None:
        def pass_on(message: str | bytes) -> None:
            if not held and isinstance(message, str) and json.loads(message)["type"] == "explaining":
                held.append(lambda: line.send(message))
            else:
                line.send(message)

        line.connect_to_server().on_message(pass_on)

    page.route_web_socket("**/ws", hold)
    with panel(serve, page, steered, known=False):
        until(lambda: held, "the message that is held back")
        assert page.is_disabled("#explainer")
        assert page.is_disabled("#target")
        held[0]()
        until(lambda: page.is_enabled("#explainer"), "what is explained")
        assert page.locator("#explainer").input_value() == "cam"
        assert asked(page, steered, lambda: page.select_option("#explainer", "ksigma")) == ("ksigma", None)


@in_browser
def test_why_this_class_and_not_that_one(serve: Serve, page: Page, steered: Steered) -> None:
    with panel(serve, page, steered):
        asked(page, steered, lambda: page.select_option("#explainer", "contrast"))
        page.fill("#target", "squat")
        assert asked(page, steered, lambda: page.keyboard.press("Enter")) == ("contrast", "squat")
        page.fill("#contrast-against", "kick")
        assert asked(page, steered, lambda: page.keyboard.press("Enter")) == ("contrast(against='kick')", "squat")
        asked(page, steered, lambda: page.check("#step-selective"))
        assert steered.taken[-1] == ("contrast(against='kick') | selective", "squat")
        text = "--explainer 'contrast(against=\"kick\") | selective' --target squat"
        assert words(page, "#as-text") == text, "as the command line takes it"
        assert asked(page, steered, lambda: page.click("#target-clear"))[1] is None


@in_browser
def test_a_class_that_does_not_exist_does_not_spoil_what_comes_next(serve: Serve, page: Page, steered: Steered) -> None:
    with panel(serve, page, steered):
        page.fill("#target", "sqat")
        page.keyboard.press("Enter")

        def refused() -> bool:
            steered.steering.step()
            return "did you mean 'squat'" in words(page, "#choice")

        until(refused, "the refusal")
        assert page.locator("#target").input_value() == "sqat", "it can be mended"
        page.focus("#cam-tau")
        assert page.locator("#target").input_value() == "", "what is not explained does not stand there"
        assert asked(page, steered, lambda: page.keyboard.press("ArrowRight")) == ("cam(tau=0.005)", None)


@in_browser
def test_a_slider_keeps_the_class_that_somebody_else_has_chosen(serve: Serve, page: Page, steered: Steered) -> None:
    with panel(serve, page, steered):
        page.fill("#target", "squat")
        asked(page, steered, lambda: page.keyboard.press("Enter"))
        steered.wish(Link("cam"), target="kick")
        steered.answered()
        until(lambda: "--target kick" in words(page, "#as-text"), "the other's choice")
        page.evaluate("document.querySelector('#cam-pooled').click()")
        until(lambda: sent(steered) == ("cam(pooled=True)", "kick"), "the other's class with it")


def sent(steered: Steered) -> tuple[str, str | None]:
    steered.steering.step()
    steered.worker.serve(steered.take)
    return steered.taken[-1]


@in_browser
def test_a_class_outlives_an_explainer_that_has_none(serve: Serve, page: Page, steered: Steered) -> None:
    with panel(serve, page, steered):
        page.fill("#target", "squat")
        asked(page, steered, lambda: page.keyboard.press("Enter"))
        assert asked(page, steered, lambda: page.select_option("#explainer", "ksigma")) == ("ksigma", None)
        assert asked(page, steered, lambda: page.select_option("#explainer", "cam")) == ("cam", "squat")


@in_browser
def test_a_refusal_is_told_and_the_controls_go_back(serve: Serve, page: Page, steered: Steered) -> None:
    with panel(serve, page, steered):
        steered.refusal = "no rule for <b>Softplus</b>"
        asked(page, steered, lambda: page.select_option("#explainer", "dtd"))
        until(lambda: words(page, "#choice") == steered.refusal, "the reason")
        assert page.locator("#explainer").input_value() == "cam"
        assert page.get_attribute("#choice", "data-level") == "bad"


@in_browser
def test_every_viewer_sees_what_one_has_chosen(
    serve: Serve, page: Page, browser: Browser, steered: Steered
) -> None:  # fmt: skip
    sink = serve(steering=steered.steering)
    second = browser.new_page()
    try:
        visit(page, sink)
        visit(second, sink)
        with Feed(sink, view()):
            until(lambda: page.evaluate("document.querySelectorAll('#parameters .control').length"), "controls")
            page.keyboard.press("e")
            second.keyboard.press("e")
            asked(page, steered, lambda: page.select_option("#explainer", "ksigma"))
            until(lambda: second.locator("#explainer").input_value() == "ksigma", "the other viewer")
            assert second.locator("#ksigma-k").count() == 1
    finally:
        second.close()


@in_browser
def test_letters_typed_into_a_field_are_no_keys(serve: Serve, page: Page, steered: Steered) -> None:
    with panel(serve, page, steered):
        page.focus("#target")
        page.keyboard.type("the feat")
        assert page.locator("#target").input_value() == "the feat"
        assert page.get_attribute("#overlay", "aria-pressed") == "true"
        assert page.get_attribute("#focus", "aria-pressed") == "false"
        page.keyboard.press("Escape")
        assert not page.is_visible("#panel")
        assert page.evaluate("document.activeElement.id") == "explain"


@in_browser
def test_age_grows_between_messages_and_turns_red_when_late(serve: Serve, page: Page) -> None:
    sink = serve(budget_ms=600_000.0)
    visit(page, sink)
    colour = "() => getComputedStyle(document.querySelector('.age dd')).color"
    shown(page, sink, view())
    calm = page.evaluate(colour)
    messages = page.evaluate("rtx.views")
    start, first = time.monotonic(), page.evaluate("rtx.tiles.hall.heatmapAge")
    assert first >= 412
    until(lambda: int(words(page, ".age dd").split()[0]) >= first + 200, "the number to grow")
    grown = page.evaluate("rtx.tiles.hall.heatmapAge") - first
    assert grown <= 1000 * (time.monotonic() - start) + 5
    assert page.evaluate("rtx.views") == messages
    assert page.evaluate(colour) == calm

    shown(page, sink, view(heatmap_age_ms=1204.0, late=True))
    red, green, blue = map(int, re.findall(r"\d+", page.evaluate(colour))[:3])
    assert red > 1.5 * max(green, blue)
    assert words(page, ".age dd").endswith("late")


@in_browser
def test_page_says_that_the_display_is_silent(serve: Serve, page: Page) -> None:
    sink = serve()
    visit(page, sink)
    shown(page, sink, view())
    until(lambda: words(page, "#notice").startswith("No news from rtx for 3 s"), "the notice")
    assert page.is_visible("#notice")
    with Feed(sink, view()):
        until(lambda: not page.is_visible("#notice"), "the notice to go")


@in_browser
def test_comes_back_after_the_server(serve: Serve, page: Page) -> None:
    sink = serve()
    visit(page, sink)
    bright = shown(page, sink, view())
    sink.close()
    until(lambda: "Connection lost" in words(page, "#notice"), "the notice")
    assert page.is_visible("#notice")
    dimmed = "() => getComputedStyle(document.querySelector('.picture canvas')).filter.includes('brightness')"
    assert page.evaluate(dimmed)
    assert not differs(page, bright)

    port = port_of(sink)
    again = serve("hall", "court-2", port=port)
    before = page.evaluate("rtx.frames")
    with Feed(again, view(), view(camera="court-2")):
        until(lambda: page.evaluate("rtx.frames") > before and seq(page, "court-2"), "new frames")
    assert not page.is_visible("#notice")
    assert not page.evaluate(dimmed)


@in_browser
def test_two_viewers_share_one_encoding(serve: Serve, page: Page, browser: Browser, encoded: list[int]) -> None:
    sink = serve()
    second = browser.new_page()
    try:
        visit(page, sink)
        visit(second, sink)
        until(lambda: sink.status()["viewers"] == 2, "both viewers")
        with Feed(sink, view()) as feed:
            until(lambda: seq(page) > 10 and seq(second) > 10, "frames in both")
            until(lambda: sink.status()["frames"] > len(encoded), "one encoding that was sent to two")
        assert len(encoded) <= feed.seq
    finally:
        second.close()
    until(lambda: sink.status()["viewers"] == 1, "the second viewer to be gone")


@in_browser
def test_a_page_that_is_not_drawn_asks_for_nothing_more(serve: Serve, page: Page) -> None:
    """A tab in the background: the browser runs no animation frames for it."""
    sink = serve()
    page.add_init_script("window.requestAnimationFrame = () => 1")
    visit(page, sink)
    with Feed(sink, view()) as feed:
        until(lambda: page.evaluate("window.rtx?.views") == 2, "the first two answers")
        until(lambda: feed.seq > 60, "more frames that it could have had")
    assert page.evaluate("[rtx.views, rtx.sent, rtx.frames]") == [2, 2, 0]
    assert sink.status()["frames"] == 2


@in_browser
def test_labels_from_outside_are_text(serve: Serve, page: Page) -> None:
    bad = "<img src=x onerror='document.title=1'><b>bold</b>"
    sink = serve("hall")
    visit(page, sink)
    shown(page, sink, view(top=(TopClass(bad, 0.5),), target=bad, worker_state=bad, explainer=bad, model=bad))
    assert words(page, ".label") == bad
    assert words(page, ".worker") == bad
    assert words(page, ".heat") == f"Heat: evidence for {bad}"
    assert words(page, ".how") == f"{bad} · {bad} · bf16"
    assert page.evaluate("() => document.querySelectorAll('main b, main img').length") == 0
    assert page.title() == "rtx live"


@in_browser
def test_phone_width_does_not_scroll_sideways(serve: Serve, page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 812})
    sink = serve()
    visit(page, sink)
    long = "superkalifragilistisch" * 9
    shown(page, sink, view(top=(TopClass(long, 1.0),), target=long, camera_state=long, explainer=long))
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert page.evaluate("document.querySelector('.picture').getBoundingClientRect().width") > 340


@in_browser
def test_keyboard_and_names_for_screen_readers(serve: Serve, page: Page) -> None:
    sink = serve()
    visit(page, sink)
    shown(page, sink, view())
    for name in ("overlay", "focus", "explain", "cameras", "events", "look", "opacity", "help"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.get_by_role("button", name="Heat on").count() == 1
    assert page.get_by_role("slider", name="Opacity").count() == 1
    assert page.get_by_role("img", name="Live picture of hall").count() == 1
    assert page.get_by_role("list", name="Most likely actions").count() == 1


def test_ages_include_the_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first viewer is sent a picture as soon as it is made, not as soon as it is asked for."""
    encode = cv2.imencode

    def slow(*arguments: Any) -> Any:
        time.sleep(0.2)
        return encode(*arguments)

    monkeypatch.setattr(shot_module.cv2, "imencode", slow)
    shown = view()
    message = shot_module.Shot(1, shown, shot_module.Picture(shown)).message(last=True)
    header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
    assert header["frame_age_ms"] >= shown.frame_age_ms + 200
    assert header["heatmap_age_ms"] >= 412 + 200


def test_a_message_serves_whoever_asks_within_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 1_000_000, 1_900_000, 2_100_000])
    monkeypatch.setattr(shot_module, "now", lambda: next(times))
    shown = view()
    shot = shot_module.Shot(1, shown, shot_module.Picture(shown))
    first, soon, later = (shot.message(last=True) for _ in range(3))
    assert soon is first
    ages = [json.loads(of[4 : 4 + int.from_bytes(of[:4], "little")])["frame_age_ms"] for of in (first, later)]
    assert ages == pytest.approx([shown.frame_age_ms + 1, shown.frame_age_ms + 2.1])


@in_browser
def test_age_of_the_picture_can_be_read_off_the_canvas(serve: Serve, page: Page) -> None:
    sink = serve()
    visit(page, sink)
    stop = threading.Event()

    def film() -> None:
        number = 0
        while not stop.wait(1 / 30):
            number += 1
            image = plain()
            draw_clock(image, now())
            sink.show(view(image, seq=number))

    camera = threading.Thread(target=film)
    camera.start()
    try:
        until(lambda: seq(page) > 5, "frames")
        drawn = read_clock(canvas(page))
        assert drawn is not None
        assert 0 <= now() - drawn < 1_000_000_000
    finally:
        stop.set()
        camera.join()


# The same server, by raw clients.


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each JPEG that was made."""
    made: list[int] = []
    imencode = cv2.imencode

    def counting(*args: Any) -> Any:
        made.append(1)
        return imencode(*args)

    monkeypatch.setattr(shot_module.cv2, "imencode", counting)
    return made


@contextmanager
def join(sink: PageSink, **options: Any) -> Iterator[ClientConnection]:
    """A viewer that has been greeted."""
    with connect(sink.address.replace("http", "ws") + "ws", **options) as viewer:
        hello = json.loads(viewer.recv(timeout=30))
        assert hello["cameras"] == ["hall"]
        assert len(hello["palettes"]["inferno"]) == 768
        assert json.loads(viewer.recv(timeout=30))["type"] == "explaining"
        yield viewer


def header(message: str | bytes) -> Any:
    assert isinstance(message, bytes)
    return json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])


def test_message_holds_header_heat_and_jpeg(serve: Serve) -> None:
    sink = serve()
    what = view(plain(1080, 1920))
    with join(sink) as viewer, Feed(sink, what):
        viewer.send("next")
        message = viewer.recv(timeout=30)
    assert isinstance(message, bytes)
    head = header(message)
    assert head["rect"] == [280, 0, 720, 720]
    assert head["heat"] == [56, 56]
    assert 412 <= head["heatmap_age_ms"] < 1000
    assert head["last"] is True
    start = 4 + int.from_bytes(message[:4], "little")
    assert what.heat is not None
    assert message[start : start + 56 * 56] == what.heat.values.tobytes()
    picture = cv2.imdecode(np.frombuffer(message[start + 56 * 56 :], np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (720, 1280, 3)


def test_nothing_is_encoded_while_nobody_asks(serve: Serve, encoded: list[int]) -> None:
    sink = serve()
    with Feed(sink, view()) as feed:
        until(lambda: feed.seq > 5, "views")
        with join(sink):
            seen = feed.seq
            until(lambda: feed.seq > seen + 5, "views with a viewer that does not ask")
    assert encoded == []
    assert sink.status()["frames"] == 0


def test_slow_viewer_gets_the_newest_and_nothing_piles_up(serve: Serve) -> None:
    sink = serve()
    with join(sink) as viewer:
        tracemalloc.start()
        try:
            with Feed(sink, view()) as feed:
                got = []
                for _ in range(4):
                    asked = feed.seq
                    viewer.send("next")
                    got.append(header(viewer.recv(timeout=30))["seq"])
                    assert got[-1] >= asked
                    until(lambda asked=asked: feed.seq > asked + 20, "views that this viewer misses")  # type: ignore[misc]
                assert got == sorted(set(got))
                assert sink.status()["frames"] == 4
            assert tracemalloc.get_traced_memory()[0] < 20e6  # a view is 2.8 MB, 80 went by
        finally:
            tracemalloc.stop()


def test_late_viewer_is_not_sent_what_an_earlier_one_left(serve: Serve) -> None:
    sink = serve()
    with Feed(sink, view()) as feed:
        with join(sink) as early:
            early.send("next")
            assert header(early.recv(timeout=30))["seq"] > 0
        with join(sink) as late:
            asked = feed.seq + 5
            until(lambda: feed.seq > asked, "views that nobody asked for")
            late.send("next")
            assert header(late.recv(timeout=30))["seq"] > asked


def test_no_more_than_two_answers_are_under_way(serve: Serve) -> None:
    sink = serve()
    with join(sink) as viewer:
        for _ in range(10):
            viewer.send("next")
        with Feed(sink, view()) as feed:
            until(lambda: sink.status()["frames"] >= 2, "two answers")
            seen = feed.seq
            until(lambda: feed.seq > seen + 10, "more views")
        # The tenth request may have come after the first answer: what counts is that asking ahead earns nothing.
        assert sink.status()["frames"] <= 3
        newest = [header(viewer.recv(timeout=30))["seq"] for _ in range(2)]
        assert newest[0] < newest[1]


@pytest.mark.parametrize(
    ("message", "code"), [("hello", 1008), (b"next", 1008), ('{"chain"', 1008), ("next" * 1200, 1009)]
)
def test_unknown_and_large_messages_end_the_connection(serve: Serve, message: str | bytes, code: int) -> None:
    sink = serve()
    with join(sink) as viewer:
        viewer.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            viewer.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    until(lambda: sink.status()["viewers"] == 0, "the viewer to be gone")


@pytest.mark.parametrize(
    "wish",
    [
        "[]", '{"chain": [{"name": "cam"}]}', '{"type": "explain", "chain": [{"name": 3}]}',
        '{"type": "explain", "chain": [], "eval": 1}', '{"type": "eval", "chain": []}', '{"type": "hold"}',
        '{"type": "explain", "chain": [{"name": "cam", "parameters": {"tau": []}}]}',
        '{"type": "explain", "chain": [{"name": "cam"}], "target": "' + "x" * 201 + '"}',
        '{"type": "explain", "chain": ' + "[" * 1900 + "]" * 1900 + "}",
    ],
)  # fmt: skip
def test_what_is_no_wish_is_refused_and_the_viewer_stays(serve: Serve, wish: str) -> None:
    steering = Steering(None, Worker(model="figures"))
    sink = serve(steering=steering)
    with join(sink) as viewer:
        viewer.send(wish)

        def heard() -> str:
            steering.step()
            return steering.state.refused

        until(heard, "the refusal")
        assert "nothing that could be explained" in json.loads(viewer.recv(timeout=30))["refused"], "without any view"


def test_one_viewer_too_many_is_told_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "MAX_VIEWERS", 1)
    sink = serve()
    with join(sink), connect(sink.address.replace("http", "ws") + "ws") as second:
        with pytest.raises(ConnectionClosed) as closed:
            second.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "1 viewers are connected already")


def get(sink: PageSink, path: str, host: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.msg, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:8642", "127.1.2.3", "[::1]:8642"])
def test_own_names_are_served_with_strict_headers(serve: Serve, host: str) -> None:
    sink = serve()
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, headers, body = get(sink, path, host)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["Content-Security-Policy"]
        assert f"connect-src 'self' ws://{host} " in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert body
    assert get(sink, "/../sink.py", host)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1", "0.0.0.0", ""])
def test_foreign_host_is_refused(serve: Serve, host: str) -> None:
    sink = serve()
    status, headers, body = get(sink, "/", host)
    assert status == 421
    assert headers["Content-Security-Policy"]
    assert b"<html" not in body


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_foreign_origin_is_refused(serve: Serve, origin: str) -> None:
    sink = serve()
    with pytest.raises(InvalidStatus) as refused, join(sink, origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_foreign_host_gets_no_socket_and_the_own_origin_does(serve: Serve) -> None:
    sink = serve()
    port = port_of(sink)
    rebound = socket.create_connection(("127.0.0.1", port))
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://evil.example:{port}/ws", sock=rebound, origin=Origin(f"http://evil.example:{port}")),
    ):
        pass
    assert refused.value.response.status_code == 403
    with join(sink, origin=sink.address.rstrip("/")):
        assert sink.status()["viewers"] == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", "127.0.0.1.example.org"])
def test_beyond_loopback_nothing_is_served_without_a_token(host: str) -> None:
    for refuse in (check_address, lambda config: PageSink(config, ["hall"], Look(), BUDGET_MS, asks(), NO_EVENTS)):
        with pytest.raises(UserError, match=rf"page\.host = '{re.escape(host)}': .*127\.0\.0\.1.*ssh -L 8642:"):
            refuse(PageConfig(host=host))


def test_taken_port_is_refused_and_free_again_after_close(serve: Serve) -> None:
    config = PageConfig(port=0)
    sink = PageSink(config, ["hall"], Look(), BUDGET_MS, asks(), NO_EVENTS)
    port = port_of(sink)
    taken = PageConfig(port=port)
    with pytest.raises(UserError, match=rf"port {port} is taken: .*--set page\.port={port + 1}"):
        check_address(taken)
    sink.start()
    with join(sink) as viewer, Feed(sink, view()):
        viewer.send("next")
        viewer.recv(timeout=30)
        start = time.monotonic()
        sink.close()
        assert time.monotonic() - start < 2
        with pytest.raises(ConnectionClosed):
            viewer.recv(timeout=30)
    check_address(taken)


def test_address_is_checked_without_a_web_server() -> None:
    code = "import sys, rtx.show.page; print([m for m in ('starlette', 'uvicorn', 'torch', 'cv2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
