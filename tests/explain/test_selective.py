"""Selective relevance against a plain Sobel filter, and its live form."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from test_features import a_forward, plain_upsample, random_features

from rtx.explain.features import cam
from rtx.explain.registry import parse
from rtx.explain.run import explain
from rtx.explain.selective import CLIPS, selective
from rtx.explain.steps import Memory

SOBEL = np.einsum("t,y,x->tyx", [-1, 0, 1], [1, 2, 1], [1, 2, 1])


def plain_selective(relevance: np.ndarray, n: float) -> np.ndarray:
    """A map at clip resolution T H W through a whole 3x3x3 kernel with replicate padding."""
    edges = np.abs(ndimage.correlate(relevance, SOBEL, mode="nearest"))
    return np.where(edges > n * edges.std(), relevance, 0)


def test_selective_is_its_definition():
    forward = a_forward(random_features(n=2))
    relevance = cam(forward)
    kept, share = selective(forward, relevance, n=2.0)
    for i in range(2):
        full = plain_upsample(relevance[i].double().numpy(), forward.input_size, forward.cells, 1)
        expected = plain_selective(full, 2.0)
        # Voxels whose edge equals the threshold but for rounding may fall on either side.
        differs = np.abs(kept[i].numpy() - expected) > 1e-4
        assert differs.mean() < 1e-4
        assert 0 < (expected != 0).mean() < 0.5
        positive = np.maximum(full, 0).sum()
        np.testing.assert_allclose(share[i], np.maximum(expected, 0).sum() / positive, rtol=2e-3)


def test_a_map_already_at_clip_resolution_is_taken_as_it_is():
    forward = a_forward(random_features(n=1))
    relevance = torch.randn(1, *forward.input_size)
    kept, _ = selective(forward, relevance, n=1.0)
    expected = plain_selective(relevance[0].double().numpy(), 1.0)
    assert (np.abs(kept[0].numpy() - expected) > 1e-4).mean() < 1e-4


def test_a_still_map_keeps_nothing_and_says_so():
    features = random_features(n=1)[:, :, :1].expand(-1, -1, 4, -1, -1)
    explained = explain(parse("ksigma(k=1) | selective(n=2)"), a_forward(features))
    assert explained.evidence == [False]
    assert explained.motion_share == [0.0]


def test_a_map_without_positive_relevance_has_no_motion_share():
    explained = explain(parse("ksigma(k=6) | selective"), a_forward(torch.zeros(1, 3, 4, 5, 5)))
    assert explained.motion_share == [None]


def newest_change() -> torch.Tensor:
    """Relevance that appears in the last feature frame only."""
    relevance = torch.zeros(1, 4, 5, 5)
    relevance[0, 3, 2, 2] = 5
    return relevance


def test_live_the_newest_frame_shows_what_changed_last():
    forward = a_forward(random_features(n=1))
    live, _ = selective(forward, newest_change(), n=2.0, memory=[Memory()])
    plain, _ = selective(forward, newest_change(), n=2.0)
    assert live[0, -1].max() > 0
    assert plain[0, -1].max() == 0, "the frames after the last cell are equal: no difference is left there"


def test_live_differs_only_after_the_last_cell():
    forward = a_forward(random_features(n=1))
    last_cell = forward.cells.centre[0] + 3 * forward.cells.stride[0]
    relevance = cam(forward)
    plain, _ = selective(forward, relevance, n=1.0)
    live, _ = selective(forward, relevance, n=1.0, memory=[Memory()])
    before = int(last_cell) - 1
    # The deviation is over the whole clip, so the mask may differ where an edge is at the threshold.
    assert ((plain != live)[:, :before]).float().mean() < 0.1


def test_live_the_threshold_remembers():
    forward, memory = a_forward(random_features(n=1)), Memory()
    strong, weak = newest_change(), newest_change() * 0.01
    selective(forward, strong, n=2.0, memory=[memory])
    kept, _ = selective(forward, weak, n=2.0, memory=[memory])
    assert not kept.any(), "a flicker a hundred times weaker than the last clip's motion passes no threshold"
    for _ in range(CLIPS):
        kept, _ = selective(forward, weak, n=2.0, memory=[memory])
    assert kept.any(), "after a while it is the strongest there is"


def test_memories_belong_to_cameras():
    forward = a_forward(random_features(n=2))
    both = torch.cat([newest_change(), newest_change() * 0.01])
    kept, _ = selective(forward, both, n=2.0, memory=[Memory(), Memory()])
    assert kept[0].any()
    assert kept[1].any()
