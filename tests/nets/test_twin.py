"""Networks of several branches and heads: RGB beside flow, and gates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtx.engine.torch_backend import TorchBackend
from rtx.explain.features import ksigma
from rtx.explain.gradients import saliency
from rtx.nets import cards
from rtx.nets.forward import Forward, Outcome
from rtx.nets.gated import Gated, gated_resnext_101
from rtx.nets.resnet3d import r3d_18
from rtx.nets.tstcnn import TSTCNN, apart


def test_a_twin_network_is_its_two_branches_until_they_are_fused():
    """A second writing: each branch as a plain stack of its own."""
    torch.manual_seed(0)
    network = TSTCNN(7, frames=16, size=24).eval()
    clip = torch.rand(2, 5, 16, 24, 24)
    hidden = []
    for name, part in (("rgb", clip[:, :3]), ("flow", clip[:, 3:])):
        for number in (1, 2, 3):
            conv = getattr(network.stages[f"conv{number}"], name)
            part = F.max_pool3d(F.conv3d(part, conv.weight, conv.bias, padding=1).clamp(min=0), 2)
        hidden.append(getattr(network, name)(part.reshape(2, -1)).clamp(min=0))
    expected = network.fusion(torch.cat(hidden, 1))
    torch.testing.assert_close(network(clip), expected)


def test_k_sigma_of_a_twin_network_is_that_of_its_branches_together():
    torch.manual_seed(0)
    network = TSTCNN(7, frames=16, size=24).eval().requires_grad_(False)
    clip = torch.rand(1, 5, 16, 24, 24)
    features, logits = network.run(clip)

    def of(a: torch.Tensor) -> torch.Tensor:
        cells = network.cells((16, 24, 24))
        done = [Outcome(a, logits)]
        return ksigma(Forward(clip, [None], None, torch.ones(2), cells, 16, done=done), k=1.0)

    rgb, flow = features.chunk(network.branches, 1)
    torch.testing.assert_close(of(features), of(rgb) + of(flow))


def test_a_branch_alone_is_the_network_whose_other_branch_stays_as_it_was():
    torch.manual_seed(0)
    network = TSTCNN(7, frames=16, size=24).eval().requires_grad_(False)
    clip = torch.rand(2, 5, 16, 24, 24)
    bounds = torch.zeros(1, 5, 1, 1, 1), torch.ones(1, 5, 1, 1, 1)
    cells = network.cells((16, 24, 24))
    whole = Forward(clip, [None, 3], None, torch.ones(2), cells, 16, network, bounds=bounds)
    recorded = whole.record(())
    (gradient,) = torch.autograd.grad(whole.score(recorded.logits).sum(), recorded.clip)
    parts = apart(whole)
    assert len(parts) == 2
    for seen, channels in zip(parts, (slice(3), slice(3, None)), strict=True):
        assert torch.equal(seen.clip, clip[:, channels])
        assert seen.bounds is not None
        assert seen.bounds[0].shape[1] == seen.clip.shape[1]
        assert seen.network is not None
        features, logits = seen.network.run(seen.clip)
        torch.testing.assert_close(features, seen.features)
        torch.testing.assert_close(logits, whole.logits)
        torch.testing.assert_close(saliency(seen), gradient[:, channels].abs().amax(dim=1))
    torch.testing.assert_close(torch.cat([seen.features for seen in parts], dim=1), whole.features)


def test_of_a_network_with_one_branch_there_is_one_part(figures: TorchBackend):
    forward = figures.forward(np.zeros((1, 16, 112, 112, 3), np.uint8), [None])
    assert apart(forward) == (forward,)


def test_the_logits_of_gates_are_added():
    """A second writing of the paper's section 3.5, cell by cell."""
    torch.manual_seed(0)
    base = r3d_18(3)
    network = Gated(base, {"layer1": 64, "layer3": 256}, classes=3, frames=8, size=32).eval()
    clip, expected = torch.rand(2, 3, 8, 32, 32), 0
    a = clip
    for name, stage in base.stages.items():
        a = stage(a)
        if name in network.gates:
            pairs = [a.clamp(min=0)[:, :, t : t + 2].mean(dim=(2, 3, 4)) for t in range(0, a.shape[2], 2)]
            expected = expected + network.gates[name](torch.stack(pairs, 2).flatten(1))
    torch.testing.assert_close(network(clip), expected)
    assert network.linear is None


def test_a_gate_keeps_half_of_time():
    with torch.device("meta"):
        network = gated_resnext_101(5)
    assert network.kept == {"stem": 8, "layer1": 4, "layer2": 2, "layer3": 1, "layer4": 1}


@pytest.mark.parametrize("name", ["tstcnn", "i3d-flow"])
def test_flow_is_divided_by_its_limit_and_cut_off_there(name: str, monkeypatch: pytest.MonkeyPatch):
    """Fuad et al. 2020, Eq. 2, value by value."""
    card = cards.card(name)
    assert card.flow is not None
    backend = TorchBackend.__new__(TorchBackend)
    backend.card, backend.precision = card, "fp32"
    backend._mean = torch.tensor(card.clip.mean).view(1, 3, 1, 1, 1)
    backend._std = torch.tensor(card.clip.std).view(1, 3, 1, 1, 1)
    dice = np.random.default_rng(0)
    frames = dice.integers(0, 256, (1, 2, 4, 4, 3), np.uint8)
    flow = dice.normal(0, 15, (1, 2, 4, 4, 2)).astype(np.float32)
    seen = backend.normalise(frames, flow)
    assert seen.shape[1] == (2 if card.flow.alone else 5)
    limit = card.flow.mean + 3 * card.flow.deviation
    for (t, y, x, axis), v in np.ndenumerate(flow[0]):
        scaled = v / limit
        assert seen[0, axis - 2, t, y, x] == pytest.approx(scaled if abs(scaled) < 1 else np.sign(scaled), abs=1e-6)


def test_gradients_pass_through_both_branches():
    torch.manual_seed(0)
    network = TSTCNN(3, frames=8, size=16).eval()
    clip = torch.rand(1, 5, 8, 16, 16, requires_grad=True)
    network(clip)[0, 0].backward()
    assert isinstance(network.fusion, nn.Linear)
    assert clip.grad is not None
    assert clip.grad[:, :3].abs().sum() > 0
    assert clip.grad[:, 3:].abs().sum() > 0
