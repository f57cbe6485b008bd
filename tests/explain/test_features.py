"""Explainers against plain loops from their definitions, in float64, and against torch-cam where it is right."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from rtx.errors import UserError
from rtx.explain.features import cam, contrast, ksigma
from rtx.explain.placing import upsample
from rtx.link.wire import Cells
from rtx.nets.forward import Forward, Outcome


def a_forward(
    features: torch.Tensor, classes: int = 5, size: tuple[int, int, int] = (16, 48, 48), seed: int = 0
) -> Forward:
    """A forward pass with these features, random head, plain pooling."""
    g = torch.Generator().manual_seed(seed)
    n, channels, t, _, _ = features.shape
    weight = torch.randn(classes, channels, generator=g)
    logits = features.float().mean(dim=(2, 3, 4)) @ weight.T
    shape = features.shape[2:]
    cells = Cells(tuple(s / c for s, c in zip(size, shape, strict=True)), (1.5, 9.0, 7.0))
    return Forward(
        torch.zeros(n, 3, *size), [None] * n, weight, torch.ones(t), cells, size[0], done=[Outcome(features, logits)]
    )


def random_features(n: int = 2, channels: int = 6, t: int = 4, side: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, channels, t, side, side, generator=torch.Generator().manual_seed(seed)).relu()


def plain_ksigma(a: np.ndarray, k: float, weights: str, per_frame: bool) -> np.ndarray:
    """One clip K t h w, channel by channel, frame by frame."""
    channels, frames, height, width = a.shape
    relevance = np.zeros((frames, height, width))
    for c in range(channels):
        for f in range(frames):
            population = a[c, f] if per_frame else a[c]
            mu = population.mean()
            sigma = np.sqrt(((population - mu) ** 2).mean())
            w = a[c, f].mean() if weights == "frame" else a[c].mean()
            for y in range(height):
                for x in range(width):
                    if sigma > 1e-6 * abs(mu) and a[c, f, y, x] >= mu + k * sigma:
                        relevance[f, y, x] += w
    return relevance


@pytest.mark.parametrize("k", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("weights", ["frame", "channel"])
@pytest.mark.parametrize("per_frame", [False, True])
def test_ksigma_is_its_definition(k: float, weights: str, per_frame: bool):
    features = random_features(n=3, side=6)
    maps = ksigma(a_forward(features), k=k, weights=weights, per_frame=per_frame)
    assert maps.abs().sum() > 0 or k == 3.0
    for clip, relevance in zip(features, maps, strict=True):
        expected = plain_ksigma(clip.double().numpy(), k, weights, per_frame)
        np.testing.assert_allclose(relevance, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per_frame", [False, True])
def test_less_what_rests_ksigma_is_its_definition_of_what_is_left(per_frame: bool):
    features, rest = random_features(), random_features(1, seed=9)
    forward = replace(a_forward(features), resting=lambda: rest)
    maps = ksigma(forward, k=1.5, rest=True, per_frame=per_frame)
    for clip, relevance in zip(features, maps, strict=True):
        left = np.maximum(0, clip.double().numpy() - rest[0].double().numpy())
        np.testing.assert_allclose(relevance, plain_ksigma(left, 1.5, "frame", per_frame), rtol=1e-5, atol=1e-7)
    assert ksigma(forward, k=1.5).ne(maps).any()


def test_less_what_rests_cam_says_what_is_more_than_of_a_grey_clip():
    """Its pooled mean is by how much the class's logit is higher than there; of that clip itself it says nothing."""
    features, rest = random_features(), random_features(1, seed=9)
    forward = replace(a_forward(features), resting=lambda: rest)
    of_rest = a_forward(rest).logits[0]
    maps = cam(forward, rest=True, pooled=True)
    expected = [float(logits[c] - of_rest[c]) for logits, c in zip(forward.logits, forward.target, strict=True)]
    np.testing.assert_allclose(maps.mean(dim=(1, 2, 3)), expected, rtol=1e-4)
    same = replace(a_forward(rest), resting=lambda: rest)
    assert not cam(same, rest=True).any()
    assert not ksigma(same, rest=True).any()


def test_what_rests_must_be_known():
    with pytest.raises(UserError, match=r"rest: .* is not at hand here"):
        ksigma(a_forward(random_features()), rest=True)


def test_ksigma_of_bf16_features_takes_its_moments_in_fp32():
    features = (random_features(side=7) + 100).bfloat16()
    expected = plain_ksigma(features[0].double().numpy(), 2.0, "frame", False)
    np.testing.assert_allclose(ksigma(a_forward(features), k=2.0)[0], expected, rtol=1e-5)


def test_ksigma_of_dead_and_constant_channels_marks_nothing():
    features = torch.zeros(1, 3, 2, 4, 4)
    features[:, 1] = 0.1
    features[:, 2] = 7e8
    assert not ksigma(a_forward(features), k=0.0).any()


def test_one_strong_value_is_where_it_was():
    features = torch.zeros(1, 8, 4, 7, 7)
    features[0, 3, 2, 1, 5] = 9
    relevance = ksigma(a_forward(features))
    assert torch.nonzero(relevance).tolist() == [[0, 2, 1, 5]]


def plain_cam(a: np.ndarray, w: np.ndarray, tau: float) -> np.ndarray:
    least = np.quantile(w, tau) if tau else -np.inf
    relevance = np.zeros(a.shape[1:])
    for channel, weight in zip(a, w, strict=True):
        if weight >= least:
            relevance += weight * channel
    return relevance


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.9])
def test_cam_is_its_definition(tau: float):
    forward = a_forward(random_features(n=3))
    for i, relevance in enumerate(cam(forward, tau=tau)):
        w = forward.weight[forward.target[i]].double().numpy()
        expected = plain_cam(forward.features[i].double().numpy(), w, tau)
        np.testing.assert_allclose(relevance, expected, rtol=1e-5, atol=1e-6)


def test_cam_is_torch_cams():
    torchcam = pytest.importorskip("torchcam.methods", reason="torch-cam is not installed")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 5)
    ).eval()
    clip = torch.randn(1, 3, 6, 12, 12)
    with torchcam.CAM(network, target_layer="1", fc_layer="4") as extractor:
        logits = network(clip)
        theirs = extractor(int(logits.argmax()), logits, normalized=False)[0]
    with torch.no_grad():
        features = network[:2](clip)
    forward = Forward(
        clip, [None], network[4].weight.detach(), torch.ones(4), Cells((1, 1, 1), (1, 1, 1)), 6,
        done=[Outcome(features, logits.detach())],
    )  # fmt: skip
    torch.testing.assert_close(cam(forward)[0], theirs.reshape(4, 10, 10), atol=1e-5, rtol=1e-4)


def test_pooled_cam_means_the_logit_less_its_bias(i3d):
    frames = np.random.default_rng(0).integers(0, 255, (1, 16, 224, 224, 3), np.uint8)
    forward = i3d.forward(frames, [None])
    bias = i3d.network.bias[forward.target]
    means = cam(forward, pooled=True).mean(dim=(1, 2, 3))
    torch.testing.assert_close(means + bias, forward.logits.max(dim=1).values, atol=1e-3, rtol=1e-4)


def test_contrast_is_a_difference_of_two_cams():
    forward = a_forward(random_features(n=2))
    for i, relevance in enumerate(contrast(forward, against=1)):
        features, w = forward.features[i].double().numpy(), forward.weight.double().numpy()
        expected = plain_cam(features, w[forward.target[i]], 0) - plain_cam(features, w[1], 0)
        np.testing.assert_allclose(relevance, expected, rtol=1e-4, atol=1e-5)


def test_contrast_is_against_the_strongest_other_class():
    forward = a_forward(random_features(n=1))
    second = int(forward.logits[0].argsort(descending=True)[1])
    torch.testing.assert_close(contrast(forward), contrast(forward, against=second))


def plain_upsample(relevance: np.ndarray, size: tuple[int, ...], cells: Cells, order: int) -> np.ndarray:
    """Position by position through scipy's interpolation of the whole map."""
    axes = [
        np.clip((np.arange(n) - centre) / stride, 0, count - 1)
        for n, count, stride, centre in zip(size, relevance.shape, cells.stride, cells.centre, strict=True)
    ]
    return ndimage.map_coordinates(relevance, np.meshgrid(*axes, indexing="ij"), order=order, mode="nearest")


@pytest.mark.parametrize("spline", [False, True])
def test_upsampling_puts_cells_at_their_centres(spline: bool):
    forward = a_forward(random_features(n=1))
    relevance = cam(forward)
    expected = plain_upsample(relevance[0].double().numpy(), forward.input_size, forward.cells, 3 if spline else 1)
    np.testing.assert_allclose(upsample(forward, relevance, spline)[0], expected, rtol=1e-3, atol=1e-3)


def test_the_spline_overshoots_and_linear_does_not():
    features = torch.zeros(1, 3, 4, 5, 5)
    features[:, 0, 2, 2, 2] = 1
    forward = replace(a_forward(features), wanted=[2], weight=torch.ones(5, 3))
    assert cam(forward, interpolation="spline").shape == (1, 16, 48, 48)
    assert cam(forward, interpolation="spline").min() < -0.01
    assert upsample(forward, cam(forward)).min() == 0


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5),
    st.sampled_from([0.0, 1e-30, 1.0, 1e30]), st.integers(0, 99),
)  # fmt: skip
def test_maps_are_finite_whatever_the_features(n, channels, t, side, scale, seed):
    features = random_features(n, channels, t, side, seed) * scale
    forward = a_forward(features)
    for relevance in (
        ksigma(forward),
        ksigma(forward, per_frame=True),
        cam(forward),
        cam(forward, tau=0.5),
        contrast(forward),
    ):
        assert relevance.shape == (n, t, side, side)
        assert torch.isfinite(relevance).all()


def test_moving_the_features_moves_the_map():
    features = random_features(n=1, side=8)
    rolled = features.roll((1, 2, 3), dims=(2, 3, 4))
    for explain in (ksigma, cam):
        moved, still = explain(a_forward(rolled)), explain(a_forward(features))
        torch.testing.assert_close(moved, still.roll((1, 2, 3), dims=(1, 2, 3)), atol=1e-5, rtol=1e-4)


def test_declarations_do_not_load_torch():
    code = "import rtx.explain, rtx.explain.chain, rtx.cli, rtx.config, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
