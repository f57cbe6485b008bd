"""The networks of the papers: as large as their papers say, their cells where they lie, published names understood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rtx.errors import UserError
from rtx.nets import keys
from rtx.nets.c3d import C3D
from rtx.nets.forward import Staged
from rtx.nets.gated import gated_i3d, gated_resnext_101
from rtx.nets.hara import resnet_18, resnet_50, resnext_101
from rtx.nets.i3d import I3D
from rtx.nets.keys import renamed
from rtx.nets.mfnet import MFNet
from rtx.nets.resnet3d import mc3_18, r2plus1d_18, r3d_18
from rtx.nets.tstcnn import TSTCNN
from rtx.nets.zoo import ARCHITECTURES

Make = Callable[..., Staged]


class Counting(TorchFunctionMode):
    """Multiply-adds of convolutions and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (nn.functional.conv3d, nn.functional.linear):
            self.total += out.numel() * args[1][0].numel()
        return out


def trained_parameters(network: Staged) -> int:
    """Without statistics, which are not learnt."""
    statistics = ("running_mean", "running_var", "/mean", "/var")
    return sum(math.prod(shape) for name, shape in network.published().items() if not name.endswith(statistics))


@pytest.mark.parametrize(
    ("make", "classes", "size", "parameters", "gmac"),
    [
        (C3D, 101, (16, 112), 78_409_573, 38.6),
        (r3d_18, 400, (16, 112), 33_371_472, 40.7),
        (mc3_18, 400, (16, 112), 11_695_440, 43.34),
        (r2plus1d_18, 400, (16, 112), 31_505_325, 40.52),
        (resnext_101, 400, (16, 112), None, 9.6),
        (MFNet, 400, (16, 224), 8.0e6, 11.1),
        (I3D, 400, (64, 224), 12_697_264, 111.2),
        # By hand: 3x3x3 filters 30, 60, 80 and FC 500 a branch, pooled by two; twice, less a channel of flow.
        (TSTCNN, 21, (100, 120), 216_382_811, 29.38),
        (gated_resnext_101, 51, (16, 112), None, 9.6),
        (gated_i3d, 51, (64, 224), None, 111.2),
    ],
)
def test_it_is_as_large_as_its_paper_says(make: Make, classes: int, size: Any, parameters: float | None, gmac: float):
    with torch.device("meta"):
        network = make(classes)
        clip = torch.empty(1, 5 if make is TSTCNN else 3, size[0], size[1], size[1])
    if parameters is not None:
        assert trained_parameters(network) == pytest.approx(parameters, rel=0.01 if parameters == 8.0e6 else 0)
    counting = Counting()
    with counting:
        logits = network.eval()(clip)
    assert logits.shape == (1, classes)
    assert counting.total / 1e9 == pytest.approx(gmac, rel=0.015)


def shaken(network: Staged) -> Staged:
    """As after training: BatchNorms whose statistics, scales and shifts are not 0 and 1."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_(1, 0.3)
                module.bias.normal_(0, 0.2)
    return network.eval().requires_grad_(False)


AGAIN = [pytest.param(of, marks=pytest.mark.thorough) for of in (mc3_18, r2plus1d_18, resnet_18, resnet_50)]


@pytest.mark.parametrize("make", [r3d_18, resnext_101, MFNet, *AGAIN])
def test_batchnorm_folds_into_the_convolution_before_it(make: Make):
    torch.manual_seed(0)
    network, clip = shaken(make(5)), torch.rand(1, 3, 8, 64, 64)
    with torch.inference_mode():
        expected = network(clip)
        network.load_folded(network.state_dict())
        torch.testing.assert_close(network(clip), expected, rtol=1e-3, atol=1e-4)
    left = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert len(left) == (0 if make is not MFNet else len(left)), "MFNet has its BatchNorms before the convolutions"


@pytest.mark.parametrize("make", [C3D, r3d_18, resnext_101, MFNet, *AGAIN])
def test_every_stage_follows_a_bright_dot(make: Make):
    """With positive weights, all alike, the response is the receptive field, and its middle the place."""
    torch.manual_seed(0)
    network = make(2).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    size = (16, 112, 112)
    x = torch.zeros(1, 3, *size)
    x[:, :, 4:12, 40:72, 40:72] = 1
    for name, stage in network.stages.items():
        x = stage(x)
        cells = network.cells(size, name)
        assert tuple(x.shape[2:]) == network.shape(size, name)
        if cells.stride[1] >= 8:
            break  # They see more than the clip, whose edges then cut their response unevenly.
        response = x.sum(dim=(0, 1))
        for axis, at in ((0, 7.5), (1, 55.5), (2, 55.5)):
            along = response.sum(dim=[other for other in range(3) if other != axis])
            middle = float((along * torch.arange(len(along))).sum() / along.sum())
            placed = middle * cells.stride[axis] + cells.centre[axis]
            assert placed == pytest.approx(at, abs=0.25 * cells.stride[axis]), name


def test_a_block_is_its_definition():
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut), the shortcut a convolution of its own where sizes change."""
    torch.manual_seed(0)
    network = shaken(r3d_18())
    block = network.stages["layer2"][0]
    with torch.no_grad():
        x = torch.rand(1, 64, 4, 6, 6)
        (one, norm_one, _), (two, norm_two), (side, norm_side) = block.conv1, block.conv2, block.downsample
        inner = norm_one(one(x)).clamp(min=0)
        expected = (norm_two(two(inner)) + norm_side(side(x))).clamp(min=0)
        torch.testing.assert_close(block(x), expected)


def test_a_shortcut_without_parameters_thins_out_and_pads_with_zeros():
    network = shaken(resnet_18(5, shortcut="A"))
    x = torch.rand(1, 64, 4, 6, 6)
    short = network.stages["layer2"][0].downsample(x)
    torch.testing.assert_close(short[:, :64], x[:, :, ::2, ::2, ::2])
    assert short.shape[1] == 128
    assert not short[:, 64:].any()


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def haras(blocks: tuple[int, ...], convolutions: int) -> Iterator[str]:
    """Names as kenshohara's state dicts have them, saved from several GPUs."""
    yield "module.conv1.weight"
    yield from (f"module.bn1.{part}" for part in NORM)
    for layer, count in enumerate(blocks, 1):
        for block in range(count):
            at = f"module.layer{layer}.{block}"
            for conv in range(1, convolutions + 1):
                yield f"{at}.conv{conv}.weight"
                yield from (f"{at}.bn{conv}.{part}" for part in NORM)
            if block == 0 and (layer > 1 or convolutions == 3):
                yield f"{at}.downsample.0.weight"
                yield from (f"{at}.downsample.1.{part}" for part in NORM)
    yield from ("module.fc.weight", "module.fc.bias")


def torchvisions(factored: bool) -> Iterator[str]:
    def norm(at: str) -> Iterator[str]:
        return (f"{at}.{part}" for part in NORM)

    def conv(at: str) -> Iterator[str]:
        yield f"{at}.0.0.weight" if factored else f"{at}.0.weight"
        if factored:
            yield from norm(f"{at}.0.1")
            yield f"{at}.0.3.weight"
        yield from norm(f"{at}.1")

    yield "stem.0.weight"
    yield from norm("stem.1")
    if factored:
        yield "stem.3.weight"
        yield from norm("stem.4")
    for layer in range(1, 5):
        for block in range(2):
            yield from conv(f"layer{layer}.{block}.conv1")
            yield from conv(f"layer{layer}.{block}.conv2")
            if layer > 1 and block == 0:
                yield f"layer{layer}.0.downsample.0.weight"
                yield from norm(f"layer{layer}.0.downsample.1")
    yield from ("fc.weight", "fc.bias")


def mfnets() -> Iterator[str]:
    yield "conv1.conv.weight"
    yield from (f"conv1.bn.{part}" for part in NORM)
    for stage, count in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for unit in range(1, count + 1):
            for conv in ("conv_i1", "conv_i2", "conv_m1", "conv_m2", *(["conv_w1"] if unit == 1 else [])):
                yield f"conv{stage}.B{unit:02d}.{conv}.conv.weight"
                yield from (f"conv{stage}.B{unit:02d}.{conv}.bn.{part}" for part in NORM)
    yield from (f"tail.bn.{part}" for part in NORM)
    yield from ("classifier.weight", "classifier.bias")


def i3ds() -> Iterator[str]:
    def unit(at: str) -> Iterator[str]:
        yield f"{at}.conv3d.weight"
        yield from (f"{at}.bn.{part}" for part in NORM)

    for stage in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"):
        yield from unit(stage)
    for stage in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        for branch in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b"):
            yield from unit(f"Mixed_{stage}.{branch}")
    yield from ("logits.conv3d.weight", "logits.conv3d.bias")


@pytest.mark.parametrize(
    ("arch", "theirs"),
    [
        ("r3d_18", torchvisions(False)),
        ("mc3_18", torchvisions(False)),
        ("r2plus1d_18", torchvisions(True)),
        ("resnet_18", haras((2, 2, 2, 2), 2)),
        ("resnet_34", haras((3, 4, 6, 3), 2)),
        ("resnet_50", haras((3, 4, 6, 3), 3)),
        ("resnet_152", haras((3, 8, 36, 3), 3)),
        ("resnext_101", haras((3, 4, 23, 3), 3)),
        ("mfnet", mfnets()),
        ("i3d", i3ds()),
    ],
)
def test_every_published_name_has_its_place(arch: str, theirs: Iterator[str]):
    with torch.device("meta"):
        shapes = ARCHITECTURES[arch].make(classes=7).published()
    hit = set()
    for key in theirs:
        if not key.endswith("num_batches_tracked"):
            hit.add(keys.ours(key, ARCHITECTURES[arch].names))
    assert hit == set(shapes)


def test_the_first_wrong_key_is_named():
    with torch.device("meta"):
        shapes = r3d_18(7).published()
    right = {key: torch.zeros(()) for key in torchvisions(False)}
    good = {key: torch.zeros(shapes[keys.ours(key, keys.TORCHVISION)]) for key in right if "num_batches" not in key}
    assert set(renamed(good, shapes, keys.TORCHVISION)) == set(shapes)
    with pytest.raises(UserError, match=r"key 'head\.weight' of the checkpoint has no place in this network"):
        renamed({"head.weight": torch.zeros(3)} | good, shapes, keys.TORCHVISION)
    with pytest.raises(
        UserError, match=r"key 'fc\.weight' of the checkpoint is \(9, 512\), this network has \(7, 512\)"
    ):
        renamed(good | {"fc.weight": torch.zeros(9, 512)}, shapes, keys.TORCHVISION)
    del good["layer3.1.conv2.1.running_var"]
    with pytest.raises(UserError, match=r"lacks a key for 'stages\.layer3\.1\.conv2\.1\.running_var'"):
        renamed(good, shapes, keys.TORCHVISION)


def test_i3d_takes_weights_with_a_scale():
    """BatchNorm's, which DeepMind's own have not."""
    torch.manual_seed(0)
    network = I3D(3)
    weights: dict[str, Tensor] = {name: torch.rand(shape) * 0.1 for name, shape in network.published().items()}
    twice = {name: value * (2 if name.endswith("/scale") else 1) for name, value in weights.items()}
    halved = {name: value * (0.5 if name.endswith("/mean") else 1) for name, value in twice.items()}
    for name in [name for name in halved if name.endswith("/kernel")]:
        halved[name] = halved[name] * 0.5
    network.load_folded(weights)
    conv = network.stages["Conv3d_2b_1x1"].conv
    before = conv.weight.clone(), conv.bias.clone()
    network.load_folded(halved)
    torch.testing.assert_close((conv.weight, conv.bias), before)
