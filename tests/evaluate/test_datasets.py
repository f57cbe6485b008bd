"""The papers' data sets, laid out as they are published, in small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.datasets import found_in
from rtx.evaluate.examples import examples_of
from rtx.measure.boxes import Box

STROKES = """<video name="game">
 <action begin="10" end="20" move="Serve Forehand Loop"/>
 <action begin="30" end="38" move="Offensive Backhand Hit"/>
</video>"""


def film(path: Path, frames: int = 20, fps: int = 15) -> None:
    """Frame n is grey 5 n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 64))
    for number in range(frames):
        writer.write(np.full((64, 64, 3), 5 * number, np.uint8))
    writer.release()


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def ucf101(folder: Path) -> None:
    film(folder / "UCF-101/JumpingJack/v_JumpingJack_g01_c01.avi")
    film(folder / "UCF-101/YoYo/v_YoYo_g08_c02.avi")
    text(folder / "ucfTrainTestlist/testlist01.txt", "JumpingJack/v_JumpingJack_g01_c01.avi")


def hmdb51(folder: Path) -> None:
    for name in ("kick/a_kick_f_1.avi", "kick/b.avi", "wave/c.avi"):
        film(folder / name)
    text(folder / "kick_test_split1.txt", "a_kick_f_1.avi 2 ", "b.avi 1 ")
    text(folder / "wave_test_split1.txt", "c.avi 2 ")


def jhmdb(folder: Path) -> None:
    masks = np.zeros((40, 60, 24), np.uint8)
    masks[10:30, 20:40] = 1
    masks[:, :, :4] = 0
    for name in ("kick_ball/One_kick", "walk/Two_walk"):
        for number in range(1, 25):
            path = folder / f"Rename_Images/{name}/{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((40, 60, 3), 10 * number, np.uint8))
        path = folder / f"puppet_mask/{name}/puppet_mask.mat"
        path.parent.mkdir(parents=True)
        savemat(path, {"part_mask": masks})
    text(folder / "splits/walk_test_split1.txt", "Two_walk.avi 2")


def kinetics(folder: Path) -> None:
    film(folder / "val/jumping jacks/abc_000010_000020.mp4".replace("mp4", "avi"))
    text(folder / "annotations/val.csv", "label,youtube_id,time_start,time_end,split",
         "jumping jack,abc,10,20,val", "yoga,gone,3,13,val")  # fmt: skip


def ttstroke(folder: Path) -> None:
    film(folder / "classificationTask/validation/Serve Forehand Loop/1.avi")
    film(folder / "classificationTask/train/Offensive Backhand Hit/2.avi")


def strokes(folder: Path) -> None:
    film(folder / "Videos/game.avi", frames=50)
    text(folder / "Videos/game.xml", STROKES)


@pytest.mark.parametrize(
    ("laid_out", "name", "part", "items"),
    [
        (ucf101, "UCF101", "testlist01", {"JumpingJack/v_JumpingJack_g01_c01.avi": "JumpingJack"}),
        (hmdb51, "HMDB51", "test split 1", {"kick/a_kick_f_1.avi": "kick", "wave/c.avi": "wave"}),
        (jhmdb, "JHMDB", "test split 1", {"walk/Two_walk": "walk"}),
        (kinetics, "Kinetics", "1 of the 2 of val.csv, not gone_000003_000013",
         {"val/jumping jacks/abc_000010_000020.avi": "jumping jack"}),
        (ttstroke, "TTStroke-21", "validation", {"Serve Forehand Loop/1.avi": "Serve Forehand Loop"}),
        (strokes, "TTStroke-21", "all strokes", {"Videos/game.avi#10": "Serve Forehand Loop",
                                                 "Videos/game.avi#30": "Offensive Backhand Hit"}),
    ],
)  # fmt: skip
def test_each_is_known_by_how_it_is_laid_out(
    laid_out: Callable[[Path], None], name: str, part: str, items: dict[str, str], tmp_path: Path
):
    laid_out(tmp_path)
    found = found_in(tmp_path)
    assert found is not None
    assert (found.name, found.part) == (name, part)
    assert {of.name: of.label for of in found.items} == items
    assert all(of.path.exists() for of in found.items)


@pytest.mark.parametrize(
    ("laid_out", "gone", "said"),
    [
        (
            ucf101,
            "UCF-101/JumpingJack/v_JumpingJack_g01_c01.avi",
            "UCF101: of 1 files that its list names 1 are missing",
        ),
        (hmdb51, "wave/c.avi", "HMDB51: of 2 files that its list names 1 are missing, first .*wave/c.avi"),
        (jhmdb, "puppet_mask/walk/Two_walk/puppet_mask.mat", "JHMDB: of 2 files .* first .*puppet_mask.mat"),
        (kinetics, "val/jumping jacks/abc_000010_000020.avi", "Kinetics: none of the 2 films of .*val.csv"),
        (strokes, "Videos/game.avi", "TTStroke-21: .*game.xml tells of a film 'game'"),
    ],
)
def test_what_is_missing_is_named(laid_out: Callable[[Path], None], gone: str, said: str, tmp_path: Path):
    laid_out(tmp_path)
    (tmp_path / gone).unlink()
    with pytest.raises(UserError, match=said):
        found_in(tmp_path)


@pytest.mark.parametrize(
    ("laid_out", "listed", "content", "said"),
    [
        (ucf101, "ucfTrainTestlist/testlist01.txt", b"\xff\xfe", "testlist01.txt cannot be read: .*utf-8"),
        (hmdb51, "kick_test_split1.txt", b"\xff", "kick_test_split1.txt cannot be read"),
        (kinetics, "annotations/val.csv", b"label,youtube_id,time_start,time_end\nyoga,abc,,9\n",
         "val.csv cannot be read: time_start is '', which is no number"),
        (kinetics, "annotations/val.csv", b"label,youtube_id,time_start,time_end\nyoga,abc\n",
         "time_start is None, which is no number"),
        (strokes, "Videos/game.xml", b'<video><action begin="a" end="2"/></video>', "game.xml .* begin is 'a'"),
        (strokes, "Videos/game.xml", b'<video><action begin="1e999"/></video>', "begin is '1e999'"),
        (strokes, "Videos/game.xml", b"<video><action", "game.xml cannot be read"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_is_named(
    laid_out: Callable[[Path], None], listed: str, content: bytes, said: str, tmp_path: Path
):
    laid_out(tmp_path)
    (tmp_path / listed).write_bytes(content)
    with pytest.raises(UserError, match=said):
        found_in(tmp_path)


def test_a_folder_of_anything_else_is_none_of_them(figures: TorchBackend, tmp_path: Path):
    film(tmp_path / "a.avi")
    assert found_in(tmp_path) is None
    (tmp_path / "a.avi").unlink()
    with pytest.raises(UserError, match="holds no film"):
        examples_of(figures, str(tmp_path))


def test_of_jhmdb_the_box_is_where_the_mask_is(figures: TorchBackend, tmp_path: Path):
    jhmdb(tmp_path)
    material = examples_of(figures, str(tmp_path), boxed=True)
    example = material.load(*material.names)
    assert example.label == example.shows == "walk"
    assert example.frames.shape == (16, 112, 112, 3)
    # 24 pictures at 30 a second under a clip of 1.07 s at 15: it begins and ends as the film does.
    assert example.boxes[0] is None
    side = 112 / 40  # The middle square of 40 x 60 begins at x = 10.
    assert example.boxes[8] == Box(round(10 * side), round(10 * side), round(30 * side), round(30 * side))
    assert example.regions["body"][8].sum() == pytest.approx(example.boxes[8].area, rel=0.01), "but its corners"
    levels = example.frames[:, 0, 0, 0].tolist()
    assert (levels[0], levels[-1]) == (10, 240)
    assert levels == sorted(levels)


def test_a_stroke_is_read_about_its_middle(figures: TorchBackend, tmp_path: Path):
    strokes(tmp_path)
    material = examples_of(figures, str(tmp_path))
    first, second = map(material.load, material.names)
    assert first.label is None, "the network has no such class"
    middle = [float(of.frames[7:9].mean()) / 5 for of in (first, second)]
    assert middle[0] == pytest.approx(15, abs=1.5)
    assert middle[1] == pytest.approx(34, abs=1.5)
