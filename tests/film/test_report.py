"""The report and the notebook's picture, in a real browser; and a folder's files, one after another."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rtx
from rtx.cli import main
from rtx.engine.engine import Engine
from rtx.errors import UserError
from rtx.film.explain import explain_clip, explain_film
from rtx.film.folder import RECORD, Line, Record, state_of, videos
from rtx.film.found import Film, Pyramid
from rtx.film.read import read_clip
from rtx.film.write import save
from rtx.show.view import Look
from tests.browser import MISSING, NO_AXE, chromium, serious_for_axe
from tests.film.conftest import Hall
from tests.live.runs import RTX
from tests.live.runs import rtx as command
from tests.running import Running
from tests.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

in_a_browser = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """One that fails where it asks anything of a network, or says anything on its console."""
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url))
    yield page
    page.close()
    assert said == []


@pytest.fixture(scope="module")
def film(hall: Hall, engines: list[Engine]) -> Film:
    return explain_film(engines, str(hall[0]), every_s=0.5, with_tree=True)


def report(film: Film, folder: Path) -> str:
    save([folder / "r.html"], film, Look())
    return f"file://{folder / 'r.html'}"


@in_a_browser
def test_a_films_report_shows_strips_plots_and_the_tree(page: Page, film: Film, tmp_path: Path):
    page.goto(report(film, tmp_path))
    assert page.inner_text("h1") == "hall.mp4"
    titles = page.locator("h2").all_inner_texts()
    assert titles[:5] == [
        "What it says",
        "cam",
        "ksigma | selective",
        "When its evidence is there",
        "How much of it is motion",
    ]
    assert re.fullmatch(r"What .+ rests on, layer by layer", titles[5])
    assert page.locator(".strip").count() == 2
    assert page.locator(".strip").first.locator("img").count() == 16
    times = [
        float(text.split(" s")[0]) for text in page.locator(".strip").first.locator("figcaption").all_inner_texts()
    ]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (pytest.approx(0.31, abs=0.05), pytest.approx(9.6, abs=0.1))
    loaded = "Array.from(document.images).every((of) => of.complete && of.naturalWidth > 0)"
    assert page.evaluate(loaded)
    assert page.locator("svg").count() == 3
    box = page.locator("svg").first.locator("polyline").first.bounding_box()
    assert box is not None
    assert box["width"] > 200, "a line over the film's time"


@in_a_browser
def test_the_tree_opens_layer_by_layer(page: Page, film: Film, tmp_path: Path):
    page.goto(report(film, tmp_path))
    inner = page.locator("details details").first
    assert film.pyramid is not None
    assert page.locator(".layer").count() == len(film.pyramid.layers)
    deepest = inner.locator("ul .layer").first
    assert not deepest.is_visible()
    inner.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert deepest.is_visible()
    assert "2 layers down" in deepest.inner_text()


@in_a_browser
@pytest.mark.skipif(NO_AXE is not None, reason=str(NO_AXE))
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_report_can_be_read_by_all(browser: Browser, film: Film, tmp_path: Path, theme: str, width: int):
    context = browser.new_context(bypass_csp=True, color_scheme=theme, viewport={"width": width, "height": 800})  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(report(film, tmp_path))
    assert serious_for_axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@in_a_browser
def test_one_clips_report(page: Page, hall: Hall, engines: list[Engine], tmp_path: Path):
    clip = read_clip(hall[0], engines[0].backend, 5.0)
    film, results = explain_clip(engines, str(hall[0]), clip, with_tree=True)
    page.goto(report(film, tmp_path))
    assert "one clip, from" in page.inner_text("dl")
    assert results[0].top[0].label in page.inner_text("dl")
    assert page.locator(".strip").first.locator("img").count() == 16


@in_a_browser
def test_names_are_text_and_nothing_else(page: Page, film: Film, tmp_path: Path):
    evil = '<img src=x onerror="document.title=1">&"'
    rows = [row._replace(top=(row.top[0].__class__(evil, 0.5),), target=evil) for row in film.panels[0].rows]
    film = replace(film, file=f"a/{evil[:12]}.mp4", pyramid=Pyramid(rows[0], film.pyramid.frames, (), evil))  # type: ignore[union-attr]
    film.panels[0].rows[:], kept = rows, film.panels[0].rows[:]
    try:
        page.goto(report(film, tmp_path))
    finally:
        film.panels[0].rows[:] = kept
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert evil in page.inner_text("body")


@in_a_browser
def test_a_result_shows_itself_in_a_notebook(page: Page, hall: Hall, engines: list[Engine]):
    result = rtx.explain(engines[0].backend, read_clip(hall[0], engines[0].backend, 5.0), "cam")
    page.set_content(replace(result, model="<b>m</b>")._repr_html_())
    assert page.locator("img").count() == 6
    assert page.evaluate("Array.from(document.images).every((of) => of.naturalWidth > 0)")
    assert f"{result.top[0].label}" in page.inner_text("body")
    assert "<b>m</b>" in page.inner_text("body")
    assert "no evidence" not in page.inner_text("body")
    nothing = replace(result, evidence=False)
    page.set_content(nothing._repr_html_())
    assert "no evidence above threshold" in page.inner_text("body")
    assert len(repr(result)) < 10_000, "frames are no text"


@pytest.fixture
def folder(tmp_path: Path, hall: Hall) -> Path:
    """Three videos, of which one is none, one a folder deeper; and what is no video."""
    inside = tmp_path / "in"
    (inside / "deeper").mkdir(parents=True)
    shutil.copy(hall[0], inside / "a.mp4")
    shutil.copy(hall[0], inside / "deeper" / "b.MP4")
    (inside / "broken.avi").write_bytes(b"no video")
    (inside / "notes.txt").write_text("no video either")
    (inside / ".hidden.mp4").write_bytes(b"of no interest")
    return inside


OPTIONS = ("--model", "figures", "--format", "png,npz")


def test_a_folder_is_explained_file_by_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["rtx", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    out = tmp_path / "out"
    code, _, err = command("explain", str(folder), "-o", str(out), *OPTIONS)
    assert code == 2
    assert "1 of 3 files could not be explained" in err
    assert "broken.avi" in err
    made = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert made == {RECORD, "a.mp4.png", "a.mp4.npz", "deeper/b.MP4.png", "deeper/b.MP4.npz"}
    _, *lines = [json.loads(line) for line in (out / RECORD).read_text().splitlines()]
    assert [line["file"] for line in lines] == ["a.mp4", "broken.avi", "deeper/b.MP4"]
    assert [line["error"] is None for line in lines] == [True, False, True]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}

    (folder / "broken.avi").unlink()
    (out / "a.mp4.npz").unlink()
    code, printed, err = command("explain", str(folder), "-o", str(out), *OPTIONS, "--json")
    assert code == 0, err
    assert [json.loads(line)["file"] for line in printed.splitlines()] == [
        str(folder / "a.mp4"), str(folder / "deeper" / "b.MP4"),
    ]  # fmt: skip
    assert (out / "a.mp4.npz").is_file(), "what is missing is made"
    assert (out / "deeper" / "b.MP4.png").stat().st_mtime_ns == before[out / "deeper" / "b.MP4.png"], "the rest stays"

    code, _, err = command("explain", str(folder), "-o", str(out), *OPTIONS, "--explainer", "ksigma")
    assert code == 2
    assert re.search(r'explainers was \["cam"\], is \["ksigma"\]; name another folder', " ".join(err.split()))


def test_a_folder_goes_on_where_a_kill_stopped_it(folder: Path, tmp_path: Path):
    (folder / "broken.avi").unlink()
    out = tmp_path / "out"
    options = ("--model", "figures", "--whole", "--every", "1", "--format", "mp4")
    command_line = ("explain", str(folder), "-o", str(out), *options)
    with Running(*command_line) as run:
        until(lambda: (out / "a.mp4.mp4").is_file(), 60)
        until(lambda: (out / RECORD).read_text().count("\n") == 2)
        os.killpg(run.process.pid, 9)
        run.process.wait()
    first = (out / "a.mp4.mp4").stat().st_mtime_ns
    with (out / RECORD).open("a") as record:
        record.write('{"file": "deeper/b.MP4", "of": [1')  # Half a line, as a kill within the writing leaves it.
    done = command(*command_line)
    assert done.returncode == 0, done.stderr
    assert re.search(r"a\.mp4: .*\(done before\)\n", done.stdout)
    assert (out / "a.mp4.mp4").stat().st_mtime_ns == first
    assert (out / "deeper" / "b.MP4.mp4").is_file()
    assert all(json.loads(line) for line in (out / RECORD).read_text().splitlines())


def test_a_file_that_changed_is_explained_again(folder: Path, tmp_path: Path):
    file = folder / "a.mp4"
    record = Record(tmp_path / "out", {"whole": True})
    record.add(Line("a.mp4", state_of(file), found={"x": 1}))
    record.add(Line("c.mp4", state_of(file), error="broken"))
    record.close()
    again = Record(tmp_path / "out", {"whole": True})
    line = again.done("a.mp4", file, [])
    assert line is not None
    assert line.found == {"x": 1}
    assert again.done("a.mp4", file, [tmp_path / "missing.png"]) is None
    assert again.done("c.mp4", file, []) is None, "it is tried again"
    assert again.done("b.mp4", file, []) is None
    file.write_bytes(file.read_bytes() + b"\0")
    assert again.done("a.mp4", file, []) is None
    file.unlink()
    assert again.done("a.mp4", file, []) is None
    again.close()


def test_one_at_a_time_explains_into_a_folder(tmp_path: Path):
    record = Record(tmp_path, {})
    with pytest.raises(UserError, match="another rtx explains into"):
        Record(tmp_path, {})
    record.close()
    Record(tmp_path, {}).close()


@pytest.mark.parametrize(
    "text", ["[]\n", "1\n", "{}\n", "\xff\n", '{"settings": []}\n', '{"settings": {}}\n{"file": "x"}\n']
)
def test_what_is_no_record_is_named_and_stays(tmp_path: Path, text: str):
    (tmp_path / RECORD).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=rf"{RECORD}' is no record of `rtx explain`"):
        Record(tmp_path, {})
    assert (tmp_path / RECORD).read_text(encoding="latin-1") == text


def test_a_folder_without_videos_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"no video in .*\.mp4, \.avi"):
        videos(tmp_path, tmp_path / "out")


def test_what_was_made_is_not_explained_again(folder: Path):
    inside = folder / "out" / "deeper"
    inside.mkdir(parents=True)
    (inside / "a.mp4.mp4").write_bytes(b"made before")
    assert [path.name for path in videos(folder, folder / "out")] == ["a.mp4", "broken.avi", "b.MP4"]
    with pytest.raises(UserError, match="is the folder that is explained; name another"):
        videos(folder, folder / "deeper" / "..")


@pytest.mark.thorough
def test_json_goes_where_it_was_sent_although_there_are_bars(folder: Path, tmp_path: Path):
    """Standard error is a terminal, standard output is not."""
    (folder / "broken.avi").unlink()
    terminal, end = pty.openpty()
    with (tmp_path / "found.jsonl").open("w") as found:
        arguments = ("explain", str(folder), "-o", str(tmp_path / "out"), *OPTIONS, "--json")
        process = subprocess.Popen([*RTX, *arguments], stdout=found, stderr=end)
        os.close(end)
        said = b""
        with contextlib.suppress(OSError):  # Its end is an error on Linux.
            while read := os.read(terminal, 65536):
                said += read
        assert process.wait(10) == 0
    os.close(terminal)
    assert [len(json.loads(line)["explainers"]) for line in (tmp_path / "found.jsonl").read_text().splitlines()] == [
        1,
        1,
    ]
    assert b"left:" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount of its own needs root")
def test_a_full_disk_is_one_line_and_not_the_end_of_the_process(hall: Hall, tmp_path: Path):
    """Wherever it is: for what is kept meanwhile, for what is written, for what was done."""
    small = tmp_path / "small"
    small.mkdir()
    line = " ".join(map(shlex.quote, (*RTX, "explain", str(hall[0]), "--whole", "--model", "figures")))
    for size, variables, how, output in (
        ("8k", f"TMPDIR={small}", "--explainer saliency --every 0.05", tmp_path / "x.npz"),
        ("16k", "", "--explainer cam --every 1", small / "x.mp4"),
    ):
        script = f"mount -t tmpfs -o size={size} none {small} && {variables} {line} {how} -o {output}"
        done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
        if "unshare" in done.stderr:
            pytest.skip(f"no mount of its own here: {done.stderr}")
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert "No space left" in done.stderr
        assert not output.exists()
