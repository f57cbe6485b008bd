"""What the page's own controls do, in a real browser: looks, trends, one camera alone, a clip held still."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from rtx.capture.clockbars import read_clock
from rtx.events import rows
from rtx.events.clip import made_again
from rtx.events.recording import Recorder
from rtx.link.hold import HoldAnswer, HoldAsk
from rtx.link.sockets import Sockets, private_folder
from rtx.link.wire import Cells, Held, HeldClip, Hold, RelevanceMap, TopClass, TreeLayer
from rtx.show.holding import Holding
from rtx.show.overlay import PALETTES
from rtx.show.view import Look
from tests.browser import MISSING, NO_AXE, chromium, serious_for_axe, until
from tests.events.test_recorder import Film, clocks, settings
from tests.link.test_hold import CLIP
from tests.show import test_page as pages
from tests.show.test_page import Feed, Serve, asks, canvas, differs, plain, seq, shown, view, visit, words

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
serve, page = pages.serve, pages.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def test_colours_change_at_once_and_stay(serve: Serve, page: Page):
    sink = serve()
    sent: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda payload: sent.append(payload)))
    visit(page, sink)
    at_first = shown(page, sink, view())
    page.keyboard.press("l")
    assert page.locator("#colours option").all_inner_texts() == list(PALETTES)
    page.select_option("#colours", "jet")
    until(lambda: differs(page, at_first), "other colours")
    full = 0.4 * pages.GREY + 0.6 * PALETTES["jet"][255].astype(float)
    assert canvas(page)[50, 330] == pytest.approx(full, abs=6)
    page.evaluate("0")  # Playwright tells of frames when it is spoken to.
    assert set(sent) == {"next"}, "without a round trip"
    page.reload(wait_until="commit")
    assert shown(page, sink, view())[50, 330] == pytest.approx(full, abs=6)


def test_what_is_below_the_threshold_is_not_drawn(serve: Serve, page: Page):
    sink = serve()
    visit(page, sink)
    halves = view()
    assert halves.heat is not None
    halves.heat.values[:] = 100
    halves.heat.values[:, 28:] = 200
    shown(page, sink, halves)
    page.keyboard.press("l")
    page.focus("#threshold")
    for _ in range(5):
        page.keyboard.press("PageUp")
    until(lambda: words(page, "#threshold-word") == "50 %", "the threshold")
    until(lambda: np.abs(canvas(page)[300, 400].astype(int) - pages.GREY).max() < 3, "the weak half plain")
    assert np.abs(canvas(page)[300, 900].astype(int) - pages.GREY).max() > 20, "the strong one not"


def test_smoothing_lets_heat_come_and_go_slowly(serve: Serve, page: Page):
    sink = serve()
    visit(page, sink)
    cold, hot = view(heat=pages.hot(slice(0, 0), slice(0, 0), view().heat.rect)), view()  # type: ignore[union-attr]
    shown(page, sink, cold)
    page.keyboard.press("l")
    page.focus("#smoothing")
    page.keyboard.press("End")
    until(lambda: words(page, "#smoothing-word") == "2 s", "the half-life")
    until(lambda: "smoothed over 2 s" in words(page, ".age dd"), "the age to say so")
    at_once = shown(page, sink, hot)[50, 330].astype(float)
    full = 0.4 * pages.GREY + 0.6 * PALETTES["inferno"][255].astype(float)
    assert np.abs(at_once - full).max() > 30, "not yet at its full strength"

    def warmer() -> bool:
        return bool(np.abs(shown(page, sink, hot)[50, 330] - at_once).max() > 10)

    until(warmer, "more of it")


def test_light_and_dark_follow_the_system_or_the_reader(serve: Serve, page: Page):
    sink = serve()
    page.emulate_media(color_scheme="dark")
    visit(page, sink)
    ground = "getComputedStyle(document.body).backgroundColor"
    until(lambda: page.evaluate(ground) == "rgb(13, 15, 20)", "dark")
    page.emulate_media(color_scheme="light")
    until(lambda: page.evaluate(ground) == "rgb(238, 240, 244)", "light, as the system")
    page.keyboard.press("l")
    page.select_option("#theme", "dark")
    until(lambda: page.evaluate(ground) == "rgb(13, 15, 20)", "dark, as wished")


def test_the_age_has_a_colour_by_the_budget(serve: Serve, page: Page):
    sink = serve()
    visit(page, sink)
    for age, level in ((100.0, "good"), (1700.0, "wait"), (2400.0, "bad")):
        sink_view = view(heatmap_age_ms=age)
        with Feed(sink, sink_view):
            until(lambda level=level: page.get_attribute(".age", "data-level") == level, level)  # type: ignore[misc]


def test_each_class_has_a_trend(serve: Serve, page: Page):
    sink = serve()
    visit(page, sink)

    def ink() -> int:
        return int((pages.canvas_of(page, ".trend") > 0).any(axis=2).sum())

    with Feed(sink, view()):
        until(lambda: seq(page), "a view")
        until(lambda: ink() > 0, "a line")
        first = ink()
        until(lambda: ink() > first, "a longer line")


def test_one_camera_alone_and_all_again(serve: Serve, page: Page):
    sink = serve("hall", "court-2")
    visit(page, sink)
    with Feed(sink, view(), view(camera="court-2")):
        until(lambda: seq(page) and seq(page, "court-2"), "both")
        page.keyboard.press("2")
        until(lambda: not page.is_visible("[data-camera='hall']"), "one alone")
        assert page.is_visible("[data-camera='court-2']")
        page.keyboard.press("0")
        until(lambda: page.is_visible("[data-camera='hall']"), "both again")
        page.click("[data-camera='hall'] .enlarge")
        until(lambda: not page.is_visible("[data-camera='court-2']"), "the other alone")
        assert page.get_attribute("[data-camera='hall'] .enlarge", "aria-pressed") == "true"
        page.click("[data-camera='hall'] .enlarge")
        until(lambda: page.is_visible("[data-camera='court-2']"), "both again")


def test_the_keys_are_listed(serve: Serve, page: Page):
    sink = serve()
    visit(page, sink)
    shown(page, sink, view())
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    listed = page.locator("#keys dt").all_inner_texts()
    assert listed == ["h", "f", "t", "e", "k", "v", "l", "1 … 9", "0", "c", "?", "Escape"]
    page.keyboard.press("Escape")
    assert not page.is_visible("#keys")


def test_who_hears_the_page_is_told_what_is_done(serve: Serve, page: Page):
    sink = serve()
    visit(page, sink)
    with Feed(sink, view()):
        until(lambda: seq(page), "a view")
        assert words(page, "#announced") == "", "nobody asked for it"
        page.keyboard.press("l")
        page.check("#announce")
        until(lambda: words(page, "#announced") == "hall: arm wrestling, 83 %", "the action")
    assert page.get_attribute("#announced", "role") == "status"


class Closely:
    """A worker of the test's own that gives one clip of four frames, with heat at another corner in each."""

    def __init__(self, sockets: Sockets, folder: str):
        self.worker = HoldAnswer(sockets.answer(f"ipc://{folder}/hold"))
        self.holding = Holding(HoldAsk(sockets.ask(f"ipc://{folder}/hold")))
        self.asked: list[Hold] = []
        values = np.zeros((4, 2, 2), np.float32)
        for t, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            values[t, y, x] = 1 + t % 3  # Strongest in the third frame.
        cells = Cells((1.0, 56.0, 56.0), (0.0, 27.5, 27.5))
        relevance = RelevanceMap.of(values, cells, (4, 112, 112))
        explanation = msgspec.structs.replace(
            CLIP.explanation, map=relevance, t_frames=(0, 10**9, 2 * 10**9, 3 * 10**9), top=(TopClass("kick", 0.9),)
        )
        grey = cv2.imencode(".jpg", plain(112, 112))[1].tobytes()
        self.clip = HeldClip(explanation, (grey,) * 4)
        root = TreeLayer(-1, 2, 8, ((5, 0.75), (1, 0.25)), relevance)
        self.tree = (root, msgspec.structs.replace(root, below=0, channels=3), msgspec.structs.replace(root, below=1))

    def answer(self, hold: Hold) -> Held:
        self.asked.append(hold)
        if hold.camera != "hall":
            return Held(hold.number, refused="no clip of it was explained yet")
        return Held(hold.number, msgspec.structs.replace(self.clip, tree=self.tree) if hold.tree else self.clip)

    def until(self, condition: Any, what: str) -> None:
        def met() -> object:
            self.holding.step()
            self.worker.answer(self.answer)
            return condition()

        until(met, what)


@pytest.fixture
def closely() -> Iterator[Closely]:
    with private_folder() as folder, Sockets() as sockets:
        yield Closely(sockets, folder)


def held_open(page: Page, serve: Serve, closely: Closely) -> None:
    sink = serve(wishes=asks(holding=closely.holding))
    visit(page, sink)
    shown(page, sink, view())
    page.click("[data-camera='hall'] .hold")
    closely.until(lambda: page.locator("#still .strip button").count() == 4, "the frames")


def frame_pixels(page: Page) -> Any:
    return pages.canvas_of(page, "#still .frame")


def test_a_held_clip_begins_where_the_evidence_is_strongest_and_is_scrubbed(
    serve: Serve, page: Page, closely: Closely
):  # fmt: skip
    held_open(page, serve, closely)
    assert words(page, "#still h2") == "hall: 4 frames over 3.0 s, as the network saw them"
    assert page.locator("#still .strip button").all_inner_texts() == ["−3.00 s", "−2.00 s", "−1.00 s", "newest"]
    assert words(page, "#still .when output") == "−1.00 s"
    corners = {"−3.00 s": (0, 0), "−2.00 s": (0, 1), "−1.00 s": (1, 0), "newest": (1, 1)}

    def hottest() -> tuple[int, int]:
        pixels = frame_pixels(page).astype(int)
        change = np.abs(pixels - pixels.mean(axis=2, keepdims=True)).max(axis=2)
        y, x = np.unravel_index(change.argmax(), change.shape)
        return int(y) // 224, int(x) // 224

    assert hottest() == corners["−1.00 s"]
    page.keyboard.press("ArrowRight")
    assert (words(page, "#still .when output"), hottest()) == ("newest", corners["newest"])
    page.keyboard.press("ArrowRight")
    assert words(page, "#still .when output") == "newest", "there it ends"
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert (words(page, "#still .when output"), hottest()) == ("−3.00 s", corners["−3.00 s"])
    page.locator("#still .strip button").nth(1).click()
    assert (words(page, "#still .when output"), hottest()) == ("−2.00 s", corners["−2.00 s"])
    page.locator("#still .when input").focus()
    page.keyboard.press("End")
    assert words(page, "#still .when output") == "newest"
    page.keyboard.press("Escape")
    assert not page.is_visible("#still")


def test_before_the_clip_has_come_it_can_be_closed_again(serve: Serve, page: Page, closely: Closely):
    sink = serve(wishes=asks(holding=closely.holding))
    visit(page, sink)
    shown(page, sink, view())
    page.click("[data-camera='hall'] .hold")
    assert words(page, "#still .said") == "Asking for the clip…"
    page.keyboard.press("Escape")
    assert not page.is_visible("#still")


def test_keys_reach_the_dialog_in_front_and_nothing_behind_it(serve: Serve, page: Page, closely: Closely):
    held_open(page, serve, closely)
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    page.click("[data-camera='hall'] .hold")
    closely.until(lambda: not page.is_visible("#still .said"), "the frames")
    page.keyboard.press("l")
    page.keyboard.press("?")
    assert (page.is_visible("#still"), page.is_visible("#looks"), page.is_visible("#keys")) == (True, True, False)
    page.keyboard.press("Escape")
    assert (page.is_visible("#still"), page.is_visible("#looks")) == (False, True)
    page.keyboard.press("Escape")
    assert not page.is_visible("#looks")


def test_a_held_clip_plays_slowly_and_follows_the_looks(serve: Serve, page: Page, closely: Closely):
    held_open(page, serve, closely)
    page.click("#still .play")
    until(lambda: words(page, "#still .when output") == "newest", "the next frame")
    until(lambda: words(page, "#still .when output") == "−3.00 s", "the first one again")
    page.click("#still .play")
    hot = frame_pixels(page)
    page.keyboard.press("h")
    until(lambda: np.abs(frame_pixels(page).astype(int) - pages.GREY).max() < 6, "the plain frame")
    page.keyboard.press("h")
    until(lambda: np.abs(frame_pixels(page).astype(int) - hot).max() < 6, "its heat again")


def test_the_pyramid_opens_layer_by_layer_and_is_that_of_the_held_clip(serve: Serve, page: Page, closely: Closely):
    held_open(page, serve, closely)
    page.keyboard.press("ArrowLeft")
    page.click("#still .climb")
    closely.until(lambda: page.is_visible("#still .tree"), "the tree")
    assert closely.asked[-1].tree == (CLIP.explanation.epoch, CLIP.explanation.last_seq)
    assert words(page, "#still .when output") == "−2.00 s", "one stays where one was"
    layers = page.locator("#still .layer span")
    assert [text.splitlines()[0] for text in layers.all_inner_texts()[:2]] == [
        "Features: 2 of 8 channels", "1 layer down: 3 of 8 channels",
    ]  # fmt: skip
    assert "most by no. 5 75 %, no. 1 25 %" in layers.first.inner_text()
    assert not layers.nth(2).is_visible()
    layers.nth(1).click()
    assert layers.nth(2).is_visible()
    assert layers.nth(2).inner_text().startswith("2 layers down")


def test_a_clip_that_cannot_be_held_says_why(serve: Serve, page: Page, closely: Closely):
    sink = serve("hall", "court-2", wishes=asks(holding=closely.holding))
    visit(page, sink)
    with Feed(sink, view(), view(camera="court-2")):
        until(lambda: seq(page, "court-2"), "both")
        page.click("[data-camera='court-2'] .hold")
        closely.until(lambda: "no clip of it" in words(page, "#still .said"), "the reason")
    assert not page.is_visible("#still .strip")


def test_without_a_worker_nothing_can_be_held(serve: Serve, page: Page):
    wishes = asks()
    sink = serve(wishes=wishes)
    visit(page, sink)
    shown(page, sink, view())
    page.keyboard.press("c")

    def told() -> bool:
        wishes.holding.step()
        return words(page, "#still .said") == "no worker is heard on this host"

    until(told, "the reason")


PARTS = ("wall", "explain", "look", "cameras", "archive", "keys", "still", "phone")


@pytest.mark.skipif(NO_AXE is not None, reason=str(NO_AXE))
@pytest.mark.parametrize(
    ("what", "theme"),
    [
        pytest.param(what, theme, marks=[] if (number + other) % 2 else [pytest.mark.thorough])
        for number, what in enumerate(PARTS) for other, theme in enumerate(("dark", "light"))
    ],
)  # fmt: skip
def test_axe_finds_nothing_serious(serve: Serve, page: Page, closely: Closely, theme: Any, what: str):
    page.emulate_media(color_scheme=theme)
    if what == "phone":
        page.set_viewport_size({"width": 390, "height": 844})
    held_open(page, serve, closely)
    if what == "still":
        page.click("#still .climb")
        closely.until(lambda: page.is_visible("#still .tree"), "the tree")
    else:
        page.keyboard.press("Escape")
    if key := {"explain": "e", "look": "l", "keys": "?", "cameras": "k", "archive": "v"}.get(what):
        page.keyboard.press(key)
    assert serious_for_axe(page) == []


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one event, whose frames show their time; heat in the upper left corner while it lasts."""
    folder = tmp_path_factory.mktemp("events")
    with Recorder(settings(folder), Look()) as recorder:
        recorder.follow(["hall"])
        film = Film(recorder)
        film.roll(3, 0.1, place=3)
        film.roll(3, 0.95, place=0)
        film.roll(6, 0.1, place=3)
    return folder


def test_what_was_recorded_is_listed_and_chosen(serve: Serve, page: Page, archive: Path):
    sink = serve(events=archive)
    visit(page, sink)
    shown(page, sink, view())
    page.keyboard.press("v")
    until(lambda: page.locator("#event-list li").count() == 1, "the event")
    row = page.locator("#event-list li").inner_text()
    assert "kick" in row
    assert "hall · 2.9 s · 95 %" in row
    assert words(page, "#event-said") == "1 event, newest first"
    page.fill("#event-since", "2199-01-01T00:00")
    until(lambda: page.locator("#event-list li").count() == 0, "none since then")
    assert words(page, "#event-said") == "No event is like that. Choose another camera, class or time."
    page.fill("#event-since", "")
    page.select_option("#event-label", "kick")
    until(lambda: page.locator("#event-list li").count() == 1, "it again")


def test_what_is_going_on_cannot_be_played_yet(serve: Serve, page: Page, archive: Path, tmp_path: Path):
    folder = shutil.copytree(archive, tmp_path / "events")
    with sqlite3.connect(folder / "events.db") as database:
        database.execute("UPDATE event SET state = 'open'")
    sink = serve(events=folder)
    visit(page, sink)
    shown(page, sink, view())
    page.click("#events")
    until(lambda: "going on, to be played when it is over" in words(page, "#event-list li"), "the event")
    assert page.is_disabled("#event-list button")


def test_without_events_that_is_said(serve: Serve, page: Page):
    sink = serve()
    visit(page, sink)
    shown(page, sink, view())
    page.click("#events")
    until(lambda: words(page, "#event-said").startswith("No events."), "the word")


_FRAME = """(at) => new Promise((done) => {
  const video = document.querySelector("#replay video");
  video.pause();
  video.addEventListener("seeked", () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    done(canvas.toDataURL("image/png"));
  }, { once: true });
  video.currentTime = at;
})"""


def test_a_replay_shows_the_frames_and_the_maps_that_belong_to_them(serve: Serve, page: Page, archive: Path):
    """The clock on the frames, read in the browser; the heat drawn there, with this browser's looks."""
    sink = serve(events=archive)
    visit(page, sink)
    shown(page, sink, view())
    page.keyboard.press("v")
    page.locator("#event-list button").first.click()
    until(lambda: page.evaluate("document.querySelector('#replay video').readyState >= 2"), "the clip")
    until(lambda: words(page, "#replay .top") != "", "its maps")
    (event,) = rows(archive)
    first = clocks(event.clip / "plain.mp4")[0]
    for at in (0.4, 2.0, 4.5):
        clock = read_clock(pages.decoded(page.evaluate(_FRAME, at)))
        assert clock is not None
        assert (clock - first) / 1e9 == pytest.approx(at, abs=0.08)

    def heat() -> int:
        return int(pages.canvas_of(page, "#replay canvas")[105, 205].max())

    page.evaluate(_FRAME, 2.0)
    until(lambda: words(page, "#replay .top") == "kick, 95 %", "the class of then")
    until(lambda: heat() > 150, "heat where it was then")
    page.keyboard.press("h")
    until(lambda: heat() == 0, "the plain clip")
    page.keyboard.press("h")
    page.evaluate(_FRAME, 0.4)
    until(
        lambda: words(page, "#replay .top") == "stand, 90 %" or "kick, 10" in words(page, "#replay .top"), "before it"
    )
    until(lambda: heat() < 60, "no heat there before it began")
    assert page.get_attribute("#replay a", "href") == f"events/{event.id}/overlay.mp4"


def test_a_replay_by_another_explainer(serve: Serve, page: Page, archive: Path):
    """It explains the clip in a process of its own; who comes later finds it there."""
    sink = serve(events=archive)
    visit(page, sink)
    shown(page, sink, view())
    page.keyboard.press("v")
    page.locator("#event-list button").first.click()
    until(lambda: words(page, "#replay .top") != "", "its maps")
    page.evaluate(_FRAME, 2.0)
    assert page.locator("#replay .by option").first.inner_text() == "cam", "as it was recorded"
    recorded = pages.canvas_of(page, "#replay canvas")
    page.select_option("#replay .by", label="tube (takes a while)")
    until(lambda: "tube explains the clip" in words(page, "#replay .said"), "the word")
    until(lambda: words(page, "#replay .said") == "", "the end of it", 60)
    assert page.locator("#replay .by option:checked").inner_text() == "tube"
    assert words(page, "#replay .of").endswith(" · tube · figures")
    (event,) = rows(archive)
    assert list(made_again(event.clip)) == ["tube"]
    until(lambda: words(page, "#replay .top") not in ("", "kick, 95 %"), "what the network says of grey frames")
    until(lambda: not np.array_equal(pages.canvas_of(page, "#replay canvas"), recorded), "another heatmap")
    page.select_option("#replay .by", "")
    until(lambda: words(page, "#replay .top") == "kick, 95 %", "as it was recorded")
    page.keyboard.press("Escape")
    page.locator("#event-list button").first.click()
    until(lambda: "tube" in page.locator("#replay .by option").all_inner_texts(), "it is known now")

    page.select_option("#replay .by", "tube")
    until(lambda: words(page, "#replay .of").endswith(" · tube · figures"), "it again")
    with sqlite3.connect(archive / "events.db") as database:
        database.execute("UPDATE event SET model = 'gone'")
    page.select_option("#replay .by", label="contrast (takes a while)")
    until(lambda: "contrast could not explain it: unknown model 'gone'" in words(page, "#replay .said"), "why not", 60)
    assert page.locator("#replay .by option:checked").inner_text() == "tube", "the one that is drawn"


@pytest.mark.parametrize(("origin", "status"), [("https://evil.example", 403), (None, 400)])
def test_another_site_has_nothing_explained(serve: Serve, archive: Path, origin: str | None, status: int):
    sink = serve(events=archive)
    request = urllib.request.Request(f"{sink.address}events/1/explainers?by=nonsense", method="POST")
    if origin is not None:
        request.add_header("Origin", origin)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == status


def test_on_a_phone_no_word_lies_under_a_button(serve: Serve, page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    sink = serve()
    visit(page, sink)
    shown(page, sink, view(recorded="recording"))
    until(lambda: page.locator(".tile .recorded").is_visible(), "the word")
    places = """Array.from(document.querySelectorAll(".tile .chip, .tile .tools button"))
        .map((of) => of.getBoundingClientRect()).map(({ x, y, right, bottom }) => [x, y, right, bottom])"""
    boxes = [of for of in page.evaluate(places) if of[2] > of[0]]
    assert len(boxes) == 5
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_recording_camera_says_so_on_its_tile(serve: Serve, page: Page):
    sink = serve()
    visit(page, sink)
    for recorded, said in (("recording", "REC"), ("", ""), ("the disk is full", "not recording: the disk is full")):
        with Feed(sink, view(recorded=recorded)):
            until(lambda said=said: words(page, ".recorded") == said, said or "nothing")  # type: ignore[misc]


@pytest.mark.parametrize("path", ["events/99/plain.mp4", "events/1/events.db", "events/1/..%2f..%2fevents.db"])
def test_only_the_films_of_known_events_are_served(serve: Serve, archive: Path, path: str):
    sink = serve(events=archive)
    status, _, body = pages.get(sink, f"/{path}", "localhost")
    assert status == 404
    assert b"SQLite" not in body
    status, headers, body = pages.get(sink, "/events/1/plain.mp4", "localhost")
    assert (status, headers["Content-Type"], body[4:8]) == (200, "video/mp4", b"ftyp")
