"""What several tests need: real clips, real weights, and the reasons to do without them."""

from __future__ import annotations

from pathlib import Path

import anyio
import cv2
import pytest
import torch
from safetensors.torch import save_file

from rtx.api import load
from rtx.config import Worker
from rtx.engine.engine import Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.nets.add import add
from rtx.nets.cards import card
from rtx.nets.tstcnn import TSTCNN
from rtx.nets.weights import pull

# pytest rewrites anyio's modules as they are imported, and a page's thread would import them late: where another thread
# compiles at that moment, CPython 3.11 ends in "AST constructor recursion depth mismatch".
for _name in dir(anyio):
    getattr(anyio, _name)

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two threads of a pass beside busy neighbours run many times slower than one; OpenCV has one in rtx, too."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips."""
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not beside this checkout (../shared/clips)")
    return CLIPS


@pytest.fixture(scope="session")
def weizmann() -> Path:
    """The folder of the Weizmann actions' strips."""
    folder = CLIPS.parent / "data" / "weizmann"
    if not folder.is_dir():
        pytest.skip("the Weizmann actions are not beside this checkout (../shared/data/weizmann)")
    return folder


@pytest.fixture(scope="session")
def weights() -> Path:
    """I3D's real weights in the cache, fetched if need be."""
    try:
        return pull(card("i3d-k400"))
    except UserError as error:
        pytest.skip(f"I3D's weights cannot be had here: {error}")


@pytest.fixture(scope="session")
def figures() -> TorchBackend:
    """The hall's own network, with the weights that come with rtx."""
    return load("figures", device="cpu", threads=1)


@pytest.fixture(scope="session")
def i3d(weights: Path) -> TorchBackend:
    """I3D with its real weights in fp32."""
    return load("i3d-k400", device="cpu", precision="fp32", threads=1)


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A thin twin network with random weights, called so, as a model of the user's own."""
    monkeypatch.setenv("RTX_MODELS", str(tmp_path / "models"))
    torch.manual_seed(0)
    clip, thin = {"frames": 16, "size": 48}, {"filters": (8, 16, 24), "hidden": 64}
    weights = TSTCNN(3, **clip, **thin).state_dict()
    save_file(weights, tmp_path / "random.safetensors")
    (tmp_path / "labels.txt").write_text("left\nright\nstill\n")
    add(tmp_path / "random.safetensors", "tstcnn", tmp_path / "labels.txt", "twin", clip, thin)
    return Engine.of(Worker(model="twin", explainer="ksigma(k=1)"))
