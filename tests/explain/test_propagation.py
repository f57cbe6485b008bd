"""Deep Taylor decomposition and its kin: what is handed back is conserved, and equal to rules written as matrices."""

from __future__ import annotations

import itertools
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.peers import stand_ins, zennit_deep_taylor, zennit_excitation
from rtx.errors import UserError
from rtx.explain.placing import upsample_layer
from rtx.explain.propagation import contrastive_mwp, dtd, excitation_backprop, lrp
from rtx.explain.rules import DEEP_TAYLOR, EXCITATION, Propagating
from rtx.nets.forward import Layers, Staged
from tests.explain.nets import NETS, Block, Branched, Plain, Pooled, Residual, a_clip, a_net, conv, forward_of, norm

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


class Added(nn.Module):
    """A residual block whose sum is a module, as zennit needs it, with BatchNorm folded into the convolutions."""

    def __init__(self, block: Block, added: nn.Module):
        super().__init__()
        (one, norm_one, _), (two, norm_two) = block.one, block.two
        self.main = nn.Sequential(folded(one, norm_one), nn.ReLU(), folded(two, norm_two))
        self.short = nn.Identity() if block.short is None else folded(*block.short)
        self.added, self.relu = added, nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        relevant: torch.Tensor = self.relu(self.added(torch.stack((self.main(x), self.short(x)), dim=-1)))
        return relevant


def folded(layer: nn.Conv3d, norm: nn.BatchNorm3d) -> nn.Conv3d:
    return fuse_conv_bn_eval(layer, norm)


def in_modules(network: Staged, added: type[nn.Module]) -> nn.Module:
    """The same network, of modules alone."""
    if isinstance(network, Plain):
        return network
    assert isinstance(network, Pooled)
    head = nn.Linear(network.weight.shape[1], len(network.weight))
    head.weight, head.bias = network.weight, network.bias
    stages: list[nn.Module] = []
    if isinstance(network, Residual):
        stem, first, second = network.stages["stem"], network.stages["one"], network.stages["two"]
        stages = [folded(stem[0], stem[1]), nn.ReLU(), *(Added(block, added()) for block in (*first, second))]
    else:
        stages = list(network.stages.values())
    return nn.Sequential(*stages, nn.AdaptiveAvgPool3d(1), nn.Flatten(), head)


@pytest.mark.parametrize("kind", NETS)
def test_dtd_is_zennits(kind: type[Staged]):
    """With the composite that is deep Taylor decomposition there: EpsilonPlus and EpsilonGammaBox are not."""
    with stand_ins():
        zennit = pytest.importorskip("zennit.layer", reason="pip install --no-deps zennit==0.5.1")
    network, clip = a_net(kind, dtype=torch.float64), a_clip(2, dtype=torch.float64)
    same = in_modules(network, zennit.Sum).eval()  # Its denominators are 1e-6 larger.
    torch.testing.assert_close(same(clip), network(clip))
    theirs = zennit_deep_taylor(same, -1.0, 1.0)
    for i in range(2):
        forward = forward_of(network, clip[i : i + 1])
        expected = theirs(forward.clip, int(forward.target))
        torch.testing.assert_close(dtd(forward).relevance, expected, rtol=1e-3, atol=5e-7)


def test_excitation_backprop_is_zennits():
    with stand_ins():
        pytest.importorskip("zennit", reason="pip install --no-deps zennit==0.5.1")
    network, clip = a_net(Plain, dtype=torch.float64), a_clip(1, dtype=torch.float64)
    forward = forward_of(network, clip)
    expected = zennit_excitation(network, "stages.three")(clip, int(forward.target))
    torch.testing.assert_close(excitation_backprop(forward).relevance, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", [Residual, Branched])
def test_what_speaks_for_a_class_and_against_it(kind: type[Staged], sign: int):
    """A pooled head's excitation, written as loops; its dual has the weights' signs turned."""
    network, clip = a_net(kind, dtype=torch.float64), a_clip(3, dtype=torch.float64)
    forward = forward_of(network, clip)
    a, w = forward.features.numpy(), sign * network.weight.numpy()
    shares = np.zeros((3, *a.shape[2:]))
    for i in range(3):
        up = np.maximum(w[int(forward.target[i])], 0)
        pooled = a[i].mean(axis=(1, 2, 3))
        for k in range(len(up)):
            if pooled[k] > 0:
                shares[i] += up[k] * pooled[k] / (up * pooled).sum() * a[i, k] / a[i, k].sum()
    for_it = excitation_backprop(forward)
    if sign > 0:
        np.testing.assert_allclose(for_it.relevance.numpy(), shares, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(for_it.relevance.sum(dim=(1, 2, 3)), 1)
    else:
        found = contrastive_mwp(forward)
        np.testing.assert_allclose(found.relevance.numpy(), for_it.relevance.numpy() - shares, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(found.relevance.sum(dim=(1, 2, 3)), 0, atol=1e-12)


def test_through_a_fully_connected_head_the_dual_is_turned_in_the_last_layer_alone():
    network, clip = a_net(Plain, dtype=torch.float64), a_clip(2, dtype=torch.float64)
    turned = a_net(Plain, dtype=torch.float64)
    turned.out.weight.data.neg_()
    classes = forward_of(network, clip).target.tolist()
    for i, c in enumerate(classes):
        forward, dual = (forward_of(of, clip[i : i + 1], c) for of in (network, turned))
        expected = excitation_backprop(forward).relevance - excitation_backprop(dual).relevance
        torch.testing.assert_close(contrastive_mwp(forward).relevance, expected)


@pytest.mark.parametrize("kind", NETS)
def test_excitation_can_stop_at_any_layer(kind: type[Staged]):
    """It arrives there whole, and is placed where the layer's cells lie."""
    forward = forward_of(a_net(kind, dtype=torch.float64), a_clip(1, dtype=torch.float64))
    for layer in forward.whole.names:
        found = excitation_backprop(forward, layer=layer)
        passing = Propagating(EXCITATION, forward.bounds)
        recorded = forward.record((layer,), passing)
        (back,) = torch.autograd.grad(forward.score(recorded.logits), list(recorded.outputs.values()))
        torch.testing.assert_close(found.relevance, upsample_layer(forward, layer, back.sum(dim=1)))
        torch.testing.assert_close(back.sum() + found.lost.sum(), torch.ones((), dtype=torch.float64))
    with pytest.raises(UserError, match="unknown layer 'tow': did you mean 'two'"):
        excitation_backprop(forward_of(a_net(Plain), a_clip(1)), layer="tow")


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
        for (_, before), (name, after) in itertools.pairwise(children):
            if isinstance(after, nn.BatchNorm3d) and isinstance(before, nn.Conv3d):
                scale = after.weight / torch.sqrt(after.running_var + after.eps)
                before.weight.data = before.weight * scale[:, None, None, None, None]
                before.bias = nn.Parameter(after.bias - after.running_mean * scale, requires_grad=False)
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


def divided(parts: np.ndarray, relevance: np.ndarray, epsilon: float) -> np.ndarray:
    """Relevance J of outputs to the inputs I that made them (J I), denominators kept away from zero."""
    z = parts.sum(axis=1)
    back = np.zeros(parts.shape[1])
    for j in range(len(parts)):
        away = epsilon * np.abs(z).max() * (1 if z[j] >= 0 else -1)
        back += parts[j] / (z[j] + away) * relevance[j]
    return back


class TwoGates(Mini):
    """The head in two parts, whose logits are added: each weight and bias is torn in two of opposite signs."""

    def classify(self, features: Tensor) -> Tensor:
        pooled = features.mean(dim=(2, 3, 4))
        torn = torch.linspace(-3, 4, self.weight.numel()).view_as(self.weight).to(self.weight)
        return F.linear(pooled, torn) + F.linear(pooled, self.weight - torn)


@pytest.mark.parametrize("rule", ["composite", "epsilon"])
def test_gates_share_as_the_layer_would_that_they_add_up_to(rule: str):
    torn = a_net(TwoGates, dtype=torch.float64)
    clip = a_clip(2).double()[..., :6, :6]
    found = lrp(forward_of(torn, clip), rule=rule, epsilon=1e-9).relevance
    torn.classify = lambda features: F.linear(features.mean(dim=(2, 3, 4)), torn.weight)
    torch.testing.assert_close(found, lrp(forward_of(torn, clip), rule=rule, epsilon=1e-9).relevance)


@pytest.mark.parametrize("rule", ["composite", "epsilon"])
def test_lrp_is_its_rules_layer_by_layer(rule: str):
    network = a_net(Mini, dtype=torch.float64)
    clip = torch.rand(1, 3, *SMALL, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    forward, epsilon = forward_of(network, clip), 0.01
    one, two = network.stages["one"][0], network.stages["two"][0]
    after = F.relu(one(clip))
    pooled, winners = F.max_pool3d(after, 2, return_indices=True)
    features = F.relu(two(pooled))
    (channels, t, h, w), x1 = features.shape[1:], pooled.numpy().ravel()
    per_frame = features[0].numpy().mean(axis=(2, 3))
    c = int(forward.target[0])
    of_means = divided(
        (network.weight[c].numpy() * per_frame.mean(axis=1))[None], forward.logits[0, c : c + 1].numpy(), epsilon
    )
    # The mean over frames, then that over places: what was positive counts.
    of_frames = divided(np.kron(np.eye(channels), np.ones(t)) * per_frame.ravel() / t, of_means, epsilon)
    spread = np.kron(np.eye(channels * t), np.ones(h * w)) * features.numpy().ravel() / (h * w)
    r2 = divided(spread, of_frames, epsilon)

    def parts(weight: np.ndarray, x: np.ndarray, of_clip: bool = False) -> np.ndarray:
        if rule == "epsilon":
            return weight * x
        up, down = np.maximum(weight, 0), np.minimum(weight, 0)
        return up * (x + 1) + down * (x - 1) if of_clip else up * np.maximum(x, 0)

    r1 = divided(parts(matrix(two, tuple(pooled.shape[1:])), x1), r2, epsilon)
    r0 = np.zeros(after[0].numel())
    for channel in range(4):
        for place in np.ndindex(*pooled.shape[2:]):
            r0[channel * int(np.prod(SMALL)) + int(winners[0, channel][place])] += r1.reshape(pooled.shape[1:])[
                channel
            ][place]
    back = divided(parts(matrix(one, (3, *SMALL)), clip.numpy().ravel(), of_clip=True), r0.ravel(), epsilon)
    found = lrp(forward, rule=rule, epsilon=epsilon).relevance[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(found.numpy(), back.reshape(3, *SMALL).sum(axis=0), rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("pooling", ["winner", "proportional"])
def test_adaptive_max_pooling_is_max_pooling(pooling: str):
    class Adaptive(Mini):
        def __init__(self) -> None:
            super().__init__()
            self.stages["one"][2] = nn.AdaptiveMaxPool3d((2, 3, 3))

    clip = torch.rand(2, 3, *SMALL, dtype=torch.float64) * 2 - 1
    adaptive, plain = (a_net(kind, dtype=torch.float64) for kind in (Adaptive, Mini))
    plain.load_state_dict(adaptive.state_dict())
    found, expected = (dtd(forward_of(of, clip), pooling=pooling).relevance for of in (adaptive, plain))
    torch.testing.assert_close(found, expected)


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


def test_a_sum_in_place_whose_result_is_left_unused_is_named():
    """Its parts could not be told apart."""

    class InPlace(Residual):
        def classify(self, features: torch.Tensor) -> torch.Tensor:
            features.add_(features * 0.5)
            return super().classify(features)

    with pytest.raises(UserError, match="what add_ wrote in place is used without its result"):
        dtd(forward_of(a_net(InPlace), a_clip(1)))


class Before(Residual):
    """BatchNorm and ReLU before the convolutions, the first of them on the clip; a shortcut around."""

    def __init__(self) -> None:
        super().__init__()
        branch = nn.Sequential(norm(3), nn.ReLU(), conv(3, 10, bias=False), norm(10), nn.ReLU(), conv(10, 10))
        self.branch, self.short = branch, nn.Conv3d(3, 10, 1)
        self.stages = nn.ModuleDict({"one": Around(branch, self.short)})

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        return ([(3, 1, 1)] * 2,) * 3


class Around(nn.Module):
    def __init__(self, branch: nn.Module, short: nn.Module):
        super().__init__()
        self.branch, self.short = branch, short

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.branch(x) + self.short(x))


def test_batchnorm_with_no_layer_before_it_is_a_layer_of_its_own():
    forward = forward_of(a_net(Before, dtype=torch.float64), a_clip(2, dtype=torch.float64))
    found, lost = dtd(forward)
    score = forward.logits.amax(dim=1).clamp(min=0)
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)) + lost * score, score, rtol=1e-5, atol=0)
    for rule in ("composite", "epsilon"):
        assert torch.isfinite(lrp(forward, rule=rule).relevance).all()
    assert torch.isfinite(excitation_backprop(forward).relevance).all()


def test_batchnorm_after_a_relu_in_place_does_not_belong_to_the_layer_before():
    def made(in_place: bool) -> Staged:
        torch.manual_seed(0)
        network = Mini().eval().requires_grad_(False)
        network.stages["two"] = nn.Sequential(
            nn.Conv3d(4, 4, 3, padding=1), nn.ReLU(inplace=in_place), norm(4), nn.ReLU(inplace=in_place)
        ).eval().requires_grad_(False)  # fmt: skip
        return network.double()

    clip = a_clip(1, dtype=torch.float64)
    torch.testing.assert_close(dtd(forward_of(made(True), clip)), dtd(forward_of(made(False), clip)))


@pytest.mark.parametrize(
    "touched",
    [
        lambda x: x.clone(), lambda x: x[:, :, :], lambda x: x * 1.0, lambda x: (x - 0.0) / 1.0,
        lambda x: x.float().double(), lambda x: torch.cat((x[:, :, :3], x[:, :, 3:]), dim=2),
        lambda x: x.reshape(x.shape), lambda x: F.pad(x, (0, 0)),
    ],
)  # fmt: skip
def test_a_clip_that_is_touched_first_keeps_its_bounds(touched):
    """Else its first layer would not be known for what it is."""

    class Touched(Plain):
        def extract(self, clip: torch.Tensor) -> torch.Tensor:
            return super().extract(touched(clip))

    usual, other = (a_net(kind, dtype=torch.float64) for kind in (Plain, Touched))
    clip = a_clip(2).double()  # As exact in single precision.
    torch.testing.assert_close(dtd(forward_of(other, clip)), dtd(forward_of(usual, clip)))


def test_a_clip_that_is_turned_around_turns_its_bounds():
    class Turned(Plain):
        def extract(self, clip: torch.Tensor) -> torch.Tensor:
            return super().extract(clip * -2.0)

    found, lost = dtd(forward := forward_of(a_net(Turned, dtype=torch.float64), a_clip(1, dtype=torch.float64)))
    assert found.min() >= 0
    torch.testing.assert_close(found.sum() + lost[0] * forward.logits.amax(), forward.logits.amax(), rtol=1e-5, atol=0)


def test_a_division_by_an_activation_is_refused():
    class Inverse(Plain):
        def classify(self, features: torch.Tensor) -> torch.Tensor:
            return super().classify(torch.div(1.0, features + 1.0))

    with pytest.raises(UserError, match="no rule says how a division by an activation"):
        dtd(forward_of(a_net(Inverse), a_clip(1)))
