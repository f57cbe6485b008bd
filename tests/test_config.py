"""Settings: the same names in TOML and `--set`, and mistakes that are named with the way out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtx import resources
from rtx.config import Pipeline, of_sources, read, resolve
from rtx.errors import UserError


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hall.toml"
    path.write_text(text, encoding="utf-8")
    return path


def wrong(path: Path, changes: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read(path, changes or [])
    said = str(caught.value)
    assert "\n" not in said
    return said


ONE = '[[camera]]\nsource = "0"\n'


@pytest.mark.parametrize("name", ["webcam", "hall", "latency"])
def test_the_shipped_pipelines_can_be_read(name: str):
    assert read(resources.PIPELINES / f"{name}.toml", []).camera


def test_a_source_alone_is_a_pipeline():
    pipeline = of_sources(["0"], [])
    assert pipeline == Pipeline(camera=pipeline.camera)
    assert (pipeline.camera[0].source, pipeline.camera[0].name) == ("0", "camera")


def test_several_sources_have_names_of_their_own():
    assert [camera.name for camera in of_sources(["0", "1", "x.mp4"], []).camera] == [
        "camera-1", "camera-2", "camera-3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "look", "value"),
    [
        ("page.port=9000", lambda p: p.page.port, 9000),
        ("worker.model=i3d-k400", lambda p: p.worker.model, "i3d-k400"),
        ('worker.explainer="ksigma | selective(n=4)"', lambda p: p.worker.explainer, "ksigma | selective(n=4)"),
        ("worker.explainer=ksigma | selective(n=4)", lambda p: p.worker.explainer, "ksigma | selective(n=4)"),
        ("camera.mirror=true", lambda p: p.camera[0].mirror, True),
        ("camera.roi=[0.1, 0.0, 0.5, 1.0]", lambda p: p.camera[0].roi, (0.1, 0.0, 0.5, 1.0)),
        (" show.sinks = ['none'] ", lambda p: p.show.sinks, ("none",)),
        ("worker.target=playing cricket", lambda p: p.worker.target, "playing cricket"),
        ("link.frames=tcp://10.0.0.1:5000", lambda p: p.link.frames, "tcp://10.0.0.1:5000"),
        ("budget.heatmap_age_ms=500", lambda p: p.budget.heatmap_age_ms, 500.0),
    ],
)
def test_one_setting_is_changed(change: str, look, value):
    assert look(of_sources(["0"], [change])) == value


@pytest.mark.parametrize(
    ("sources", "changes", "model"),
    [
        (["scene:hall"], [], "figures"),
        (["scene:hall?seed=1", "scene:hall?seed=2"], [], "figures"),
        (["scene:hall", "0"], [], "i3d-k400"),
        (["0"], [], "i3d-k400"),
        (["scene:hall"], ["worker.model=i3d-k400"], "i3d-k400"),
        (["scene:hall"], ["worker.explainer=ksigma"], "figures"),
    ],
)
def test_the_drawn_hall_is_explained_by_its_own_network_unless_another_is_named(
    sources: list[str], changes: list[str], model: str
):
    assert of_sources(sources, changes).worker.model == model


def test_a_change_reaches_every_camera_or_one():
    pipeline = of_sources(["0", "1"], ["camera.mirror=true", "camera.camera-2.mirror=false"])
    assert [camera.mirror for camera in pipeline.camera] == [True, False]


def test_the_last_change_counts(tmp_path: Path):
    path = toml(tmp_path, ONE + "[page]\nport = 1000\n")
    assert read(path, ["page.port=2000", "page.port=3000"]).page.port == 3000


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[camera]\n", "not readable as TOML"),
        ("", r"no \[\[camera\]\]"),
        ("[page]\nport = 1\n", r"no \[\[camera\]\]"),
        ("[[camera]]\nname = 'x'\n", "lacks 'source'"),
        (ONE + "[page]\nprot = 1\n", r"unknown key 'page\.prot': did you mean 'page\.port'"),
        (ONE + "[wroker]\nmodel = 'x'\n", "unknown key 'wroker': did you mean 'worker'"),
        (ONE + "mirorr = true\n", r"mirorr'.*mirror"),
        (ONE + "[page]\nport = 'x'\n", r"page\.port.*int.*got 'x'"),
        (ONE + "[page]\nport = 70000\n", r"page\.port.*65535.*got 70000"),
        (ONE + "mirror = 1\n", "mirror.*bool.*got 1"),
        (ONE + "fps = -1\n", r"fps.*got -1"),
        (ONE + "fit = 'stretch'\n", "fit.*'stretch'"),
        (ONE + "pace = 'slow'\n", "pace.*'slow'"),
        (ONE + "roi = [0.5, 0, 0.6, 1]\n", r"roi.*leaves the picture"),
        (ONE + "roi = [0, 0, 0, 1]\n", "roi"),
        (ONE + "roi = [0, 0, 1]\n", "roi"),
        (ONE + "name = 'a b'\n", "name"),
        (ONE + ONE, "two cameras are called 'camera'"),
        ("camera = 3\n", "camera"),
        ("page = 3\n" + ONE, "page"),
        (ONE + "[show]\nopacity = 2\n", r"show\.opacity.*got 2"),
        (ONE + "[worker]\ndevice = 'tpu'\n", r"worker\.device.*'tpu'.*auto, cpu, cuda"),
        (ONE + "fit = 'corp'\n", r"camera\[0\]\.fit 'corp': did you mean 'crop'\? \(known: crop, pad\)"),
        (ONE + "[link]\nparts = ['enigne']\n", r"link\.parts\[0\] 'enigne': did you mean 'engine'"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, named: str):
    said = wrong(toml(tmp_path, text))
    assert "hall.toml" in said
    assert re.search(named, said), said


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00\x01\x02", "x = ä".encode("latin-1")])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "hall.toml"
    path.write_bytes(content)
    assert "not readable as TOML" in wrong(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    assert "No such file" in wrong(tmp_path / "none.toml")
    assert "Is a directory" in wrong(tmp_path)


@pytest.mark.parametrize(
    "change", ["", "=", "page", "page=1", "page.port", ".port=1", "page.=1", "page..port=1", "page.port.x=1"]
)
def test_a_change_that_is_none_is_named(tmp_path: Path, change: str):
    said = wrong(toml(tmp_path, ONE + "[page]\nport = 1\n"), [change])
    assert change in said or change.partition("=")[0] in said


@pytest.mark.parametrize("text", ["camera = [1]\n", "camera = 3\n"])
def test_a_change_of_cameras_that_are_none_is_named(tmp_path: Path, text: str):
    assert "camera is not a list of" in wrong(toml(tmp_path, text), ["camera.mirror=true"])


def test_a_change_of_a_section_that_is_not_there_is_named(tmp_path: Path):
    assert "unknown key 'x'" in wrong(toml(tmp_path, ONE), ["x.y=1"])


def test_a_change_of_a_camera_that_is_not_there_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'camera-1'"):
        of_sources(["0", "1"], ["camera.camera1.mirror=true"])


def test_a_password_in_a_wrong_setting_is_not_repeated(tmp_path: Path):
    path = toml(tmp_path, "[[camera]]\nsource = ['rtsp://a:geheim@h/x']\n")
    assert "geheim" not in wrong(path)


def test_a_source_out_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HALL", "rtsp://a:geheim@h/x")
    assert resolve("env:HALL") == "rtsp://a:geheim@h/x"
    assert resolve("rtsp://h/x") == "rtsp://h/x"
    for value in ("", None):
        monkeypatch.delenv("HALL") if value is None else monkeypatch.setenv("HALL", value)
        with pytest.raises(UserError, match="HALL is not set"):
            resolve("env:HALL")
