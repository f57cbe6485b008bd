"""The command: every mistake one clear line, help that can be read, output for machines, no passwords."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rtx.api import costs
from rtx.cli import app, main
from rtx.errors import UserError
from rtx.show.sinks import Mp4
from tests.running import COMMAND, SMALL, Running
from tests.waiting import until

PASSWORD = "geheim"


def fails(*arguments: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> str:
    """The one line that a mistake is answered with."""
    with Running(*arguments, env=env, prefix=prefix) as rtx:
        code = rtx.end(30)
        said = rtx.err
        assert "Traceback" not in said + rtx.out
        assert (code, said.count("\n")) == (2, 1), said
        assert said.startswith("rtx: ")
        assert rtx.leftovers() == []
    return said.strip()


def matches(pattern: str, said: str) -> None:
    assert re.search(pattern, said), said


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + os.urandom(2000))
    return path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


MISTAKES = {
    "unknown model": (["run", SMALL, "--model", "i3d-k40"], "unknown model 'i3d-k40': did you mean 'i3d-k400'"),
    "unknown explainer": (["run", SMALL, "--explainer", "ksgima"], "'ksgima': did you mean 'ksigma'"),
    "unknown step": (["run", SMALL, "--explainer", "cam | selektive"], "'selektive': did you mean 'selective'"),
    "unknown parameter": (["run", SMALL, "--explainer", "ksigma(q=3)"], "q"),
    "value out of range": (["run", SMALL, "--explainer", "ksigma(k=99)"], r"k.*99"),
    "value of no number": (["run", SMALL, "--explainer", "ksigma(k=x)"], "k.*x"),
    "chain that is none": (["run", SMALL, "--explainer", "ksigma("], r"ksigma\("),
    "unknown class": (["run", SMALL, "--target", "playing criket"], "did you mean 'playing cricket'"),
    "class out of range": (["run", SMALL, "--target", "4000"], r"0\.\.399"),
    "class of an odd digit": (["run", SMALL, "--explainer", "contrast(against='²')"], "unknown class '²'"),
    "class of two signs": (["run", SMALL, "--target", "--5"], "unknown class '--5'"),
    "unknown device": (["run", SMALL, "--device", "gpu"], "device 'gpu'.*auto, cpu, cuda"),
    "sink given twice": (["run", SMALL, "--show", "page,page"], "'page' twice"),
    "file given twice": (["run", SMALL, "--show", "file:x.mp4,file:./x.mp4"], "x.mp4' twice"),
    "width of a stream": (["run", "rtsp://127.0.0.1:9/x", "--set", "camera.width=640"], "'camera': width.*webcams"),
    "rate of a file": (["run", __file__, "--set", "camera.fps=5"], "'camera': fps.*webcams"),
    "size said twice": (["run", SMALL, "--set", "camera.height=480"], "'camera': height.*size stands in its URL"),
    "loop of a stream": (["run", "rtsp://127.0.0.1:9/x", "--set", "camera.loop=true"], "'camera': loop.*files"),
    "loop of the hall": (["run", "scene:hall", "--set", "camera.loop=true"], "'camera': loop.*no end"),
    "size of the hall said twice": (["run", "scene:hall?size=99x99", "--set", "camera.width=9"], "size stands in its"),
    "class of another model": (["run", "scene:hall", "--target", "playing cricket"], "unknown class 'playing cricket'"),
    "explain an unknown scene": (["explain", "scene:hal"], "'scene:hal'.*scene:hall"),
    "explain the hall before it begins": (["explain", "scene:hall", "--at", "-1"], "--at -1.*: 0 to 1000000"),
    "unknown sink": (["run", SMALL, "--show", "widow"], "'widow': did you mean 'window'"),
    "no sink": (["run", SMALL, "--show", ""], "sink"),
    "sink of another kind of file": (["run", SMALL, "--show", "file:x.avi"], r"must end in \.mp4"),
    "sink in a missing folder": (["run", SMALL, "--show", "file:nowhere/x.mp4"], "nowhere"),
    "missing file": (["run", "nowhere.mp4"], "no file 'nowhere.mp4'"),
    "missing pipeline": (["run", "nowhere.toml"], r"nowhere\.toml.*No such file"),
    "no source": (["run"], "nothing to run.*rtx demo"),
    "window without a display": (["run", SMALL, "--show", "window"], "DISPLAY is not set.*--show page"),
    "address that is not loopback": (["run", SMALL, "--set", "page.host=0.0.0.0"], "page.host.*needs a token"),
    "setting that is none": (["run", SMALL, "--set", "nonsense"], "--set 'nonsense'.*section.key=value"),
    "setting of no section": (["run", SMALL, "--set", "pgae.port=1"], "'pgae'.*did you mean 'page'"),
    "setting of a wrong type": (["run", SMALL, "--set", "page.port=high"], r"page\.port.*got 'high'"),
    "report into a missing folder": (
        ["run", SMALL, "--show", "none", "--report", "nowhere/r.json"], "--report.*'nowhere'",
    ),
    "report nobody can write": (["run", SMALL, "--show", "none", "--report", "/proc/r.json"], "--report.*/proc/r.json"),
    "report that is a folder": (["run", SMALL, "--show", "none", "--report", "/tmp"], "--report.*/tmp"),
    "variable that is not set": (["run", "env:RTX_NOT_SET"], "RTX_NOT_SET is not set"),
    "tcp without keys": (["run", SMALL, "--set", "link.frames=tcp://127.0.0.1:5000", "--show", "none"], "rtx keys new"),
    "every frame of a stream": (["run", "rtsp://127.0.0.1:9/x", "--set", "camera.pace=every"], "pace.*files"),
    "unknown command": (["rnu"], "'rnu'.*'?run'?.*rtx --help"),
    "unknown option": (["run", SMALL, "--nope"], "--nope.*rtx run --help"),
    "option without its value": (["run", SMALL, "--seconds"], "--seconds.*--help"),
    "value that is no number": (["run", SMALL, "--seconds", "soon"], "--seconds.*rtx run --help"),
    "explain nothing": (["explain"], "FILE.*rtx explain --help"),
    "explain a missing file": (["explain", "nowhere.mp4"], "no file 'nowhere.mp4'"),
    "explain a stream": (["explain", f"rtsp://u:{PASSWORD}@h/x"], r"'rtsp://\*\*\*@h/x' is none, use rtx run"),
    "explain a stream without slashes": (["explain", f"rtsp:u:{PASSWORD}@h/x"], "'rtsp:...' is none, use rtx run"),
    "explain a pattern": (["explain", "synthetic:?fps=9"], "use rtx run"),
    "explain on no device": (["explain", "x.mp4", "--device", "tpu"], "device 'tpu'.*auto, cpu, cuda"),
    "unknown precision": (["run", SMALL, "--precision", "fp8"], "precision 'fp8'.*auto, bf16, fp16, fp32"),
    "explain in a precision that is none": (["explain", "x.mp4", "--precision", "int8"], "precision 'int8'"),
    "explain all of it and one clip": (["explain", "x.mp4", "--whole", "--at", "3"], "--whole.*--at.*leave one out"),
    "explain one clip every second": (["explain", "x.mp4", "--every", "1"], "--every is for --whole"),
    "explain all of what has no end": (["explain", "scene:hall", "--whole"], "'scene:hall' has no end: --at"),
    "explain a file into formats": (["explain", "x.mp4", "--format", "png"], "--format is for a folder.*-o OUT.html"),
    "explain a folder into nothing": (["explain", "rtx"], "'rtx' is a folder: name one to write into, -o FOLDER"),
    "explain a folder into no format": (["explain", "rtx", "-o", "y", "--format", "bmp"], "bmp.*gif, html, mp4"),
    "explain a folder without videos": (["explain", "rtx", "-o", "y"], "no video in 'rtx'"),
    "explain by an unknown second explainer": (["explain", "x.mp4", "--explainer", "cam", "--explainer", "com"], "com"),
    "explain into another kind of file": (["explain", "x.mp4", "-o", "x.doc"], r"x\.doc"),
    "show an unknown model": (["models", "show", "i3d-k4000"], "did you mean 'i3d-k400'"),
    "keys into a missing folder": (["keys", "new", "nowhere/keys.json"], "nowhere/keys.json"),
}  # fmt: skip
"""Found before any process starts."""

SOURCES = {
    "unknown kind of stream": (["run", "rstp://127.0.0.1/x", "--show", "none"], "rstp.*did you mean 'rtsp'"),
    "dead stream": (["run", "rtsp://127.0.0.1:9/x", "--show", "none"], r"rtsp://127\.0\.0\.1:9/x.*refused"),
    "unknown host": (["run", "rtsp://nowhere.invalid/x", "--show", "none"], r"nowhere\.invalid.*unknown host"),
    "no camera": (["run", "7", "--show", "none"], "7"),
    "no camera of that name": (["run", "Logitehc", "--show", "none"], "Logitehc"),
    "unknown scene": (["run", "scene:hal", "--show", "none"], "'scene:hal'.*scene:hall"),
    "unknown option of the hall": (["run", "scene:hall?sede=7", "--show", "none"], "'sede': did you mean 'seed'"),
    "value that the hall cannot have": (["run", "scene:hall?seed=x", "--show", "none"], "seed is 'x'"),
    "unknown option of a pattern": (["run", "synthetic:?sise=9x9", "--show", "none"], "did you mean 'size'"),
}
"""Found by the process that opens the source."""


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_for(mistake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    arguments, named = MISTAKES[mistake]
    monkeypatch.setattr(sys, "argv", ["rtx", *arguments])
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for display in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(display, None)
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err.count("\n"), printed.out) == (2, 1, "")
    assert printed.err.startswith("rtx: ")
    matches(named, printed.err)
    assert PASSWORD not in printed.err


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", SMALL, "--show", "file:{}.mp4"],
        ["run", SMALL, "0", "--show", "file:{}.mp4"],
        ["explain", "x.mp4", "-o", "{}.npz"],
        ["explain", "x.mp4", "-o", "{}.mp4"],
    ],
)
def test_a_folder_is_no_file_to_write(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("out.mp4", "out.npz", "out-camera-2.mp4"):
        (tmp_path / name).mkdir()
    if "0" in arguments:
        (tmp_path / "out.mp4").rmdir()
    monkeypatch.setattr(sys, "argv", ["rtx", *(a.format(tmp_path / "out") for a in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


def test_a_movie_that_cannot_be_written_is_named():
    """FFmpeg opens it only when the first packet is there."""
    with pytest.raises(UserError, match=r"cannot write '/proc/x\.mp4'"):  # noqa: PT012
        movie = Mp4(Path("/proc/x.mp4"), 48, 64)
        movie.add(np.zeros((48, 64, 3), np.uint8), 0)


@pytest.mark.parametrize("command", ["run", "explain"])
@pytest.mark.parametrize("value", [f"/nowhere/{PASSWORD}.mp4", f"rtsp://u:{PASSWORD}@127.0.0.1:9/x"])
@pytest.mark.usefixtures("weights")
def test_a_variable_is_named_and_its_value_is_not(command: str, value: str):
    said = fails(command, "env:HALL", *(["--show", "none"] if command == "run" else []), env={"HALL": value})
    assert PASSWORD not in said
    if command == "explain" or value.endswith("mp4"):
        matches("env:HALL", said)


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("mistake", SOURCES)
def test_one_line_for_the_only_source_that_is(mistake: str):
    arguments, named = SOURCES[mistake]
    matches(named, fails(*arguments))


@pytest.mark.usefixtures("weights")
def test_one_line_from_the_command_itself():
    matches("did you mean 'i3d-k400'", fails("run", SMALL, "--model", "i3d-k40"))
    matches("DISPLAY is not set", fails("run", SMALL, "--show", "window"))
    matches("--nope", fails("run", SMALL, "--nope"))


@pytest.mark.usefixtures("weights")
def test_one_line_for_a_file_that_is_no_video(broken: Path):
    matches(r"broken\.mp4' is not a video", fails("run", str(broken), "--show", "none"))
    matches(r"broken\.mp4' is not a video", fails("explain", str(broken)))


@pytest.mark.usefixtures("weights")
def test_one_line_for_a_time_beyond_the_file(clips: Path):
    matches(r"--at 900 s is outside", fails("explain", str(clips / "arm_wrestling.mp4"), "--at", "900"))


@pytest.mark.usefixtures("weights")
def test_one_line_for_a_port_that_is_taken(taken: int):
    matches(rf"port {taken} is taken.*page\.port", fails("run", SMALL, "--set", f"page.port={taken}"))


def test_one_line_for_shared_memory_that_is_too_small():
    limited = ("sh", "-c", 'ulimit -f 2000; exec "$0" "$@"')
    said = fails("run", "synthetic:", "--show", "none", "--set", 'link.parts=["capture", "show"]', prefix=limited)
    matches("shared memory is too small for a ring of 21 MB.*camera.width", said)


@pytest.mark.parametrize(
    "content", [b"", b"x" * 5000, pickle.dumps({"a": print})], ids=["cut off", "replaced", "pickle with code"]
)
def test_one_line_for_damaged_weights(content: bytes, tmp_path: Path):
    path = tmp_path / "models" / "i3d-k400" / "weights.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for command in (["run", SMALL, "--show", "none"], ["explain", "x.mp4"], ["models", "check", "i3d-k400"]):
        said = fails(*command, env={"RTX_CACHE": str(tmp_path)})
        matches("weights of i3d-k400 are damaged or replaced.*rtx models pull i3d-k400", said)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[camera\n", "not readable as TOML"),
        ("[[camera]]\nsource = '0'\nmirorr = true\n", "mirorr.*did you mean.*mirror"),
        ("[[camera]]\nsource = 0\n", "source.*got 0"),
        ("[page]\nport = 1\n", r"no \[\[camera\]\]"),
    ],
    ids=["no TOML", "wrong key", "wrong type", "no camera"],
)
def test_one_line_for_a_pipeline_with(text: str, named: str, tmp_path: Path):
    path = tmp_path / "hall.toml"
    path.write_text(text)
    said = fails("run", str(path))
    matches(named, said)
    assert "hall.toml" in said


def rtx(*arguments: str) -> str:
    """What a command that ends well prints. Within this process: to import torch takes longer than most commands."""
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}, prog_name="rtx")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return done.stdout


@pytest.mark.parametrize(
    "command", ["", "run", "demo", "explain", "models", "models list", "models pull", "doctor", "keys", "keys new"]
)
def test_help_reads_well_in_80_columns(command: str):
    text = rtx(*command.split(), "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert "Usage: rtx" in text
    assert "[bold]" not in text
    assert "…" not in text


def test_help_names_every_option_that_there_is():
    text = rtx("run", "--help")
    for option in ("--model", "--explainer", "--target", "--device", "--show", "--seconds", "--report", "--set"):
        assert option in text


@pytest.mark.parametrize("command", ["", "run", "explain"])
def test_help_does_not_load_torch(command: str):
    """1.3 s and 200 MB that nobody who reads help wants to wait for."""
    code = (
        "import sys\nfrom rtx.cli import main\n"
        f"sys.argv = ['rtx', *{command.split()!r}, '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*(name for name in ('torch', 'cv2', 'av', 'zmq', 'uvicorn') if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == ""


def test_without_a_command_it_shows_its_help():
    done = subprocess.run([*COMMAND], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "Commands" in done.stdout + done.stderr


def test_models_are_listed_and_shown():
    assert "i3d-k400" in rtx("models", "list")
    assert "playing cricket" in rtx("models", "show", "i3d-k400")


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are measured in one round."""
    monkeypatch.setattr(costs, "__defaults__", (None, 1))


@pytest.mark.usefixtures("once")
def test_explainers_are_listed_with_what_they_read_and_cost():
    listed = {of["name"]: of for of in json.loads(rtx("explainers", "--json"))}
    assert {"ksigma", "cam", "contrast", "grad_cam", "p3dcam", "dtd", "selective"} <= set(listed)
    assert listed["ksigma"]["class_blind"]
    assert {"name": "k", "kind": "number", "default": 3.0, "low": 0, "high": 6} in listed["ksigma"]["parameters"]
    assert all(listed[name][cost] > 0 for name in ("cam", "dtd") for cost in ("ms", "forward_ms"))
    assert listed["selective"]["ms"] is None


@pytest.mark.parametrize(
    ("explainer", "whole_ms", "after_ms", "cost"),
    [("cam", 30.0, 0.4, 0.4), ("dtd", 30.0, 12.0, 20.0), ("dtd", 9.0, 2.0, 2.0)],
)
def test_what_an_explainer_costs_is_beyond_the_forward_pass(
    monkeypatch: pytest.MonkeyPatch, explainer: str, whole_ms: float, after_ms: float, cost: float
):
    """Of those that record the pass, what it takes longer counts; of those that read features, that is noise."""
    monkeypatch.setattr("rtx.api._median_ms", lambda run, rounds: 10.0)
    monkeypatch.setattr("rtx.api._explain_ms", lambda engine, frames, rounds: (whole_ms, after_ms))
    ms, forward_ms = costs("figures")
    assert (ms[explainer], forward_ms) == (cost, 10.0)


def test_explainers_are_listed_for_people_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rtx.api.costs", lambda model, layer: ({"cam": 0.3, "dtd": "no ReLU"}, 4.2))
    told = CliRunner().invoke(app, ["explainers"], env={"COLUMNS": "200"}).output
    assert "cam: reads features, 0.3 ms" in told
    assert "dtd: reads layer inputs, not with figures: no ReLU" in told
    assert "k=3.0 (0..6)" in told


def test_the_doctor_looks_at_everything():
    text = rtx("doctor").lower()
    for thing in ("core", "bf16", "cuda", "onnx runtime", "camera", "display", "shared memory", "port"):
        assert thing in text, thing


EXPLAINED = {"model", "explainer", "device", "backend", "precision", "at_s", "top", "target", "map", "ms"}


@pytest.mark.thorough
@pytest.mark.usefixtures("weights")
def test_an_explanation_for_machines(clips: Path):
    about = json.loads(rtx("explain", str(clips / "arm_wrestling.mp4"), "--json", "--explainer", "cam"))
    assert set(about) >= EXPLAINED
    assert set(about["map"]) >= {"shape", "min", "max", "evidence"}
    assert set(about["ms"]) >= {"forward", "explain"}
    assert about["top"][0]["label"] == "arm wrestling" == about["target"]
    assert about["top"][0]["p"] == max(top["p"] for top in about["top"])
    assert len(about["map"]["shape"]) == 3


def test_a_precision_is_as_it_was_asked_for_or_refused():
    done = CliRunner().invoke(app, ["explain", "scene:hall", "--device", "cpu", "--precision", "fp16"])
    assert isinstance(done.exception, UserError)
    assert "precision 'fp16' needs a GPU" in str(done.exception)
    about = json.loads(rtx("explain", "scene:hall", "--model", "figures", "--precision", "fp32", "--json"))
    assert about["precision"] == "fp32"


@pytest.mark.usefixtures("weights")
def test_a_class_blind_explanation_has_no_target(clips: Path):
    film = str(clips / "arm_wrestling.mp4")
    about = json.loads(rtx("explain", film, "--json", "--explainer", "ksigma", "--at", "4", "--model", "figures"))
    assert about["target"] is None
    assert about["at_s"] == pytest.approx(4, abs=0.05)


def spoken(run: Running) -> str:
    """Everything that somebody else may read of a run."""
    lines = [run.out, run.err]
    for pid in run.family():
        try:
            lines.append(Path(f"/proc/{pid}/cmdline").read_text())
        except OSError:
            continue
    if run.report_path.exists():
        lines.append(run.report_path.read_text())
    return "\n".join(lines)


@pytest.mark.parametrize("password", [PASSWORD, f"{PASSWORD}@/:?#"])
def test_a_password_in_a_dead_cameras_url_is_not_repeated(password: str):
    said = fails("run", f"rtsp://user:{password}@127.0.0.1:9/x?token={PASSWORD}", "--show", "none")
    assert PASSWORD not in said


def test_a_password_in_a_wrong_setting_is_not_repeated():
    assert PASSWORD not in fails("run", SMALL, "--set", f"page.port=rtsp://a:{PASSWORD}@h/x")
    assert PASSWORD not in fails("run", SMALL, f"--nope=rtsp://a:{PASSWORD}@h/x")
    assert PASSWORD not in fails("run", f"rstp://user:{PASSWORD}@127.0.0.1:9/x", "--show", "none")


@pytest.mark.parametrize("where", ["url", "env"])
def test_a_password_does_not_show_while_it_runs(where: str):
    """A second camera keeps the run alive; the first is lost."""
    url = f"rtsp://user:{PASSWORD}@127.0.0.1:9/x?token={PASSWORD}"
    source, env = (url, {}) if where == "url" else ("env:CAMERA", {"CAMERA": url})
    without_worker = ("--set", 'link.parts=["capture", "show"]')
    run = Running("run", source, SMALL, "--show", "none", *without_worker, env=env, report=True)
    with run:
        until(lambda: len(run.children()) >= 3, 30)
        # Between fork and exec a child still has its parent's command line, as the user typed it.
        lines = [Path(f"/proc/{child}/cmdline") for child in run.children()]
        until(lambda: all(PASSWORD not in line.read_text() for line in lines), 2)
        if where == "env":
            assert PASSWORD not in Path(f"/proc/{run.process.pid}/cmdline").read_text()
        until(lambda: "camera lost" in run.out, 60)
        os.kill(run.process.pid, signal.SIGINT)
        run.end(30)
        assert PASSWORD not in spoken(run)
        assert "camera lost" in json.dumps(run.report["states"])


ROOT = Path(__file__).parents[1]


def _on_path(folder: Path, **programs: str) -> dict[str, str]:
    """An environment in which these programs are shell scripts."""
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_tests_go_on_where_apt_fails(tmp_path: Path):
    """It exits 0 and says what is missing."""
    programs = {"dpkg": '[ "$2" != xvfb ]', "id": "echo 0", "apt-get": "exit 100"}
    done = subprocess.run(
        ["sh", ROOT / "tests" / "system-packages.sh"], env=_on_path(tmp_path / "bin", **programs),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.endswith("apt-get failed; tests that need these will skip: xvfb\n")


@pytest.mark.parametrize(
    ("summary", "fine"),
    [("3 passed, 1 skipped in 0.10s", True), ("4 skipped in 0.10s", False), ("no tests ran in 0.10s", False)],
)
def test_a_change_passes_only_where_a_test_passed(summary: str, fine: bool, tmp_path: Path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "system-packages.sh").write_text("exit 0\n")
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], env=_on_path(tmp_path / "bin", make=f"echo '{summary}'"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0, summary in done.stdout) == (fine, True)


@pytest.mark.usefixtures("once")
def test_a_network_of_ones_own_is_explained_by_its_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynets.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Conv3d(3, 6, 3, 2, 1), nn.GELU(), "
        "nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 4))\n"
    )
    said = json.loads(rtx("explain", "scene:hall?seed=7", "--model", "mynets:make", "--json"))
    assert (said["model"], said["map"]["shape"]) == ("mynets:make", [8, 56, 56])
    listed = {of["name"]: of for of in json.loads(rtx("explainers", "--model", "mynets:make", "--json"))}
    assert listed["grad_cam"]["ms"] > 0
    assert listed["dtd"]["ms"].startswith("no rule says how gelu hands relevance on")
    assert "the last one that has: '1'" in fails(
        "explain", "scene:hall?seed=7", "--model", "mynets:make", "--layer", "4"
    )
