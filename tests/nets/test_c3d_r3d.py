"""C3D and the 3D ResNet of 18 layers, with random weights: as large as their papers say, their cells where they lie."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from rtx.nets.c3d import C3D
from rtx.nets.forward import Staged
from rtx.nets.resnet3d import ResNet3D


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


def small(kind: type[Staged]) -> Staged:
    torch.manual_seed(0)
    return kind().eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("kind", "classes", "parameters", "gmac"), [(C3D, 101, 78_409_573, 38.6), (ResNet3D, 400, 33_371_472, 40.7)]
)
def test_it_is_as_large_as_its_paper_says(kind, classes: int, parameters: int, gmac: float):
    with torch.device("meta"):
        network = kind(classes)
        clip = torch.empty(1, 3, 16, 112, 112)
    assert sum(p.numel() for p in network.parameters()) == parameters
    counting = Counting()
    with counting:
        logits = network.eval()(clip)
    assert logits.shape == (1, classes)
    assert counting.total / 1e9 == pytest.approx(gmac, rel=0.01)


def test_a_block_is_its_definition():
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut), the shortcut a convolution of its own where sizes change."""
    network = small(ResNet3D)
    block = network.stages["layer2"][0]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        x = torch.rand(1, 64, 4, 6, 6)
        (one, norm_one, _), (two, norm_two), (side, norm_side) = block.conv1, block.conv2, block.downsample
        inner = norm_one(one(x)).clamp(min=0)
        expected = (norm_two(two(inner)) + norm_side(side(x))).clamp(min=0)
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("kind", [C3D, ResNet3D])
def test_every_stage_follows_a_bright_dot(kind):
    """With positive weights, all alike, the response is the receptive field, and its middle the place."""
    torch.manual_seed(0)
    network = kind(2).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.constant_(module.weight, 1e-3)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    size = (16, 112, 112)
    x = torch.zeros(1, 3, *size)
    x[:, :, 4:12, 40:72, 40:72] = 1
    with torch.no_grad():
        for name, stage in network.stages.items():
            x = stage(x)
            cells = network.cells(size, name)
            if name in ("layer3", "layer4"):
                continue  # They see more than the clip, whose edges then cut their response unevenly.
            response = x.sum(dim=(0, 1))
            for axis, at in ((0, 7.5), (1, 55.5), (2, 55.5)):
                along = response.sum(dim=[other for other in range(3) if other != axis])
                middle = float((along * torch.arange(len(along))).sum() / along.sum())
                placed = middle * cells.stride[axis] + cells.centre[axis]
                assert placed == pytest.approx(at, abs=0.25 * cells.stride[axis]), name
    assert cells.stride == (8, 16, 16)
