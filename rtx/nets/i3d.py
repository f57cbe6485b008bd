"""I3D (Carreira & Zisserman 2017): Inception-v1 inflated to three dimensions, with BatchNorm folded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtx.errors import UserError
from rtx.link.wire import Cells
from rtx.nets.forward import Layers, Staged, same_padding

EPS = 1e-3

Triple = tuple[int, int, int]

# Output channels of the branches: 1x1 | 1x1 -> 3x3 | 1x1 -> 3x3 | pool -> 1x1.
_MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


class Unit(nn.Module):
    """Convolution with SAME padding, its BatchNorm folded in, and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple = (1, 1, 1), stride: Triple = (1, 1, 1)):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.conv.kernel_size, self.conv.stride
        pads = [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
        if all(before == after for before, after in pads):
            x = F.conv3d(x, self.conv.weight, self.conv.bias, stride, tuple(before for before, _ in pads))
        else:
            x = self.conv(F.pad(x, [n for pad in reversed(pads) for n in pad]))
        return F.relu(x, inplace=True)


class DoubledStem(nn.Module):
    """The 7x7x7 stride-2 stem over a clip whose frames are each fed twice, at the cost of feeding them once.

    Two equal frames under two temporal taps are one frame under their sum: taps w0+w1, w2+w3, w4+w5, w6 at stride 1.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, (4, 7, 7), (1, 2, 2))

    @staticmethod
    def fold(kernel: Tensor) -> Tensor:
        """O I 7 7 7 -> O I 4 7 7."""
        even = F.pad(kernel, (0, 0, 0, 0, 0, 1))
        return even[:, :, 0::2] + even[:, :, 1::2]

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (same_padding(n, 7, 2) for n in x.shape[3:])
        return F.relu(self.conv(F.pad(x, (left, right, top, bottom, 1, 2))), inplace=True)


class SamePool(nn.Module):
    """Max pooling with SAME padding. What is padded never wins, because inputs are not negative (after ReLU)."""

    def __init__(self, kernel: Triple, stride: Triple):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        sizes = zip(x.shape[2:], self.kernel, self.stride, strict=True)
        # `ceil_mode` adds the cell that odd padding at the end would; only the padding before is explicit.
        before = tuple(same_padding(n, k, s)[0] for n, k, s in sizes)
        # In the other layout torch's pooling takes nine times as long on a CPU.
        x = x.contiguous(memory_format=torch.channels_last_3d)
        return F.max_pool3d(x, self.kernel, self.stride, before, ceil_mode=True)


class Mixed(nn.Module):
    """An Inception block: four branches over the same input, joined."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]):
        super().__init__()
        one, squeeze_a, three_a, squeeze_b, three_b, pooled = widths
        self.branch0 = Unit(inputs, one)
        self.branch1 = nn.Sequential(Unit(inputs, squeeze_a), Unit(squeeze_a, three_a, (3, 3, 3)))
        self.branch2 = nn.Sequential(Unit(inputs, squeeze_b), Unit(squeeze_b, three_b, (3, 3, 3)))
        self.branch3 = nn.Sequential(SamePool((3, 3, 3), (1, 1, 1)), Unit(inputs, pooled))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)), dim=1)


class I3D(Staged):
    """I3D over clips N 3 T H W in [-1, 1]. With `doubled`, each of the T frames counts twice, exactly.

    The head is an average pool of two feature frames, a linear layer, and the mean over time: together a mean in
    which inner feature frames count twice (1:2:2:1 for four).
    """

    def __init__(self, classes: int = 400, channels: int = 3, doubled: bool = False):
        super().__init__()
        self.doubled = doubled
        stem = DoubledStem(channels, 64) if doubled else Unit(channels, 64, (7, 7, 7), (2, 2, 2))
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stages["Conv3d_1a_7x7"] = stem
        stages["MaxPool3d_2a_3x3"] = SamePool((1, 3, 3), (1, 2, 2))
        stages["Conv3d_2b_1x1"] = Unit(64, 64)
        stages["Conv3d_2c_3x3"] = Unit(64, 192, (3, 3, 3))
        stages["MaxPool3d_3a_3x3"] = SamePool((1, 3, 3), (1, 2, 2))
        inputs = 192
        for name, widths in _MIXED.items():
            if name == "Mixed_4b":
                stages["MaxPool3d_4a_3x3"] = SamePool((3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                stages["MaxPool3d_5a_2x2"] = SamePool((2, 2, 2), (2, 2, 2))
            stages[name] = Mixed(inputs, widths)
            inputs = widths[0] + widths[2] + widths[4] + widths[5]
        self.stages = nn.ModuleDict(stages)
        self.weight = nn.Parameter(torch.zeros(classes, inputs))
        self.bias = nn.Parameter(torch.zeros(classes))

    def pooling(self, frames: int) -> Tensor:
        weights = torch.ones(frames, device=self.weight.device)
        if frames > 1:
            weights[1:-1] = 2
        return weights / weights.mean()

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        layer = self.stages[stage]
        kernel, stride = (1, 1, 1), (1, 1, 1)  # Of an Inception block: what it pads, it pads alike on both sides.
        if isinstance(layer, DoubledStem):
            kernel, stride = (7, 7, 7), (2, 2, 2)  # Over the frames as they would be fed, each twice.
        elif isinstance(layer, Unit):
            kernel, stride = layer.conv.kernel_size, layer.conv.stride  # type: ignore[assignment]
        elif isinstance(layer, SamePool):
            kernel, stride = layer.kernel, layer.stride
        t, y, x = ([along] for along in zip(kernel, stride, strict=True))
        return t, y, x

    def cells(self, input_size: Triple, layer: str | None = None) -> Cells:
        if not self.doubled:
            return super().cells(input_size, layer)
        fed = super().cells((2 * input_size[0], *input_size[1:]), layer)
        # Frame f is fed at 2f and 2f + 1: its place is between them.
        (jump, *jumps), (centre, *centres) = fed.stride, fed.centre
        return Cells((jump / 2, jumps[0], jumps[1]), ((centre - 0.5) / 2, centres[0], centres[1]))

    def shape(self, input_size: Triple, layer: str | None = None) -> Triple:
        t, height, width = input_size
        return super().shape((2 * t if self.doubled else t, height, width), layer)

    def published(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {
            "head/weight": tuple(self.weight.shape),
            "head/bias": tuple(self.bias.shape),
        }
        for layer, conv in self._units():
            outputs, inputs, *kernel = conv.weight.shape
            size = (7, 7, 7) if layer == "Conv3d_1a_7x7" else tuple(kernel)  # The stem's, not yet folded in time.
            found[f"{layer}/kernel"] = (outputs, inputs, *size)
            found |= dict.fromkeys((f"{layer}/{part}" for part in ("scale", "beta", "mean", "var")), (outputs,))
        return found

    def load_folded(self, weights: Mapping[str, Tensor]) -> None:
        """Take published weights, folding each BatchNorm into its convolution.

        `weights`: `<Layer>/kernel` O I T H W, `<Layer>/beta`, `/mean`, `/var`, and `head/weight`, `head/bias`;
        `<Layer>/scale` where there is one (DeepMind's have none).
        """
        layers = dict(self._units())
        wanted = {f"{layer}/{part}" for layer in layers for part in ("kernel", "beta", "mean", "var")}
        wanted |= {"head/weight", "head/bias"}
        if missing := sorted(wanted ^ {name for name in weights if not name.endswith("/scale")}):
            raise UserError(f"these are not I3D's weights: {missing[0]!r} does not fit")
        with torch.no_grad():
            for layer, conv in layers.items():
                scale = torch.rsqrt(weights[f"{layer}/var"] + EPS)
                if f"{layer}/scale" in weights:
                    scale = scale * weights[f"{layer}/scale"]
                kernel = weights[f"{layer}/kernel"] * scale[:, None, None, None, None]
                if isinstance(self.stages[layer.split("/")[0]], DoubledStem):
                    kernel = DoubledStem.fold(kernel)
                conv.weight.copy_(kernel)
                assert conv.bias is not None
                conv.bias.copy_(weights[f"{layer}/beta"] - weights[f"{layer}/mean"] * scale)
            self.weight.copy_(weights["head/weight"])
            self.bias.copy_(weights["head/bias"])

    def _units(self) -> list[tuple[str, nn.Conv3d]]:
        """DeepMind's layer names and the convolutions they belong to."""
        units: list[tuple[str, nn.Conv3d]] = []
        for name, stage in self.stages.items():
            if isinstance(stage, Mixed):
                for branch, names in enumerate((["0a_1x1"], ["0a_1x1", "0b_3x3"], ["0a_1x1", "0b_3x3"], ["0b_1x1"])):
                    found = [m for m in getattr(stage, f"branch{branch}").modules() if isinstance(m, nn.Conv3d)]
                    for part, conv in zip(names, found, strict=True):
                        units.append((f"{name}/Branch_{branch}/Conv3d_{part}", conv))
            elif isinstance(stage, Unit | DoubledStem):
                units.append((name, stage.conv))
        return units
