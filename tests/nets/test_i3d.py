"""I3D against slower writings of its definition, and with its real weights on real clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rtx
from rtx.engine.torch_backend import TorchBackend, cpu_has_bf16
from rtx.errors import UserError
from rtx.nets.forward import follow
from rtx.nets.i3d import EPS, I3D, DoubledStem, SamePool, Unit

IN_TIME = [(7, 2), (3, 2), (2, 2)]
IN_SPACE = [(7, 2), (3, 2), (3, 2), (3, 2), (2, 2)]


def random_weights(classes: int, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under DeepMind's names."""
    g = torch.Generator().manual_seed(seed)
    arrays: dict[str, Tensor] = {}
    for layer, conv in I3D(classes)._units():
        shape = (conv.out_channels, conv.in_channels, *conv.kernel_size)
        arrays[f"{layer}/kernel"] = torch.randn(shape, generator=g) * (2 / np.prod(shape[1:])) ** 0.5
        arrays[f"{layer}/beta"] = torch.randn(conv.out_channels, generator=g) * 0.1
        arrays[f"{layer}/mean"] = torch.randn(conv.out_channels, generator=g) * 0.1
        arrays[f"{layer}/var"] = torch.rand(conv.out_channels, generator=g) + 0.5
    arrays["head/weight"] = torch.randn(classes, 1024, generator=g)
    arrays["head/bias"] = torch.randn(classes, generator=g)
    return arrays


def same_pad(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], value: float) -> Tensor:
    """TensorFlow's SAME padding, axis by axis, from its documentation."""
    pads: list[int] = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max(k - s, 0) if size % s == 0 else max(k - size % s, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


@pytest.mark.parametrize("size", [(6, 9, 12), (7, 8, 11), (1, 14, 7)])
@pytest.mark.parametrize(("kernel", "stride"), [((7, 7, 7), (2, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((1, 1, 1), (1, 1, 1))])
def test_convolutions_pad_as_tensorflow_does(size, kernel, stride):
    torch.manual_seed(0)
    x, unit = torch.randn(2, 3, *size), Unit(3, 5, kernel, stride)
    with torch.no_grad():
        expected = F.conv3d(same_pad(x, kernel, stride, 0.0), unit.conv.weight, unit.conv.bias, stride).relu()
        torch.testing.assert_close(unit(x), expected)


@pytest.mark.parametrize("size", [(6, 9, 12), (7, 8, 11), (1, 14, 7)])
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))],
)
def test_pools_pad_with_what_never_wins(size, kernel, stride):
    x = torch.randn(2, 3, *size).relu()
    expected = F.max_pool3d(same_pad(x, kernel, stride, -torch.inf), kernel, stride)
    torch.testing.assert_close(SamePool(kernel, stride)(x), expected)


def test_batchnorm_is_folded():
    weights = random_weights(4)
    network = I3D(4)
    network.load_folded(weights)
    x = torch.randn(1, 3, 8, 32, 32)
    raw = F.conv3d(same_pad(x, (7, 7, 7), (2, 2, 2), 0.0), weights["Conv3d_1a_7x7/kernel"], stride=2)
    mean, var, beta = (weights[f"Conv3d_1a_7x7/{part}"] for part in ("mean", "var", "beta"))
    expected = F.batch_norm(raw, mean, var, None, beta, eps=EPS).relu()
    with torch.no_grad():
        torch.testing.assert_close(network.stages["Conv3d_1a_7x7"](x), expected, atol=1e-4, rtol=1e-4)


def test_the_folded_stem_is_feeding_each_frame_twice():
    weights = random_weights(4)
    plain, doubled = I3D(4), I3D(4, doubled=True)
    plain.load_folded(weights)
    doubled.load_folded(weights)
    clip = torch.randn(1, 3, 16, 64, 64)
    with torch.no_grad():
        expected = plain(clip.repeat_interleave(2, dim=2))
        torch.testing.assert_close(doubled(clip), expected, atol=2e-4, rtol=2e-4)


def test_the_folded_stem_costs_less():
    assert DoubledStem.fold(torch.ones(1, 1, 7, 7, 7))[0, 0, :, 0, 0].tolist() == [2, 2, 2, 1]


def test_the_head_is_average_pool_linear_layer_and_mean_over_time():
    torch.manual_seed(1)
    network = I3D(6)
    nn.init.normal_(network.weight)
    nn.init.normal_(network.bias)
    features = torch.rand(2, 1024, 4, 7, 7)
    pooled = F.avg_pool3d(features, (2, 7, 7), stride=1)
    expected = F.conv3d(pooled, network.weight[:, :, None, None, None], network.bias).mean(dim=(2, 3, 4))
    with torch.no_grad():
        torch.testing.assert_close(network.classify(features), expected, atol=1e-4, rtol=1e-4)


def reach(size: int, layers: list[tuple[int, int]], cell: int) -> tuple[int, int]:
    """First and last input index that a cell depends on, padding not counted, by walking back layer by layer."""
    sizes = [size]
    for _, stride in layers:
        sizes.append(-(-sizes[-1] // stride))
    low = high = cell
    for (kernel, stride), before in reversed(list(zip(layers, sizes, strict=False))):
        total = max((-(-before // stride) - 1) * stride + kernel - before, 0)
        low, high = low * stride - total // 2, high * stride - total // 2 + kernel - 1
    return low, high


@pytest.mark.parametrize(("size", "layers"), [(224, IN_SPACE), (160, IN_SPACE), (32, IN_TIME), (225, IN_SPACE)])
def test_cells_lie_in_the_middle_of_their_receptive_fields(size, layers):
    cells, stride, centre = follow((size, 1, 0.0), layers)
    for cell in range(cells):
        low, high = reach(size, layers, cell)
        assert centre + cell * stride == pytest.approx((low + high) / 2)


def test_a_doubled_frame_lies_between_its_two_copies():
    assert I3D(4, doubled=True).cells((16, 224, 224)).centre[0] == pytest.approx((5 - 0.5) / 2)


def test_every_stage_follows_a_bright_dot():
    """What a dot changes in a stage's features lies by `cells` where the dot is; plain resizing puts it 7.5 pixels off.

    Random weights, made positive so that the response is as wide as the receptive field. The dot is amid the cells,
    where the picture's border cuts nothing off.
    """
    weights = {name: array * ("kernel" in name) for name, array in random_weights(2).items()}
    weights = {name: (array.abs() * 0.2 if "kernel" in name else array) for name, array in weights.items()}
    for name in weights:
        if name.endswith("var"):
            weights[name] = torch.ones_like(weights[name])
    network = I3D(2, doubled=True)
    network.load_folded(weights)
    dotted = torch.zeros(1, 3, 16, 224, 224)
    dotted[:, :, 7:10, 116:125, 116:125] = 1
    features = dotted
    for name, stage in network.stages.items():
        with torch.no_grad():
            features = stage(features)
        response = features.sum(dim=(0, 1))
        cells = network.cells((16, 224, 224), name)
        for axis, dot in enumerate((8, 120, 120)):
            along = response.sum(dim=[other for other in range(3) if other != axis])
            middle = float((along * torch.arange(len(along))).sum() / along.sum())
            placed = middle * cells.stride[axis] + cells.centre[axis]
            assert placed == pytest.approx(dot, abs=(0.5, 2, 2)[axis]), name
    assert cells == network.cells((16, 224, 224))


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("arm_wrestling.mp4", "arm wrestling"),
        pytest.param("cleaning_pool.mp4", "cleaning pool", marks=pytest.mark.thorough),
        pytest.param("flipping_pancake.mkv", "flipping pancake", marks=pytest.mark.thorough),
        pytest.param("hitting_baseball.mp4", "hitting baseball", marks=pytest.mark.thorough),
        pytest.param("apply_eye_makeup_ucf101.avi", "waxing eyebrows", marks=pytest.mark.thorough),
    ],
)
def test_real_weights_name_real_clips(i3d: TorchBackend, clips: Path, file: str, label: str):
    result = rtx.explain(i3d, rtx.read_clip(clips / file))
    assert result.top[0].label == label


def test_bf16_gives_the_same_class(weights: Path, clips: Path):
    """A CPU without bf16 computes in fp32 with numbers that are rounded as one with bf16 would round them."""
    model = rtx.load("i3d-k400", device="cpu", precision="bf16" if cpu_has_bf16() else "fp32", threads=1)
    if not cpu_has_bf16():
        round_to_bf16(model.network)
    exact = rtx.load("i3d-k400", device="cpu", precision="fp32", threads=1)
    clip = rtx.read_clip(clips / "arm_wrestling.mp4")
    found, expected = (rtx.explain(of, clip).top for of in (model, exact))
    assert found[0].label == expected[0].label == "arm wrestling"
    assert found[1].p != expected[1].p, "it is rounded"


def round_to_bf16(network: nn.Module) -> None:
    """Its weights, and what each layer takes and gives."""

    def rounded(value: object) -> object:
        return value.bfloat16().float() if isinstance(value, Tensor) else value

    for weight in network.parameters():
        weight.data = weight.data.bfloat16().float()
    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_pre_hook(lambda _, taken: tuple(map(rounded, taken)))
            layer.register_forward_hook(lambda _, taken, given: rounded(given))


def test_weights_of_another_network_are_named():
    weights = random_weights(4)
    weights["Mixed_9z/kernel"] = weights.pop("Mixed_4b/Branch_0/Conv3d_0a_1x1/kernel")
    with pytest.raises(UserError, match="Mixed_4b/Branch_0"):
        I3D(4).load_folded(weights)
