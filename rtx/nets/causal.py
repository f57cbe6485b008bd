"""A small network that never looks ahead: convolutions in each frame, and temporal ones that see only the past."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtx.errors import UserError
from rtx.nets.forward import Layers, Staged


class Spatial(nn.Module):
    """Convolution within each frame, and ReLU. While training, BatchNorm stands between them."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, training: bool = False):
        super().__init__()
        pad = kernel // 2
        self.conv = nn.Conv3d(inputs, outputs, (1, kernel, kernel), (1, stride, stride), (0, pad, pad))
        self.norm = nn.BatchNorm3d(outputs) if training else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Temporal(nn.Module):
    """What a frame's cell makes of its own past: relu(x[t] + sum over j of W[j] x[t - j * dilation]).

    Before the first frame there is nothing: zeros.
    """

    def __init__(self, channels: int, kernel: int, dilation: int, training: bool = False):
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (kernel, 1, 1), dilation=(dilation, 1, 1))
        self.norm = nn.BatchNorm3d(channels) if training else nn.Identity()
        self.past = (kernel - 1) * dilation
        """Frames that it looks back."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(F.pad(x, (0, 0, 0, 0, self.past, 0)))))


# Name, channels, kernel and stride in space, kernel and dilation in time.
_STAGES = (
    ("stem", 24, 5, 2, 3, 1),
    ("early", 40, 3, 2, 3, 1),
    ("middle", 72, 3, 2, 3, 1),
    ("late", 104, 3, 1, 3, 2),
    ("last", 128, 3, 1, 3, 2),
)
REACH = sum((kernel - 1) * dilation for *_, kernel, dilation in _STAGES)
"""Frames before its own that a feature frame depends on."""


class Past:
    """What one stream of frames has left behind: the state belongs to the stream, not to the network."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        """Feature frames that are pooled and explained."""
        self.count = 0
        """Frames since the beginning."""
        self.layers: dict[str, Tensor] = {}
        """For each temporal layer its last inputs: past C h w, frame n at n % past."""
        self.features: Tensor | None = None
        """The last feature frames twice over, 2 frames K h w, so that any window of them lies in one piece."""

    def fork(self) -> Past:
        """Another state that has seen the same."""
        other = Past(self.frames)
        other.count = self.count
        other.layers = {name: memory.clone() for name, memory in self.layers.items()}
        other.features = None if self.features is None else self.features.clone()
        return other


class Causal(Staged):
    """The network of `models/figures` over clips N 3 T H W: T feature frames, each of what was seen up to then."""

    def __init__(self, classes: int, training: bool = False):
        super().__init__()
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 3
        for name, channels, kernel, stride, kernel_t, dilation in _STAGES:
            stages[name] = nn.Sequential(
                Spatial(inputs, channels, kernel, stride, training), Temporal(channels, kernel_t, dilation, training)
            )
            inputs = channels
        self.stages = nn.ModuleDict(stages)
        self.weight = nn.Parameter(torch.randn(classes, inputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(classes))

    @torch.inference_mode()
    def advance(self, frames: Tensor, pasts: list[Past]) -> Tensor:
        """The next frame of each of N streams, N 3 H W: their last feature frames, N K t h w; frames older than the
        stream are zeros.

        Equal to `extract` over all frames since each stream's beginning, for its last t feature frames.
        """
        x = frames
        for name, stage in self.stages.items():
            for layer in stage.children():
                if isinstance(layer, Temporal):
                    x = self._temporal(name, layer, x, pasts)
                elif isinstance(layer, Spatial):
                    x = self._spatial(layer, x)
        for past, of in zip(pasts, x, strict=True):
            if past.features is None:
                past.features = x.new_zeros((2 * past.frames, *of.shape))
            slot = past.count % past.frames
            past.features[slot] = past.features[slot + past.frames] = of
            past.count += 1
        windows = []
        for past in pasts:
            assert past.features is not None
            begin = past.count % past.frames
            windows.append(past.features[begin : begin + past.frames])
        return torch.stack(windows).transpose(1, 2)

    @staticmethod
    def _spatial(layer: Spatial, x: Tensor) -> Tensor:
        conv = layer.conv
        return F.conv2d(x, conv.weight[:, :, 0], conv.bias, conv.stride[1:], conv.padding[1:]).relu_()

    @staticmethod
    def _temporal(name: str, layer: Temporal, x: Tensor, pasts: list[Past]) -> Tensor:
        dilation = layer.conv.dilation[0]
        taps = []
        for past, now in zip(pasts, x, strict=True):
            if name not in past.layers:
                past.layers[name] = x.new_zeros((layer.past, *now.shape))
            memory = past.layers[name]
            before = [memory[(past.count - back) % layer.past] for back in range(layer.past, 0, -dilation)]
            taps.append(torch.cat((*before, now)))
            memory[past.count % layer.past] = now
        kernel = layer.conv.weight[:, :, :, 0, 0].transpose(1, 2).flatten(1)  # C (k C), oldest first
        return (x + F.conv2d(torch.stack(taps), kernel[:, :, None, None], layer.conv.bias)).relu_()

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        in_space = []
        for layer in self.stages[stage].children():
            if isinstance(layer, Spatial):
                in_space.append((layer.conv.kernel_size[1], layer.conv.stride[1], int(layer.conv.padding[1])))
        # A cell belongs to the frame that completed it; what it saw of the past does not move it there.
        return [], in_space, in_space

    def load_folded(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights that the recipe wrote, BatchNorm folded already."""
        try:
            self.load_state_dict(dict(weights), assign=False)
        except RuntimeError as error:
            raise UserError(
                f"these are not the weights of this network: {str(error).splitlines()[-1].strip()}"
            ) from None

    def folded(self) -> Causal:
        """This network, as trained, with each BatchNorm folded into its convolution."""
        plain = Causal(len(self.bias))
        state = {name: value for name, value in self.state_dict().items() if name in plain.state_dict()}
        for name, trained in self.stages.named_modules():
            if not isinstance(trained, Spatial | Temporal):
                continue
            norm = trained.norm
            assert isinstance(norm, nn.BatchNorm3d)
            assert norm.running_var is not None
            assert norm.running_mean is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            assert trained.conv.bias is not None
            state[f"stages.{name}.conv.weight"] = trained.conv.weight * scale[:, None, None, None, None]
            state[f"stages.{name}.conv.bias"] = (trained.conv.bias - norm.running_mean) * scale + norm.bias
        plain.load_state_dict(state)
        return plain.eval()
