"""Deep Taylor decomposition and its kin: what is handed back is conserved, and equal to rules written as matrices."""

from __future__ import annotations

import itertools
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtx.errors import UserError
from rtx.explain.propagation import dtd, lrp
from rtx.explain.rules import DEEP_TAYLOR, Propagating
from rtx.nets.forward import Layers, Staged
from tests.explain.nets import NETS, Block, Plain, Pooled, a_clip, a_net, forward_of

SMALL = (4, 6, 6)


class Mini(Pooled):
    """Two convolutions with max pooling between them; small enough that each layer is a matrix one can look at."""

    def __init__(self) -> None:
        super().__init__(4)
        self.stages = nn.ModuleDict(OrderedDict(
            one=nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)),
            two=nn.Sequential(nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1)), nn.ReLU()),
        ))  # fmt: skip

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        return ([], [], [])


def matrix(layer: nn.Conv3d, shape: tuple[int, ...]) -> np.ndarray:
    """The convolution, less its bias, as a matrix: outputs x inputs."""
    inputs = int(np.prod(shape))
    basis = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *shape)
    columns = F.conv3d(basis, layer.weight, None, layer.stride, layer.padding)
    return columns.flatten(1).numpy().T


def z_plus(w: np.ndarray, x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    back = np.zeros_like(x)
    up = np.maximum(w, 0)
    for j in range(len(w)):
        total = (up[j] * x).sum()
        if total > 0:
            back += x * up[j] / total * relevance[j]
    return back


def z_box(w: np.ndarray, x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """Pixels lie between -1 and 1."""
    back = np.zeros_like(x)
    for j in range(len(w)):
        parts = x * w[j] + np.maximum(w[j], 0) - np.minimum(w[j], 0)
        if parts.sum() > 0:
            back += parts / parts.sum() * relevance[j]
    return back


def test_dtd_is_its_rules_layer_by_layer():
    network = a_net(Mini, dtype=torch.float64)
    clip = torch.rand(1, 3, *SMALL, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    forward = forward_of(network, clip)
    one, two = network.stages["one"][0], network.stages["two"][0]
    x0 = clip.numpy().ravel()
    after = F.relu(one(clip))
    pooled, winners = F.max_pool3d(after, 2, return_indices=True)
    x1, shape1 = pooled.numpy().ravel(), tuple(pooled.shape[1:])
    features = F.relu(two(pooled))
    x2, shape2 = features.numpy().ravel(), tuple(features.shape[1:])

    c = int(forward.target[0])
    score = float(forward.logits[0, c])
    assert score > 0
    head = np.repeat(network.weight[c].numpy(), np.prod(shape2[1:])) / np.prod(shape2[1:])
    r2 = z_plus(head[None], x2, np.array([score]))
    r1 = z_plus(matrix(two, shape1), x1, r2)
    r0 = np.zeros(after[0].numel())
    for channel in range(4):
        for place in np.ndindex(*shape1[1:]):
            winner = int(winners[0, channel][place])
            r0[channel * int(np.prod(SMALL)) + winner] += r1.reshape(shape1)[channel][place]
    expected = z_box(matrix(one, (3, *SMALL)), x0, r0).reshape(3, *SMALL).sum(axis=0)
    np.testing.assert_allclose(dtd(forward).relevance[0].numpy(), expected, rtol=1e-9, atol=1e-15)


def test_dtd_is_zennits():
    """With the composite that is deep Taylor decomposition there: EpsilonPlus and EpsilonGammaBox are not."""
    peer = pytest.importorskip("tests.explain.deep_taylor", reason="pip install --no-deps zennit==0.5.1")
    network, clip = a_net(Plain, dtype=torch.float64), a_clip(2, dtype=torch.float64)
    forward = forward_of(network, clip)
    expected = peer.deep_taylor(network, clip, forward.target.clone(), -1.0, 1.0).sum(dim=1)
    torch.testing.assert_close(dtd(forward).relevance, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("pooling", ["winner", "proportional"])
@pytest.mark.parametrize("n", [1, 3])
def test_the_score_is_shared_out_and_none_of_it_negative(kind: type[Staged], pooling, n: int):
    """Less only what outputs held that nothing but a bias had made."""
    network, clip = a_net(kind, dtype=torch.float64), a_clip(n, dtype=torch.float64)
    forward = forward_of(network, clip)
    assert forward.bounds is not None
    found, lost = dtd(forward, pooling=pooling)
    assert found.min() >= 0
    score = forward.logits.amax(dim=1).clamp(min=0)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)) + lost * score, score, rtol=1e-5, atol=0)
    assert (found.sum(dim=(1, 2, 3)) > 0.9 * forward.logits.amax(dim=1)).all()


def test_a_score_that_is_not_positive_is_no_evidence():
    network, clip = a_net(Plain), a_clip(1)
    worst = int(network(clip)[0].argmin())
    forward = forward_of(network, clip, worst)
    assert float(forward.logits[0, worst]) < 0
    assert (dtd(forward).relevance == 0).all()


@pytest.mark.parametrize("kind", NETS)
def test_batchnorm_is_folded_into_the_layer_before_it(kind: type[Staged]):
    """As on a network of the same function without BatchNorm."""
    network, clip = a_net(kind, dtype=torch.float64), a_clip(2, dtype=torch.float64)
    folded = a_net(kind, dtype=torch.float64)
    for module in list(folded.modules()):
        children = list(module.named_children())
        for (_, before), (name, norm) in itertools.pairwise(children):
            if isinstance(norm, nn.BatchNorm3d) and isinstance(before, nn.Conv3d):
                scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                before.weight.data = before.weight * scale[:, None, None, None, None]
                before.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)
                setattr(module, name, nn.Identity())
    torch.testing.assert_close(folded(clip), network(clip))
    torch.testing.assert_close(dtd(forward_of(folded, clip)), dtd(forward_of(network, clip)))


def test_an_operation_without_a_rule_is_named():
    network = a_net(Plain)
    network.relu = nn.Softplus()
    with pytest.raises(UserError, match="no rule says how softplus hands relevance on"):
        dtd(forward_of(network, a_clip(1)))


def test_training_mode_is_refused():
    network = a_net(NETS[1])
    forward = forward_of(network, a_clip(1))
    network.train()
    with pytest.raises(UserError, match=r"BatchNorm is in training mode; call \.eval\(\)"):
        dtd(forward)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("rule", ["composite", "epsilon"])
def test_lrp_is_finite_and_signed_where_its_rule_is(kind: type[Staged], rule):
    found = lrp(forward_of(a_net(kind), a_clip(2)), rule=rule).relevance
    assert found.shape == (2, 8, 24, 24)
    assert torch.isfinite(found).all()


def test_epsilon_without_biases_and_with_little_epsilon_is_gradient_times_input():
    """On a network of ReLUs alone the two are the same."""
    network = a_net(Plain, dtype=torch.float64)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            module.bias.data.zero_()
    clip = a_clip(1, dtype=torch.float64)
    forward = forward_of(network, clip)
    leaf = clip.clone().requires_grad_()
    network(leaf)[0, int(forward.target[0])].backward()
    assert leaf.grad is not None
    found = lrp(forward, rule="epsilon", epsilon=1e-9).relevance
    torch.testing.assert_close(found, (leaf.grad * clip).sum(dim=1), rtol=1e-4, atol=1e-9)


def test_a_residual_block_shares_by_what_each_branch_brings():
    torch.manual_seed(5)
    block = Block(4, 4, 1).eval().requires_grad_(False).double()
    x = torch.rand(1, 4, 3, 4, 4, dtype=torch.float64).requires_grad_()
    bounds = (torch.zeros(1, 4, 1, 1, 1, dtype=torch.float64), torch.ones(1, 4, 1, 1, 1, dtype=torch.float64))
    passing = Propagating(DEEP_TAYLOR, bounds)
    with passing:
        out = block(x)
    (back,) = torch.autograd.grad(out, x, out.detach())
    assert (back >= 0).all()
    torch.testing.assert_close(back.sum() + passing.lost.sum(), out.sum())  # type: ignore[union-attr]
