"""What several tests need: real clips, real weights, and the reasons to do without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rtx.api import load
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.nets.cards import card
from rtx.nets.weights import pull

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two OpenMP threads beside busy neighbours run many times slower than one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips."""
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not beside this checkout (../shared/clips)")
    return CLIPS


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
