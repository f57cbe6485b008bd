"""A model with explainers as one ONNX file: the same scores and maps as torch, read by what knows nothing of rtx."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import rtx
from rtx.engine.engine import Engine
from rtx.engine.export import export
from rtx.errors import UserError
from rtx.explain.placing import upsample
from rtx.explain.registry import parse, parse_several

pytest.importorskip("onnxscript", reason="pip install 'rtx-explain[export]'")
onnxruntime = pytest.importorskip("onnxruntime")

CHAINS = ("ksigma(k=2, rest=True)", "cam | selective(n=1)", "contrast(against='kick')", "tube(channel=3)")


@pytest.fixture(scope="module")
def hall(figures, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The hall's network with four chains, as a session on the CPU."""
    path = tmp_path_factory.mktemp("graph") / "figures.onnx"
    export(figures, [parse(chain) for chain in CHAINS], path)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def clips(figures, *seeds: int) -> np.ndarray:
    """BGR, as cameras give them."""
    return np.stack([rtx.read_clip(f"scene:hall?seed={seed}", figures).clip.frames for seed in seeds])


@pytest.mark.parametrize("seeds", [(7,), (3, 5, 9)])
@pytest.mark.parametrize("target", [-1, 5])
def test_it_gives_what_torch_gives(figures, hall: Any, seeds: tuple[int, ...], target: int):
    frames = clips(figures, *seeds)
    given = {"clip": np.ascontiguousarray(frames[..., ::-1]), "target": np.full(len(seeds), target)}
    logits, *maps = hall.run(None, given)
    assert [output.name for output in hall.get_outputs()] == ["logits", "ksigma", "cam_selective", "contrast", "tube"]
    for chain, found in zip(CHAINS, maps, strict=True):
        engine = Engine(figures, chain, continual=False)
        engine.target = None if target < 0 or engine.chain.class_blind else target
        batch = engine.run(frames)
        expected = upsample(batch.forward, batch.explained.relevance).numpy()
        np.testing.assert_allclose(logits, batch.forward.logits, rtol=1e-3, atol=1e-3)
        assert found.shape == (len(seeds), 16, 112, 112)
        far = np.abs(found - expected) > 1e-3 * np.abs(expected).max()
        assert far.mean() < 1e-3, chain  # Those on a threshold.


def test_the_file_says_what_it_is(figures, hall: Any):
    about = {key: json.loads(value) for key, value in hall.get_modelmeta().custom_metadata_map.items()}
    assert about["rtx.labels"] == list(figures.labels)
    assert about["rtx.clip"]["frames"] == 16
    assert about["rtx.clip"]["mean"] == [127.5, 127.5, 127.5]
    assert about["rtx.precision"] == "fp32"
    explainer = "ksigma(k=2.0, rest=True)"
    assert about["rtx.explainers"][0] == {"output": "ksigma", "explainer": explainer, "class_blind": True}


def test_the_readmes_example_runs_without_rtx(figures, tmp_path: Path):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(import json, sys, cv2.*?)```", readme, re.DOTALL)
    assert len(code.strip().splitlines()) <= 15
    export(figures, [parse("cam")], tmp_path / "figures.onnx")
    video = cv2.VideoWriter(str(tmp_path / "hall.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 15, (112, 112))
    for frame in clips(figures, 7)[0]:
        video.write(frame)
    video.release()
    code += "\nassert not {'rtx', 'torch'} & set(sys.modules)"
    command = [sys.executable, "-c", code, "figures.onnx", "hall.avi"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    label = rtx.explain(figures, clips(figures, 7)[0]).top[0].label
    assert ran.stdout.startswith(f"{label} (1, 16, 112, 112)")


@pytest.mark.parametrize(
    ("chains", "said"),
    [
        ("dtd", "dtd reads layer inputs; a graph holds what reads features"),
        ("grad_cam", "grad_cam reads gradients"),
        ("cam | fuse", "fuse joins several clips"),
        ("cam, cam(tau=0.5)", "two of the explainers would be called 'cam'"),
    ],
)
def test_what_a_graph_cannot_hold_is_named(figures, tmp_path: Path, chains: str, said: str):
    with pytest.raises(UserError, match=re.escape(said)):
        export(figures, parse_several(chains), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_a_file_of_another_kind_or_nowhere_is_named(figures, tmp_path: Path):
    for path in (tmp_path / "x.pt", tmp_path / "nowhere" / "x.onnx"):
        with pytest.raises(UserError, match=r"ends in \.onnx, in a folder that is there"):
            export(figures, [parse("cam")], path)
