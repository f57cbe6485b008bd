"""A whole film explained by several explainers, and every kind of file that is made of it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import rtx
from rtx.clock import NS_PER_S
from rtx.engine.engine import Engine
from rtx.errors import UserError
from rtx.film.explain import explain_clip, explain_film
from rtx.film.found import Film
from rtx.film.read import frames_of, read_clip
from rtx.film.write import WRITERS, check_all, save
from rtx.geometry import Rect
from rtx.measure.localisation import BODY, regions
from rtx.show.view import Look
from tests.film.conftest import FPS, SECONDS, Hall

LOOK = Look()


@pytest.fixture(scope="module")
def film(hall: Hall, engines: list[Engine]) -> Film:
    return explain_film(engines, str(hall[0]), with_tree=True)


@pytest.fixture(scope="module")
def written(film: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    save([folder / f"hall{suffix}" for suffix in WRITERS], film, LOOK)
    return folder


def test_clips_slide_over_all_of_it(film: Film, engines: list[Engine]):
    rows = film.panels[0].rows
    spec = engines[0].card.clip
    span = (spec.frames - 1) * spec.stride_ms / 1000
    begins, ends = np.array([(row.times[0], row.times[-1]) for row in rows]).T / NS_PER_S
    assert begins[0] == pytest.approx(0, abs=0.08)
    assert ends[-1] == pytest.approx(SECONDS - 1 / FPS, abs=0.08)
    np.testing.assert_allclose(ends - begins, span, atol=0.14)
    np.testing.assert_allclose(np.diff(ends)[:-1], span / 4, atol=0.08)
    assert [row.times for row in film.panels[1].rows] == [row.times for row in rows]


def test_every_second_where_every_second_is_asked_for(hall: Hall, engines: list[Engine]):
    ends = [row.times[-1] / NS_PER_S for row in explain_film(engines, str(hall[0]), every_s=1.0).panels[0].rows]
    np.testing.assert_allclose(np.diff(ends)[:-1], 1.0, atol=0.08)
    assert np.diff(ends)[:-1].mean() == pytest.approx(1.0, abs=0.02), "it keeps the beat"


def test_the_share_that_is_done_grows_to_one(hall: Hall, engines: list[Engine], film: Film, tmp_path: Path):
    told: list[float] = []
    explain_film(engines, str(hall[0]), 3.0, told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
    told.clear()
    save([tmp_path / "x.png"], film, LOOK, told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)


@pytest.mark.thorough
def test_one_pass_serves_all_explainers(hall: Hall, engines: list[Engine], film: Film):
    """And each finds what it finds alone."""
    for engine, panel in zip(engines, film.panels, strict=True):
        alone = explain_film([engine], str(hall[0])).panels[0]
        assert alone.explainer == panel.explainer
        assert alone.rows == panel.rows
        np.testing.assert_array_equal(alone.arrays()["relevance"], panel.arrays()["relevance"])


def test_the_heat_lies_on_the_figure_of_its_own_moment(film: Film, hall: Hall):
    """Of frames where the network is right; against the same heat over the frames of half the film later."""
    hits, others, areas = [], [], []
    for number, views in enumerate(film.views()):
        view, truth = views[0], hall[1][number]
        if view.heat is None or not view.heat.values.any() or view.top[0].label != truth.action:
            continue
        values = cv2.resize(view.heat.values, (180, 180))
        y, x = np.unravel_index(int(values.argmax()), values.shape)
        x += 70  # A square in the middle of 320 x 180.
        body = regions(truth, 180, 320, Rect(0, 0, 320, 180)) >= BODY
        later = regions(hall[1][(number + 75) % 150], 180, 320, Rect(0, 0, 320, 180)) >= BODY
        near = np.ones((15, 15), np.uint8)
        hits.append(bool(cv2.dilate(body.astype(np.uint8), near)[y, x]))
        others.append(bool(cv2.dilate(later.astype(np.uint8), near)[y, x]))
        areas.append(body.mean())
    assert len(hits) > 30
    assert np.mean(hits) > 0.7
    assert np.mean(areas) < 0.1


def test_the_movie_has_every_frame_at_its_time_side_by_side(written: Path, hall: Hall):
    with av.open(str(written / "hall.mp4")) as made, av.open(str(hall[0])) as source:
        ours = [(frame.time, frame.to_ndarray(format="bgr24")) for frame in made.decode(video=0)]
        theirs = [(frame.time, frame.to_ndarray(format="bgr24")) for frame in source.decode(video=0)]
    assert [at for at, _ in ours] == pytest.approx([at for at, _ in theirs], abs=0.002)
    assert ours[0][1].shape == (180, 640, 3)
    # What lies above the text and outside the network's square is the source, dimmed.
    for (_, picture), (_, original) in zip(ours[::10], theirs[::10], strict=True):
        for left in (0, 320):
            part = picture[:100, left : left + 60].astype(float)
            np.testing.assert_allclose(part.mean(), 0.45 * original[:100, :60].mean(), rtol=0.06)


def test_the_gif_plays_for_ever_at_the_films_pace(written: Path):
    with Image.open(written / "hall.gif") as gif:
        assert gif.info["loop"] == 0
        assert gif.size == (640, 180)
        assert 75 <= gif.n_frames <= 100
        lasts = 0
        for number in range(gif.n_frames):
            gif.seek(number)
            lasts += gif.info["duration"]
    assert lasts == pytest.approx(1000 * SECONDS, rel=0.05)


def test_the_sheet_has_a_row_an_explainer(written: Path):
    sheet = cv2.imread(str(written / "hall.png"))
    assert sheet.shape == (2 * (36 + 135), 8 * 240, 3)
    rows = sheet[36:171], sheet[36 + 171 :]
    assert abs(rows[0].astype(int) - rows[1]).mean() > 0.5, "two explainers, two heatmaps"


def test_the_arrays_are_what_was_found(written: Path, film: Film):
    with np.load(written / "hall.npz", allow_pickle=False) as arrays:
        for number, panel in enumerate(film.panels):
            rows = panel.rows
            assert str(arrays[f"explainer_{number}"]) == panel.explainer
            assert arrays[f"relevance_{number}"].shape[0] == len(rows)
            np.testing.assert_allclose(arrays[f"times_s_{number}"] * NS_PER_S, [row.times for row in rows], rtol=1e-9)
            assert arrays[f"target_{number}"].tolist() == [row.target or "" for row in rows]
            assert arrays[f"labels_{number}"][:, 0].tolist() == [row.top[0].label for row in rows]
        assert np.isnan(arrays["motion_share_0"]).all()
        assert ((arrays["motion_share_1"] >= 0) & (arrays["motion_share_1"] <= 1)).any()


def test_one_clip_is_the_same_clip_alone_and_among_several_explainers(engines: list[Engine], hall: Hall):
    clip = read_clip(hall[0], engines[0].backend, 5.0)
    _, results = explain_clip(engines, "hall.mp4", clip)
    for engine, result in zip(engines, results, strict=True):
        alone = rtx.explain(engine.backend, clip, str(engine.chain))
        np.testing.assert_array_equal(result.relevance, alone.relevance)
        assert (result.top, result.target, result.motion_share) == (alone.top, alone.target, alone.motion_share)
        np.testing.assert_array_equal(result.frames, clip.clip.frames)


def test_a_film_shorter_than_a_clip_is_spread_over_one_and_says_so(engines: list[Engine], tmp_path: Path):
    short = tmp_path / "short.mp4"
    writer = cv2.VideoWriter(str(short), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for number in range(5):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    film = explain_film(engines, str(short))
    assert film.stretched
    assert len(film.panels[0].rows) == 1
    save([tmp_path / "short.html", tmp_path / "short.mp4.gif"], film, LOOK)
    assert "shorter than a clip" in (tmp_path / "short.html").read_text()


@pytest.mark.thorough
def test_frames_between_clips_that_are_far_apart_are_not_painted(engines: list[Engine], hall: Hall, tmp_path: Path):
    film = explain_film(engines, str(hall[0]), every_s=5.0)
    assert film.covered == pytest.approx(0.3, abs=0.05)
    bare = [views[0] for views in film.views() if not views[0].top]
    assert len(bare) / (FPS * SECONDS) == pytest.approx(1 - film.covered, abs=0.1)
    assert not any(view.heat is not None and view.heat.values.any() for view in bare)
    save([tmp_path / f"gaps{suffix}" for suffix in WRITERS], film, LOOK)
    assert "in no explained clip" in (tmp_path / "gaps.html").read_text()
    assert "in no clip that was explained" in (tmp_path / "gaps.html").read_text()


@pytest.mark.parametrize("size", [(640, 4), pytest.param((4, 640), marks=pytest.mark.thorough), (33, 47)])
def test_films_of_any_shape(engines: list[Engine], tmp_path: Path, size: tuple[int, int]):
    path = tmp_path / "x.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10, size)
    for number in range(25):
        writer.write(np.full((size[1], size[0], 3), 10 * number, np.uint8))
    writer.release()
    film = explain_film(engines, str(path))
    save([tmp_path / f"made{suffix}" for suffix in WRITERS], film, LOOK)
    assert all((tmp_path / f"made{suffix}").stat().st_size for suffix in WRITERS)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["film.mp4"], "is the file that is explained"),
        (["x.png", "./x.png"], "given twice"),
        (["x.GIF"], "must end in"),
    ],
)
def test_outputs_that_cannot_be_meant(tmp_path: Path, names: list[str], why: str):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"dear to somebody")
    with pytest.raises(UserError, match=why):
        check_all([tmp_path / name for name in names], str(film))


def test_a_name_that_opencv_cannot_bear_is_told(engines: list[Engine], tmp_path: Path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.mp4")
    Path(path).write_bytes(b"x")
    with pytest.raises(UserError, match="UTF-8 only; rename it"):
        explain_film(engines, path)


def test_a_film_without_a_picture_is_named(engines: list[Engine], tmp_path: Path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.mp4' is not a video"):
        explain_film(engines, str(tmp_path / "empty.mp4"))


def test_a_film_that_breaks_off_is_explained_to_where_it_does(engines: list[Engine], hall: Hall, tmp_path: Path):
    cut = tmp_path / "cut.mp4"
    data = hall[0].read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    there = sum(1 for _ in frames_of(str(cut)))
    assert 20 < there < FPS * SECONDS - 20
    rows = explain_film(engines, str(cut)).panels[0].rows
    assert rows[-1].times[-1] / NS_PER_S == pytest.approx((there - 1) / FPS, abs=0.1)


@pytest.mark.parametrize("suffix", WRITERS)
def test_what_cannot_be_finished_leaves_nothing(film: Film, tmp_path: Path, suffix: str):
    def breaks_off():
        for number, frame in enumerate(film.frames()):
            if number == 3:
                raise UserError("the disk was pulled out")
            yield frame

    def no_arrays():
        raise UserError("the disk was pulled out")

    before = tmp_path / f"x{suffix}"
    before.write_bytes(b"what was here before")
    broken = replace(film, frames=breaks_off)
    if suffix == ".npz":
        broken = replace(film, panels=tuple(_Broken(no_arrays) for _ in film.panels))
    with pytest.raises(UserError, match="pulled out"):
        save([before], broken, LOOK)
    assert before.read_bytes() == b"what was here before"
    assert list(tmp_path.iterdir()) == [before]


class _Broken:
    def __init__(self, arrays):
        self.arrays = arrays


def test_a_folder_that_cannot_be_written_is_named(film: Film, tmp_path: Path):
    with pytest.raises(UserError, match=re.escape(f"cannot write '{tmp_path}/no/x.png'")):
        save([tmp_path / "no" / "x.png"], film, LOOK)


def test_of_a_twin_network_each_branch_has_its_panel(twin: Engine, hall: Hall, tmp_path: Path):
    clip = read_clip(hall[0], twin.backend, 3.0)
    one, results = explain_clip([twin], str(hall[0]), clip)
    assert [panel.explainer for panel in one.panels] == ["ksigma(k=1.0) of RGB", "ksigma(k=1.0) of flow"]
    assert len(results) == 1
    whole = explain_film([twin], str(hall[0]), every_s=2.0)
    assert [panel.explainer for panel in whole.panels] == ["ksigma(k=1.0) of RGB", "ksigma(k=1.0) of flow"]
    for found in (one, whole):
        rgb, flow = (np.stack([panel.at(row.times[-1])[1].values for row in panel.rows]) for panel in found.panels)
        assert rgb.any()
        assert flow.any()
        assert not np.array_equal(rgb, flow)
    save([tmp_path / "side.png"], one, LOOK)
