"""Who is to be seen before a plain wall: drawn strips, whose truth is known, and the real ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from rtx.cli import app
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.datasets import STRIPS, found_in
from rtx.evaluate.examples import examples_of
from rtx.evaluate.strips import frames_of, silhouettes

COUNT, SIDE = 20, 64


def a_person() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Frames of a dark trunk before a mottled wall, with an arm that goes up and down, and where they are."""
    random = np.random.default_rng(0)
    wall = np.clip(150 + random.normal(0, 5, (SIDE, SIDE, 3)) - np.linspace(0, 25, SIDE)[:, None, None], 0, 255)
    frames = np.repeat(wall[None].astype(np.uint8), COUNT, axis=0)
    truth = np.zeros((COUNT, SIDE, SIDE), np.uint8)
    for number, mask in enumerate(truth):
        cv2.rectangle(mask, (26, 18), (36, 60), 1, -1)
        cv2.line(mask, (36, 24), (54, 24 + round(14 * np.sin(number))), 1, 4)
    frames[truth > 0] = (60, 45, 40)
    return frames, truth > 0


def laid_out(folder: Path) -> None:
    frames, _ = a_person()
    for digit in STRIPS:
        (folder / digit).mkdir(parents=True)
        for number in (4, 5, 12, 13):
            cv2.imwrite(str(folder / digit / f"{number:08d}.jpg"), np.hstack(list(frames)))


def test_a_strip_is_frames_side_by_side(tmp_path: Path):
    frames, _ = a_person()
    cv2.imwrite(str(tmp_path / "a.png"), np.hstack(list(frames)))
    assert np.array_equal(frames_of(tmp_path / "a.png"), frames)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((64, 100, 3), np.uint8))
    (tmp_path / "c.jpg").write_bytes(b"none")
    for name in ("b.png", "c.jpg"):
        with pytest.raises(UserError, match=f"{name} is no strip"):
            frames_of(tmp_path / name)


def test_who_stands_before_the_wall_is_told_from_it_the_same_each_time():
    frames, truth = a_person()
    found = silhouettes(frames)
    shared = (found & truth).sum(axis=(1, 2)) / (found | truth).sum(axis=(1, 2))
    assert shared.min() > 0.9
    assert np.array_equal(silhouettes(frames), found)


def test_of_each_pair_one_is_taken_and_what_moves_is_not_the_trunk(figures: TorchBackend, tmp_path: Path):
    laid_out(tmp_path)
    found = found_in(tmp_path)
    assert found is not None
    assert [of.name for of in found.items[:3]] == ["0/00000004.jpg", "0/00000012.jpg", "1/00000004.jpg"]
    material = examples_of(figures, str(tmp_path), boxed=True)
    assert material.says == "Weizmann actions, 8 films, one of each pair"
    assert material.named
    example = material.load("3/00000004.jpg")
    assert example.label == example.shows == "jumping jack"
    assert example.frames.shape == (16, 112, 112, 3)
    scale = 112 / SIDE
    trunk = np.s_[:, round(30 * scale) : round(58 * scale), round(27 * scale) : round(35 * scale)]
    assert example.regions["body"][trunk].all()
    assert not example.regions["acting"][trunk].any()
    reach = example.regions["acting"][:, :, round(44 * scale) :]
    assert reach.any(axis=(1, 2)).all(), "the arm"
    assert all(box is not None and box.right > 50 * scale for box in example.boxes)


def test_real_people_are_told_from_the_wall(weizmann: Path, i3d: TorchBackend):
    """By what is known of them: one person each, upright or bent, about as large, the wall at both sides."""
    material = examples_of(i3d, str(weizmann), boxed=True)
    assert len(material.names) == 36
    assert not material.named
    for name in material.names:
        example = material.load(name)
        body = example.regions["body"]
        shares = body.mean(axis=(1, 2))
        assert 0.04 < shares.min() <= shares.max() < 0.3, name
        assert shares.max() < 3 * shares.min(), name
        assert not body[:, :, :6].any(), name
        assert 0.05 < example.regions["acting"].sum() / body.sum() < 0.99, name


@pytest.mark.usefixtures("weights")
def test_who_has_no_name_for_what_is_shown_is_not_asked_about_classes(weizmann: Path):
    done = CliRunner().invoke(app, ["eval", "classes", "--model", "i3d-k400", "--clips", str(weizmann)])
    assert isinstance(done.exception, UserError)
    assert "i3d-k400 has no name for any in Weizmann actions" in str(done.exception)
