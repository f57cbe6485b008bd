"""`rtx eval truth`: maps that are right, wrong and of nothing on scenes whose truth is known; runs that go on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from rtx.cli import app, main
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.bootstrap import mean_of
from rtx.evaluate.examples import examples_of
from rtx.evaluate.study import Example
from rtx.evaluate.truth import Row, judged, row, rows, summary
from rtx.explain.registry import parse
from rtx.measure.localisation import widened
from rtx.measure.places import Place, place
from rtx.measure.places import widened as everywhere_widened

SHAPE = (3, 112, 112)


@pytest.fixture
def region() -> NDArray[np.bool_]:
    """In the first two of three frames to be seen."""
    made = np.zeros(SHAPE, bool)
    made[0, 20:40, 30:50] = made[1, 60:80, 30:40] = True
    return made


def placed(relevance: NDArray[np.float32], region: NDArray[np.bool_]) -> Place:
    """Of one clip, its numbers."""
    return Place(*(of[0] for of in place(torch.from_numpy(relevance)[None], torch.from_numpy(region)[None])))


def test_the_map_that_is_the_truth(region: NDArray[np.bool_]):
    found = placed(region.astype(np.float32), region)
    assert (found.hit, found.iou) == (1, 1)
    assert found.ratio == pytest.approx(1 / region[:2].mean())
    assert found.chance == pytest.approx(np.mean([widened(mask).mean() for mask in region[:2]]))


def test_the_map_that_is_everywhere_else(region: NDArray[np.bool_]):
    found = placed(1 - region.astype(np.float32), region)
    assert (found.hit, found.ratio, found.iou) == (0, 0, 0)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_a_constant_map_hits_nothing_and_is_no_better_than_chance(region: NDArray[np.bool_], value: float):
    found = placed(np.full(SHAPE, value, np.float32), region)
    assert (found.hit, found.iou) == (0, 0)
    assert found.ratio == pytest.approx(1) if value > 0 else found.ratio.isnan()


def test_noise_is_chance(region: NDArray[np.bool_]):
    noise = torch.from_numpy(np.random.default_rng(0).random((300, *SHAPE)).astype(np.float32))
    found = place(noise, torch.from_numpy(region).expand_as(noise))
    assert found.hit.mean() == pytest.approx(float(found.chance[0]), abs=0.04)
    assert found.ratio.mean() == pytest.approx(1, abs=0.02)


def test_of_what_is_never_to_be_seen_nothing_is_said():
    assert all(np.isnan(placed(np.ones(SHAPE, np.float32), np.zeros(SHAPE, bool))))


@pytest.mark.parametrize("size", [28, 56, 112, 150, 224])
def test_regions_are_widened_as_live_ones_are(size: int):
    masks = np.random.default_rng(3).random((4, size, size)) < 0.005
    assert all(mask.any() for mask in masks)
    np.testing.assert_array_equal(everywhere_widened(torch.from_numpy(masks)), [widened(mask) for mask in masks])


def test_as_it_is_defined(region: NDArray[np.bool_]):
    """Pixel by pixel; several clips at once, each with a region of its own."""
    random = np.random.default_rng(1)
    # As smooth as heat is, so that the hottest place lies on the region in some frames.
    clips = np.stack([cv2.GaussianBlur(of.transpose(1, 2, 0), (0, 0), 9).transpose(2, 0, 1)
                      for of in random.normal(size=(4, *SHAPE)).astype(np.float32)])  # fmt: skip
    clips[2, 0, 25, 35] = clips[3, 1, 65, 33] = 1
    regions = np.stack([region, np.roll(region, 9, axis=2), region, np.roll(region, 5, axis=1)])
    found = place(torch.from_numpy(clips), torch.from_numpy(regions))
    expected = [slowly(clip, of) for clip, of in zip(clips, regions, strict=True)]
    np.testing.assert_allclose(np.stack(found, axis=1), expected, rtol=1e-9)
    assert 0 < float(found.hit.mean()) < 1
    assert 0 < float(found.iou.mean()) < 1
    one_for_all = place(torch.from_numpy(clips), torch.from_numpy(region)[None])
    np.testing.assert_array_equal(np.stack(one_for_all)[:, [0, 2]], np.stack(found)[:, [0, 2]])


def slowly(relevance: NDArray[np.float32], region: NDArray[np.bool_]) -> list[float]:
    """`place` of one clip, by its definition."""
    inside = outside = 0.0
    pixels, hits, chances, ious = 0, [], [], []
    disc = [(y, x) for y, x in zip(*np.nonzero(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))), strict=True)]
    for frame, mask in zip(relevance.astype(np.float64), region, strict=True):
        if not mask.any():
            continue
        on = set(zip(*np.nonzero(mask), strict=True))
        wide = {(y + down - 4, x + across - 4) for y, x in on for down, across in disc}
        wide = {(y, x) for y, x in wide if 0 <= y < 112 and 0 <= x < 112}
        everywhere = list(np.ndindex(112, 112))
        hottest = max(everywhere, key=lambda at: frame[at])
        half = frame.mean() + (frame.max() - frame.mean()) / 2
        hot = {at for at in everywhere if frame[at] >= half}
        hits.append(hottest in wide)
        chances.append(len(wide) / len(everywhere))
        ious.append(len(hot & on) / len(hot | on))
        inside += sum(max(0, frame[at]) for at in on)
        outside += sum(max(0, frame[at]) for at in everywhere if at not in on)
        pixels += len(everywhere)
    share = inside / (inside + outside)
    return [float(np.mean(hits)), float(np.mean(chances)), share / (region.sum() / pixels), float(np.mean(ious))]


def test_a_mean_and_how_sure_it_is():
    values = np.random.default_rng(2).normal(3, 1, 400).tolist()
    found = mean_of([*values, np.nan])
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(np.mean(values)), 400)
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.15), "as of a normal mean"
    assert mean_of([1.0]) == (1, 1, 1, 1)
    assert mean_of([np.nan]) is None
    assert mean_of(values) == mean_of(values), "its seed is stated"


def test_what_counts_is_a_clip_that_shows_one_act_and_was_named_rightly(figures: TorchBackend):
    scenes, chains = examples_of(figures, "8"), {"cam": parse("cam")}
    found = {True: 0, False: 0, None: 0}
    for example in map(scenes.load, scenes.names):
        one = row(figures, chains, example, scenes.named)
        found[one.right] += 1
        assert bool(one.places) == bool(one.right)
        two_acts = dataclasses.replace(example, label=None, shows="")
        assert row(figures, chains, two_acts, scenes.named).right is False
        judged = row(figures, chains, dataclasses.replace(example, label=None, shows="juggling"), named=False)
        assert judged.right is None, "there is no name for that"
        assert judged.places
    assert found[True] >= 5
    assert found[None] == 0


def test_the_hall_is_explained_better_than_by_chance(figures: TorchBackend):
    scenes = examples_of(figures, "8")
    found = list(rows(figures, ["cam", "dtd | selective"], scenes, scenes.names))
    told = {(of.explainer, of.region): of for of in summary(found)}
    for explainer in ("cam", "dtd | selective"):
        body = told[explainer, "body"]
        assert body.hit is not None
        assert body.chance is not None
        assert body.ratio is not None
        assert body.hit.mean > 0.6 > 3 * body.chance.mean
        assert body.ratio.low > 2
    assert summary(found)[0].region == "acting"
    assert summary([Row("scene 1", "kick", False)]) == []


def test_where_a_network_names_nothing_of_what_is_shown_all_of_it_is_judged(
    figures: TorchBackend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(figures, "labels", tuple(f"class {number}" for number in range(len(figures.labels))))
    scenes = examples_of(figures, "3")
    assert not scenes.named
    found = list(rows(figures, ["cam"], scenes, scenes.names))
    assert [of.right for of in found] == [None] * 3
    assert len(judged(found)) == 3


def test_films_of_which_nobody_knows_what_is_where_are_refused(figures: TorchBackend):
    example = Example("a.avi", np.zeros((16, 112, 112, 3), np.uint8))
    with pytest.raises(UserError, match=r"a\.avi: what is where in it, nobody says"):
        row(figures, {"cam": parse("cam")}, example, named=False)


OPTIONS = ("eval", "truth", "--explainer", "cam", "--explainer", "ksigma", "--clips")


def test_a_run_that_was_broken_off_goes_on(tmp_path: Path):
    report, part = tmp_path / "t.json", tmp_path / ".t.json.part"
    done = CliRunner().invoke(app, [*OPTIONS, "4", "--report", str(report)])
    assert done.exit_code == 0, done.output
    assert not part.exists()
    whole = json.loads(report.read_text())
    assert [clip["name"] for clip in whole["clips"]] == [f"scene {n}" for n in range(4)]
    known = [msgspec.json.decode(json.dumps(clip).encode(), type=Row) for clip in whole["clips"]]
    changed = msgspec.structs.replace(known[0], shows="known before")
    lines = [json.dumps(whole["settings"]), msgspec.json.encode(changed).decode(), '{"name": "scene 1", "sho']
    part.write_text("\n".join(lines))
    again = CliRunner().invoke(app, [*OPTIONS, "4", "--report", str(report)])
    assert again.exit_code == 0, again.output
    clips = json.loads(report.read_text())["clips"]
    assert [clip["shows"] for clip in clips] == ["known before", *[clip["shows"] for clip in whole["clips"][1:]]]
    assert clips[1:] == whole["clips"][1:], "the same seeds are the same scenes"

    part.write_text("\n".join([json.dumps(whole["settings"] | {"clips": 5}), lines[1], ""]))
    other = CliRunner().invoke(app, [*OPTIONS, "2", "--report", str(tmp_path / "t.html")])
    assert other.exit_code == 0, other.output
    assert "Does the heat lie on who acts?" in (tmp_path / "t.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--report", "x.doc"), "--report 'x.doc'"), (("--report", "nowhere/x.json"), "nowhere/x.json"),
        (("--explainer", "com"), "unknown explainer 'com'"), (("--model", "i3d-k40"), "did you mean 'i3d-k400'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["rtx", "eval", "truth", "--clips", "1", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert why in said
