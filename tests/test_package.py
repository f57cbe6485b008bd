"""The wheel: installed somewhere else, it finds its models and pipelines."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(pytest.__file__).parents[1]


def said(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """What a command prints, run with nothing of this checkout in its way."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HALL_"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pytest.importorskip("build", reason="no `build` here (pip install -e '.[dev]')")
    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    said(sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", folder, ROOT, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh venv's `bin` with the wheel in it; what the wheel depends on is borrowed from here."""
    folder = tmp_path_factory.mktemp("venv")
    said(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    install = ("install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel))
    said(sys.executable, "-m", "pip", "--python", python, *install, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{SITE}\n")
    where = said(python, "-c", "import rtx; print(rtx.__file__)", cwd=folder)
    assert where.startswith(str(folder)), f"the checkout was found instead of the wheel: {where}"
    return folder / "bin"


def test_the_wheel_holds_models_and_pipelines_and_no_tests(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("models/i3d-k400/card.toml", "models/i3d-k400/labels.txt", "pipelines/hall.toml"):
        assert f"rtx/_data/{wanted}" in names
    assert "rtx/show/page/static/index.html" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_models_are_found(installed: Path, tmp_path: Path):
    assert "i3d-k400" in said(installed / "rtx", "models", "list", cwd=tmp_path)
    assert "playing cricket" in said(installed / "rtx", "models", "show", "i3d-k400", cwd=tmp_path)


def test_pipelines_are_found_by_their_names(installed: Path, tmp_path: Path):
    text = said(installed / "rtx", "run", "hall.toml", cwd=tmp_path, code=2)
    assert "HALL_LEFT is not set" in text


@pytest.mark.usefixtures("weights")
def test_it_runs_processes(installed: Path, tmp_path: Path):
    arguments = ("synthetic:?size=160x120&fps=10", "--show", "none", "--seconds", "2")
    text = said(installed / "rtx", "run", *arguments, "--set", 'link.parts=["capture", "show"]', cwd=tmp_path)
    assert "frames captured" in text


def test_a_checkout_uses_its_own_folders():
    from rtx import resources

    assert resources.MODELS == ROOT / "models"
    assert resources.PIPELINES == ROOT / "pipelines"
