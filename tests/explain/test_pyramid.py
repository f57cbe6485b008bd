"""Class Feature Pyramids, against loops written from the text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtx.errors import UserError
from rtx.explain.placing import upsample, upsample_layer
from rtx.explain.pyramid import Layer, pyramid, tree
from rtx.nets.foreign import Foreign
from rtx.nets.forward import Forward, Layers, Staged
from tests.explain.nets import NETS, SIZE, Branched, Plain, Pooled, Residual, a_clip, a_net, conv, forward_of

THETA = 0.6


def exact(kind: type[Staged], n: int = 2) -> Forward:
    return forward_of(a_net(kind, dtype=torch.float64), a_clip(n, dtype=torch.float64))


def kept_of(scores: list[float], theta: float = THETA) -> list[int]:
    least, most = min(scores), max(scores)
    return [i for i, score in enumerate(scores) if most > least and (score - least) / (most - least) >= theta]


def of_class(forward: Forward, i: int) -> list[int]:
    a, w = forward.features[i].numpy(), forward.weight[forward.target.clone()[i]].numpy()
    return kept_of([w[k] * a[k].mean() for k in range(len(a))])


def back(seen: np.ndarray, conv: nn.Conv3d, kernels: list[int], scale: np.ndarray) -> dict[int, list[int]]:
    """For each kept kernel of a convolution the channels of its input (C t h w) that matter to it."""
    per_group = conv.out_channels // conv.groups
    width = conv.in_channels // conv.groups
    found = {}
    for j in kernels:
        first = j // per_group * width
        weights = conv.weight[j].numpy() * scale[j]
        scores = [seen[first + i].mean() * weights[i].mean() for i in range(width)]
        found[j] = [first + i for i in kept_of(scores)]
    return found


def map_of(seen: np.ndarray, reached: dict[int, list[int]]) -> np.ndarray:
    total = np.zeros(seen.shape[1:])
    for channels in reached.values():
        if channels:
            total += sum(seen[i] for i in channels) / len(channels)
    return total


def agrees(layer: Layer, i: int, seen: np.ndarray, reached: dict[int, list[int]]) -> None:
    np.testing.assert_allclose(layer.seen[i].numpy(), seen)
    for j in range(layer.kept.shape[1]):
        assert layer.kept[i, j].nonzero().flatten().tolist() == reached.get(j, [])
    np.testing.assert_allclose(layer.relevance[i].numpy(), map_of(seen, reached), rtol=1e-9, atol=1e-12)
    for j, channels in reached.items():
        np.testing.assert_allclose(layer.kernel(j)[i].numpy(), map_of(seen, {j: channels}), rtol=1e-9, atol=1e-12)


def union(reached: dict[int, list[int]]) -> list[int]:
    return sorted({i for channels in reached.values() for i in channels})


def inputs_of(network: Staged, clip: torch.Tensor, modules: list[nn.Module]) -> list[np.ndarray]:
    """What these modules were given: N C t h w each."""
    seen: dict[int, np.ndarray] = {}
    handles = [
        module.register_forward_pre_hook(lambda m, x: seen.__setitem__(id(m), x[0].clone().numpy()))
        for module in modules
    ]
    network(clip)
    for handle in handles:
        handle.remove()
    return [seen[id(module)] for module in modules]


def scale_of(norm: nn.BatchNorm3d) -> np.ndarray:
    scale: np.ndarray = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).numpy()
    return scale


def test_branches_and_groups():
    forward = exact(Branched)
    root = tree(forward, THETA, 1)
    last = forward.whole.stages["last"]
    convs = [last.point[0], last.grouped[0], last.pooled[1]]
    seen = inputs_of(forward.whole, forward.clip, convs)
    assert len(root.below) == 3
    for i in range(2):
        kept = of_class(forward, i)
        assert root.channels[i].nonzero().flatten().tolist() == kept
        for branch, (own, of, layer) in enumerate(zip(convs, seen, root.below, strict=True)):
            kernels = [k - 4 * branch for k in kept if 4 * branch <= k < 4 * branch + 4]
            agrees(layer, i, of[i], back(of[i], own, kernels, np.ones(4)))


def test_residual_sums_and_folded_norms_two_layers_down():
    forward = exact(Residual)
    root = tree(forward, THETA, 2)
    block = forward.whole.stages["two"]
    (two, norm_two), (one, norm_one, _), (short, norm_short) = block.two, block.one, block.short
    seen_two, seen_one, seen_short = inputs_of(forward.whole, forward.clip, [two, one, short])
    main, side = root.below
    for i in range(2):
        kept = of_class(forward, i)
        reached = back(seen_two[i], two, kept, scale_of(norm_two))
        agrees(main, i, seen_two[i], reached)
        agrees(side, i, seen_short[i], back(seen_short[i], short, kept, scale_of(norm_short)))
        agrees(main.below[0], i, seen_one[i], back(seen_one[i], one, union(reached), scale_of(norm_one)))
    assert len(side.below) == 2, "below the shortcut lies the sum of the block before"


@pytest.mark.parametrize("kind", [Residual, Branched])
def test_the_map_is_the_sum_over_branches_each_where_its_cells_lie(kind: type[Staged]):
    forward = exact(kind)
    root = tree(forward, THETA, 1)
    torch.testing.assert_close(pyramid(forward, theta=THETA, depth=0), upsample(forward, root.relevance))
    # Of one residual block the main branch sees what the shortcut sees, at another size.
    stages = {Residual: ("two", "one"), Branched: ("stem",) * 3}[kind]
    maps = [upsample_layer(forward, stage, layer.relevance) for stage, layer in zip(stages, root.below, strict=True)]
    torch.testing.assert_close(pyramid(forward, theta=THETA, depth=1), sum(maps))


def test_to_the_clip_and_not_beyond():
    forward = exact(Branched)
    layers, depth = [tree(forward, 0.2, 12)], 0
    while layers := [below for layer in layers for below in layer.below]:
        depth += 1
        assert all(layer.seen.shape[1] == 3 for layer in layers) == (depth == 3)
    assert depth == 3
    assert pyramid(forward, theta=0.2, depth=3).shape == pyramid(forward, theta=0.2, depth=12).shape == (2, 8, 24, 24)


@pytest.mark.parametrize("theta", [0.0, 1.0])
def test_all_channels_or_only_the_strongest(theta: float):
    root = tree(exact(Branched), theta, 0)
    assert root.channels.sum(dim=1).tolist() == ([12, 12] if theta == 0 else [1, 1])


def test_a_head_that_is_not_linear_is_refused():
    with pytest.raises(UserError, match="a pyramid starts from a head of pooling and one linear layer"):
        pyramid(exact(Plain))


@pytest.mark.parametrize("kind", [kind for kind in NETS if kind is not Plain])
def test_dead_features_give_zeros_and_no_nan(kind: type[Staged]):
    forward = exact(kind)
    dead = torch.zeros_like(forward.clip)
    network = forward.whole
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d | nn.BatchNorm3d) and module.bias is not None:
                module.bias.zero_()
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean.zero_()
    found = pyramid(forward_of(network, dead), depth=2)
    assert (found == 0).all()


class Odd(Pooled):
    """Gates, a functional pool, a depthwise convolution, channels taken apart."""

    def __init__(self, kind: str) -> None:
        super().__init__(8)
        self.kind = kind
        self.first, self.gate = conv(3, 8), nn.Conv3d(3, 8, 1)
        self.deep, self.last = conv(8, 8, groups=8), conv(8, 8)
        self.stages = nn.ModuleDict({"all": Way(self)})

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        along: Layers = [(3, 1, 1), (2, 2, 0), (3, 1, 1)]
        return along, along, along


class Way(nn.Module):
    def __init__(self, odd: Odd) -> None:
        super().__init__()
        self.kind, self.first, self.gate, self.deep, self.last = odd.kind, odd.first, odd.gate, odd.deep, odd.last

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        x = F.max_pool3d(F.relu(self.first(clip)), 2)
        gate = self.gate(clip).mean(dim=(2, 3, 4), keepdim=True)
        if self.kind == "gate first":
            x = gate * x
        elif self.kind == "gate last":
            x = x * gate
        elif self.kind == "depthwise":
            x = self.deep(x)
        elif self.kind == "sliced":
            x = torch.cat((x[:, 4:], x[:, :4]), dim=1)
        elif self.kind == "in time":
            x = torch.cat((x[:, :, :2], x[:, :, 2:]), dim=2)
        return F.relu(self.last(x))


@pytest.mark.parametrize("kind", ["gate first", "gate last", "depthwise", "sliced", "in time"])
def test_odd_ways_are_followed_or_end_the_tree(kind: str):
    forward = forward_of(a_net(lambda: Odd(kind)), a_clip(2))
    root = tree(forward, 0.5, 3)
    (last,) = root.below
    assert last.seen.shape[1] == 8
    if kind == "sliced":
        assert last.below == ()
        return
    (below,) = last.below
    assert below.seen.shape[1] == (8 if kind == "depthwise" else 3)
    if kind == "depthwise":  # Its kernels have one channel each, which is followed.
        assert torch.equal(below.channels, last.channels)
    assert pyramid(forward, depth=1).abs().amax() > 0


def test_an_inner_layer_lies_where_it_was_followed_to():
    """Behind a pooling that is no module, too."""
    forward = forward_of(a_net(lambda: Odd("plain")), a_clip(1))
    foreign = forward_of(Foreign(forward.whole, SIZE), a_clip(1))
    for of in (forward, foreign):
        (last,) = tree(of, 0.5, 2).below
        assert (last.cells.stride, last.cells.centre) == ((2.0,) * 3, (0.5,) * 3)
