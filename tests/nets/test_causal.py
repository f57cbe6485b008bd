"""The causal network: it never looks ahead, and frame by frame it says what one pass over the stream says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rtx.errors import UserError
from rtx.nets.causal import Causal, Past, Temporal

FRAMES = 16


@pytest.fixture(scope="module")
def network() -> Causal:
    """Random weights, small enough that values neither die nor grow."""
    torch.manual_seed(3)
    made = Causal(11).eval()
    for layer in made.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, a=1.0)
    return made.requires_grad_(False)


def stream(streams: int, frames: int, seed: int = 0, size: int = 48) -> Tensor:
    return torch.randn(streams, 3, frames, size, size, generator=torch.Generator().manual_seed(seed))


def follow(network: Causal, frames: Tensor, past: Past) -> Tensor:
    """Feature frames after each frame of one stream, the last one's window: K t h w."""
    for frame in frames.transpose(0, 1):
        features = network.advance(frame[None], [past])
    return features[0]


def test_sixteen_frames_give_sixteen_feature_frames_of_an_eighth_of_the_size(network: Causal):
    assert network.extract(stream(1, FRAMES, size=112)).shape == (1, 128, 16, 14, 14)


def test_no_frame_changes_what_was_seen_before_it(network: Causal):
    seen = stream(1, 20)
    other = seen.clone()
    other[:, :, 12:] += 1
    before, after = network.extract(seen), network.extract(other)
    assert torch.equal(before[:, :, :12], after[:, :, :12])
    assert not torch.allclose(before[:, :, 12], after[:, :, 12])


def test_the_temporal_layer_sums_over_its_past():
    torch.manual_seed(0)
    layer = Temporal(3, kernel=3, dilation=2).eval()
    x = torch.randn(1, 3, 9, 2, 2)
    weight, bias = layer.conv.weight[:, :, :, 0, 0], layer.conv.bias
    with torch.no_grad():
        for t in range(9):
            total = x[0, :, t] + bias[:, None, None]
            for tap, back in ((2, 0), (1, 2), (0, 4)):
                if t - back >= 0:
                    total = total + torch.einsum("oi,ihw->ohw", weight[:, :, tap], x[0, :, t - back])
            torch.testing.assert_close(layer(x)[0, :, t], total.relu())


def test_frame_by_frame_equals_one_pass_at_every_frame_of_a_long_run(network: Causal):
    frames = stream(1, 60)
    whole = network.extract(frames)
    past = Past(FRAMES)
    for t in range(60):
        features = network.advance(frames[:, :, t], [past])
        seen = min(FRAMES, t + 1)
        torch.testing.assert_close(features[:, :, -seen:], whole[:, :, t + 1 - seen : t + 1], atol=1e-4, rtol=0)
        if seen == FRAMES:
            expected = network.classify(whole[:, :, t + 1 - FRAMES : t + 1])
            torch.testing.assert_close(network.classify(features), expected, atol=1e-4, rtol=0)


def test_a_cold_window_is_another_thing_and_a_longer_one_is_not(network: Causal):
    """Equal to the stream is the window of the last 16 + receptive field - 1 frames; not that of the last 16."""
    receptive = 1 + sum(layer.past for layer in network.modules() if isinstance(layer, Temporal))
    frames = stream(1, 70)
    features = follow(network, frames[0], Past(FRAMES))
    longer = network.extract(frames[:, :, -(FRAMES + receptive - 1) :])[0, :, -FRAMES:]
    torch.testing.assert_close(features, longer, atol=1e-4, rtol=0)
    assert (features - network.extract(frames[:, :, -FRAMES:])[0]).abs().max() > 1e-2


def test_dropped_frames_are_as_if_they_had_never_been(network: Causal):
    frames = stream(1, 50)
    kept = [t for t in range(50) if t % 7 and t not in range(20, 26)]
    features = follow(network, frames[0, :, kept], Past(FRAMES))
    torch.testing.assert_close(features, network.extract(frames[:, :, kept])[0, :, -FRAMES:], atol=1e-4, rtol=0)


def test_a_reset_forgets_everything(network: Causal):
    first, second = stream(1, 30, seed=1), stream(1, 20, seed=2)
    alone = network.extract(second)[0, :, -FRAMES:]
    torch.testing.assert_close(follow(network, second[0], Past(FRAMES)), alone, atol=1e-4, rtol=0)
    past = Past(FRAMES)
    follow(network, first[0], past)
    assert (follow(network, second[0], past) - alone).abs().max() > 1e-2


def test_several_streams_of_different_ages_share_a_batch(network: Causal):
    frames = stream(3, 40)
    pasts = [Past(FRAMES) for _ in range(3)]
    begins = (0, 5, 17)
    for t in range(40):
        due = [i for i in range(3) if t >= begins[i]]
        features = network.advance(frames[due, :, t], [pasts[i] for i in due])
    for i, begin in enumerate(begins):
        alone = network.extract(frames[i : i + 1, :, begin:])[0, :, -FRAMES:]
        torch.testing.assert_close(features[i], alone, atol=1e-4, rtol=0)


def test_the_state_is_the_streams_and_not_the_networks(network: Causal):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    follow(network, stream(1, 20)[0], Past(FRAMES))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_batchnorm_is_folded():
    torch.manual_seed(1)
    trained = Causal(5, training=True)
    with torch.no_grad():
        trained.train().extract(stream(2, 8))
        trained.train().extract(3 * stream(2, 8, seed=1) + 1)
        folded = trained.eval().folded()
        clip = stream(1, FRAMES, seed=2)
        torch.testing.assert_close(folded(clip), trained(clip), atol=1e-5, rtol=1e-4)
    assert not any("norm" in name for name in folded.state_dict())


def test_weights_of_another_network_are_named(network: Causal):
    weights = dict(network.state_dict())
    weights["stages.lust.0.conv.weight"] = weights.pop("stages.last.0.conv.weight")
    with pytest.raises(UserError, match=r"stages\.lust"):
        Causal(11).load_folded(weights)


def test_a_cell_has_seen_its_own_frame_and_the_past_of_its_layers(network: Causal):
    """In time a cell lies at the frame that completed it: there a flash is seen first."""
    x, seen = torch.zeros(1, 3, 30, 16, 16), 0
    flash = x.clone()
    flash[:, :, 5] = 1
    for name, stage in network.stages.items():
        x, flash = stage(x), stage(flash)
        seen += sum(layer.past for layer in stage.modules() if isinstance(layer, Temporal))
        changed = (flash - x).abs().amax(dim=(0, 1, 3, 4)).nonzero().flatten()
        assert (int(changed[0]), int(changed[-1])) == (5, 5 + seen)
        cells = network.cells((30, 16, 16), name)
        assert (cells.stride[0], cells.centre[0]) == (1, 0)
    assert seen == 14


@pytest.mark.parametrize("dot", [(40, 40), (41, 57), (64, 32)])
def test_every_stage_follows_a_bright_dot(dot: tuple[int, int]):
    """What a dot changes in a stage lies, by that stage's cells, where the dot is.

    Positive weights, all alike: the response is the receptive field, and its middle the place.
    """
    network = Causal(2).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.constant_(layer.weight, 0.1)
            nn.init.zeros_(layer.bias)
    x = torch.zeros(1, 3, 6, 112, 112)
    # As large as the last stage's stride, so that it covers every phase of the cells alike.
    x[:, :, 3, dot[0] - 4 : dot[0] + 4, dot[1] - 4 : dot[1] + 4] = 1
    with torch.no_grad():
        for name, stage in network.stages.items():
            x = stage(x)
            cells = network.cells((6, 112, 112), name)
            response = x.sum(dim=(0, 1))
            assert (response[:3] == 0).all()
            assert response[3].sum() > 0, "a cell belongs to the frame that completed it"
            for axis, at in ((1, dot[0] - 0.5), (2, dot[1] - 0.5)):
                along = response[3].sum(dim=2 - axis)
                middle = float((along * torch.arange(len(along))).sum() / along.sum())
                placed = middle * cells.stride[axis] + cells.centre[axis]
                assert placed == pytest.approx(at, abs=0.1 * cells.stride[axis]), name
    assert cells.stride == (1, 8, 8)
    assert cells.centre == (0, 0, 0)
