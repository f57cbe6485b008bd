"""What must hold of every explainer, whatever the clip: tried on drawn sizes, shifts and degenerate networks."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rtx.api import Result
from rtx.errors import UserError
from rtx.explain.placing import upsample
from rtx.explain.propagation import Shared
from rtx.explain.registry import DECLARED, parse
from rtx.explain.run import Explained, explain
from rtx.nets.forward import Forward, Layers, Staged
from tests.explain.nets import NETS, Branched, Plain, Pooled, Residual, a_clip, a_net, forward_of

EVERY = [name for name, of in DECLARED.items() if not of.is_step]
CLASS_SPECIFIC = [name for name in EVERY if not DECLARED[name].class_blind]
every = pytest.mark.parametrize("name", EVERY)
some = settings(max_examples=8, deadline=None, derandomize=True)


def map_of(name: str, forward: Forward) -> Tensor:
    made = DECLARED[name].function(forward)
    return made.relevance if isinstance(made, Shared) else made


def full(name: str, network: Staged, clip: Tensor, target: int | None = None) -> Tensor:
    """N T H W."""
    forward = forward_of(network, clip, target)
    return upsample(forward, map_of(name, forward))


@pytest.mark.parametrize("kind", NETS)
@every
def test_a_batch_is_its_clips_one_by_one(kind: type[Staged], name: str):
    network, clip = a_net(kind, dtype=torch.float64), a_clip(3, dtype=torch.float64)
    if kind is Plain and name in ("cam", "contrast", "pyramid"):  # Which need a pooled head.
        with pytest.raises(UserError, match="a head of pooling and one linear layer"):
            map_of(name, forward_of(network, clip))
        return
    together = map_of(name, forward_of(network, clip))
    assert len(together) == 3
    for i in range(3):
        alone = map_of(name, forward_of(network, clip[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone)


class Endless(Pooled):
    """Its clips have no borders: what leaves at one end comes back at the other, in time, too."""

    def __init__(self) -> None:
        super().__init__(8)
        first = nn.Conv3d(3, 6, 3, 1, 1, padding_mode="circular")
        second = nn.Conv3d(6, 8, 3, 1, 1, groups=2, padding_mode="circular")
        self.stages = nn.ModuleDict(OrderedDict(
            one=nn.Sequential(first, nn.ReLU(), nn.MaxPool3d(2)), two=nn.Sequential(second, nn.ReLU()),
        ))  # fmt: skip

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        along: Layers = [(3, 1, 1), (2, 2, 0)] if stage == "one" else [(3, 1, 1)]
        return along, along, along


# p3dcam adds layers, each scaled by its largest, which may lie on a border.
@pytest.mark.parametrize("name", [name for name in EVERY if name != "p3dcam"])
@some
@given(st.tuples(*[st.integers(-2, 2)] * 3))
def test_a_shift_of_the_clip_moves_the_map(name: str, steps: tuple[int, int, int]):
    """By as much, in time and space; by whole cells, of which one is two pixels here.

    But for the outermost: maps at clip resolution are interpolated between cells, and end where the clip does.
    """
    network = a_net(Endless, dtype=torch.float64)
    clip = 2 * torch.rand(1, 3, 16, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 1
    by, axes = tuple(2 * step for step in steps), (1, 2, 3)
    shifted = full(name, network, clip.roll(by, (2, 3, 4)), 0)
    expected = full(name, network, clip, 0).roll(by, axes)
    clear = torch.ones(clip.shape[2:], dtype=torch.bool)
    for axis, step in enumerate(by):
        edges = [i % clip.shape[2 + axis] for end in (0, step) for i in range(end - 2, end + 2)]
        clear.index_fill_(axis, torch.tensor(edges), False)
    assert clear.any()
    seen, wanted = shifted[:, clear], expected[:, clear]
    if name == "cam3d":  # Scaled by its largest, which may lie on a border.
        seen, wanted = seen / seen.max(), wanted / wanted.max()
    torch.testing.assert_close(seen, wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", CLASS_SPECIFIC)
@some
@given(st.floats(1e-3, 1e3))
def test_scaling_the_logits_leaves_the_hottest_place(name: str, by: float):
    network, clip = a_net(Residual, dtype=torch.float64), a_clip(2, dtype=torch.float64)
    louder = a_net(Residual, dtype=torch.float64)
    louder.weight.data *= by
    louder.bias.data *= by
    maps = [map_of(name, forward_of(of, clip)).flatten(1) for of in (network, louder)]
    for one, other in zip(*maps, strict=True):
        if one.amax() > one.amin():
            assert int(one.argmax()) == int(other.argmax())


DEAD = {
    "dead features": lambda network: [p.data.zero_() for p in network.stages[network.last].parameters()],
    "a dead channel": lambda network: network.weight.data[:, 0].zero_(),
    "no gradient": lambda network: network.weight.data.zero_(),
    "nothing": lambda network: None,
}


@every
@pytest.mark.parametrize("kind", [Residual, Branched])
@some
@given(
    st.sampled_from([(1, 1, 1), (1, 24, 24), (8, 1, 1), (2, 3, 5), (5, 8, 2)]), st.sampled_from(list(DEAD)),
    st.sampled_from(["zeros", "one value", "noise"]),
)  # fmt: skip
def test_maps_are_finite(kind: type[Staged], name: str, size: tuple[int, int, int], dead: str, content: str):
    """With one frame, one pixel, one cell; without gradients, with dead channels, in an empty clip."""
    network = a_net(kind)
    DEAD[dead](network)
    clip = torch.zeros(2, 3, *size)
    if content != "zeros":
        clip += 0.5 if content == "one value" else torch.rand(clip.shape)
    for chain in (name, f"{name} | selective | fuse"):
        explained = explain(parse(chain), forward_of(network, clip))
        assert torch.isfinite(explained.relevance).all()
        assert explained.evidence == [bool(of.amax() > 0) for of in explained.relevance]


SEEN = np.zeros((4, 10, 12, 3), np.uint8)


@some
@given(st.floats(-1e6, 1e6, width=32), st.booleans())
def test_a_constant_map_is_scaled_to_zeros(value: float, evidence: bool):
    made = np.full((4, 5, 6), value, np.float32)
    result = Result("", "", "", "", "", (), None, made, made, evidence, None, None, {}, SEEN)
    assert (result.heatmap == 0).all()


@some
@given(st.integers(0, 2**31))
def test_any_other_map_is_scaled_to_all_of_0_to_1_over_the_whole_clip(seed: int):
    made = np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32)
    result = Result("", "", "", "", "", (), None, made, made, True, None, None, {}, SEEN)
    assert (result.heatmap.min(), result.heatmap.max()) == (0, 1)
    assert np.argmax(result.heatmap) == np.argmax(made)
    # A frame without evidence must not light up: the scale is the clip's, not the frame's.
    made[0] = made.min()
    assert (Result("", "", "", "", "", (), None, made, made, True, None, None, {}, SEEN).heatmap[0] == 0).all()


@every
def test_nothing_found_is_said(name: str):
    """Without gradient and features nobody can find anything: no map of zeros passes for one that shows something."""
    network = a_net(Branched)
    for parameter in network.parameters():
        parameter.data.zero_()
    explained: Explained = explain(parse(name), forward_of(network, torch.zeros(1, 3, 8, 24, 24)))
    assert explained.evidence == [False]
