"""The torch backend: device and precision on purpose, one forward pass a batch. Others replace how the pass is made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtx.config import DeviceName, PrecisionName
from rtx.engine.flow import of_clip
from rtx.engine.window import PAD_VALUE
from rtx.errors import UserError
from rtx.explain.chain import FEATURES_ONLY
from rtx.machine import default_threads
from rtx.nets.cards import Card
from rtx.nets.causal import REACH, Causal, Past
from rtx.nets.foreign import Foreign, make
from rtx.nets.forward import Forward, Network, Run
from rtx.nets.zoo import build

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: DeviceName) -> torch.device:
    """`auto` takes CUDA where it works; `cuda` without a usable GPU is an error, never a slow run on the CPU."""
    if wanted == "cuda" and not torch.cuda.is_available():
        build_name = f"torch {torch.__version__}"
        why = "no usable GPU or driver" if torch.version.cuda else "this torch is a build for CPUs"
        raise UserError(f"device 'cuda' is not usable here: {why} ({build_name}); use --device cpu, see `rtx doctor`")
    use_cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_cuda else "cpu")


def cpu_has_bf16() -> bool:
    """True where the CPU multiplies bf16 itself; elsewhere bf16 is slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(wanted: PrecisionName, device: torch.device) -> Precision:
    if wanted == "fp16" and device.type == "cpu":
        raise UserError("precision 'fp16' needs a GPU; use bf16 or fp32 on a CPU")
    if wanted == "bf16" and device.type == "cpu" and not cpu_has_bf16():
        raise UserError("precision 'bf16': this CPU does not multiply bf16, and a clip would take minutes; use fp32")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if cpu_has_bf16() else "fp32"


Placed = TypeVar("Placed", bound=nn.Module)


def _precision_of(dtype: torch.dtype) -> Precision:
    for name, of in _DTYPES.items():
        if of == dtype:
            return name
    raise UserError(f"the network's weights are {dtype}; rtx runs {', '.join(map(str, _DTYPES.values()))}")


def _labels(card: Card, network: Network) -> tuple[str, ...]:
    """The classes' names, or numbers. UserError where there are more or fewer names than scores."""
    if not isinstance(network, Foreign):
        return card.labels
    if card.labels and len(card.labels) != network.classes:
        raise UserError(
            f"{card.name}: labels.txt names {len(card.labels)} classes, but the network scores {network.classes}"
        )
    return card.labels or tuple(f"class {number}" for number in range(network.classes))


class TorchBackend:
    """A network on a device, taking frames as the cameras gave them.

    `module`: a network that the caller has. It stays where it is and as it is; device and precision are its own.
    """

    name = "torch"

    def __init__(
        self,
        card: Card,
        device: DeviceName = "auto",
        precision: PrecisionName = "auto",
        threads: int | None = None,
        module: nn.Module | None = None,
    ):
        self.card = card
        # Layers of a network that is followed frame by frame are too small to be shared out.
        if threads is not None or module is None:  # Whose network it is, has chosen for the process, too.
            torch.set_num_threads(threads or (1 if card.causal else default_threads()))
        self.network: Network
        if module is not None:
            some = next(module.parameters(), torch.zeros(()))
            self.device, self.precision = some.device, _precision_of(some.dtype)
            self.network = Foreign(module, card.clip.input_size, card.layer)
        else:
            self.device = choose_device(device)
            wanted = card.precision if precision == "auto" else precision
            if card.foreign:
                # Nobody knows how well somebody's network bears rounding.
                self.precision = choose_precision("fp32" if wanted == "auto" else wanted, self.device)
                made = make(card.architecture, card.arguments)
                self.network = Foreign(self._placed(made), card.clip.input_size, card.layer)
            else:
                self.precision = choose_precision(wanted, self.device)
                self.network = self._placed(build(card))
                # The head is small and its sums decide the class: always in float32.
                for name, parameter in self.network.named_parameters():
                    if not name.startswith("stages."):
                        parameter.data = parameter.data.float()
        self.run: Run = self.network.run
        self.labels = _labels(card, self.network)
        clip = card.clip
        self._mean = torch.tensor(clip.mean, device=self.device).view(1, 3, 1, 1, 1)
        self._std = torch.tensor(clip.std, device=self.device).view(1, 3, 1, 1, 1)
        self._bounds = self._least(0.0, -1.0), self._least(255.0, 1.0)
        self._rest: dict[tuple[int, ...], Tensor] = {}

    def _placed(self, network: Placed) -> Placed:
        try:
            moved = network.to(self.device, _DTYPES[self.precision])
        except ValueError as error:  # Layers that take their size from the first clip have no weights yet.
            raise UserError(f"{self.card.name} cannot be placed on {self.device}: {error}") from None
        for parameter in moved.parameters():
            if parameter.dim() == 5:
                parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
        return moved

    def _least(self, pixel: float, flow: float) -> Tensor:
        """What the network sees of a clip all of whose pixels and whose flow are that: 1 C 1 1 1."""
        parts = [] if self.card.flow is not None and self.card.flow.alone else [(pixel - self._mean) / self._std]
        if self.card.flow is not None:
            parts.append(torch.full((1, 2, 1, 1, 1), flow, device=self._mean.device))
        return torch.cat(parts, dim=1)

    def normalise(self, frames: NDArray[np.uint8], flow: NDArray[np.float32] | None = None) -> Tensor:
        """N T H W 3 BGR uint8 -> N C T H W on the device, as the network wants it: RGB, and flow where it takes that.

        `flow`, N T H W 2 in pixels, is made of the frames where it is not at hand.
        """
        wanted = self.card.flow
        parts = []
        if wanted is None or not wanted.alone:
            pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(self._mean.device)
            parts.append((pixels.flip(-1).permute(0, 4, 1, 2, 3).float() - self._mean) / self._std)
        if wanted is not None:
            given = flow if flow is not None else np.stack([of_clip(clip) for clip in frames])
            moved = torch.from_numpy(given).to(self._mean.device).permute(0, 4, 1, 2, 3)
            parts.append((moved.float() / wanted.limit).clamp(-1, 1))
        seen = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return seen.to(self.dtype, memory_format=torch.channels_last_3d)

    @property
    def dtype(self) -> torch.dtype:
        """Of the clips that the network takes."""
        return _DTYPES[self.precision]

    @torch.inference_mode()
    def forward(
        self, frames: NDArray[np.uint8], targets: Sequence[int | None], flow: NDArray[np.float32] | None = None
    ) -> Forward:  # fmt: skip
        """A pass over a batch N T H W 3 (BGR, uint8), made when first asked for; a target of None is the top class."""
        clip = self.normalise(frames, flow)
        return self._explainable(
            clip, targets, int(frames.shape[1]), None if self.name in FEATURES_ONLY else self.network
        )

    @torch.inference_mode()
    def rest(self, size: tuple[int, int, int], seen: int = 0) -> Tensor:
        """Features 1 K t h w of a clip of T H W in which nothing is to be seen, float32; made once for each size.

        Of a stream that is followed, after it has `seen` so many frames of that.
        """
        known = self._rest.get((*size, seen))
        if known is None:
            frames, height, width = size
            grey = np.full((1, seen + frames, height, width, 3), PAD_VALUE, np.uint8)
            clip = self.normalise(grey, np.zeros((*grey.shape[:-1], 2), np.float32))
            followed = self.network if isinstance(self.network, Causal) and seen else None
            features = self.run(clip)[0] if followed is None else followed.extract(clip)[:, :, seen:]
            known = self._rest[*size, seen] = features.float()
        return known

    @torch.inference_mode()
    def follow(self, frames: NDArray[np.uint8], pasts: list[Past], targets: Sequence[int | None]) -> Forward:
        """The next frame N 1 H W 3 of each of N streams, which their states then remember; features of their last T."""
        assert isinstance(self.network, Causal)
        newest = self.normalise(frames)
        features = self.network.advance(newest[:, :, 0], pasts)
        forward = self._explainable(newest, targets, pasts[0].frames, seen=REACH)
        forward.give(features, self.network.classify(features))
        return forward

    def _explainable(
        self, clip: Tensor, targets: Sequence[int | None], frames: int, network: Network | None = None, seen: int = 0
    ) -> Forward:
        size = (frames, int(clip.shape[3]), int(clip.shape[4]))
        return Forward(
            clip=clip,
            wanted=targets,
            weight=self.network.linear,
            pooling=self.network.pooling(self.network.shape(size)[0]),
            cells=self.network.cells(size),
            frames=frames,
            network=network,
            run=self.run,
            bounds=self._bounds,
            chosen=self.card.layers,
            theta=self.card.theta,
            resting=partial(self.rest, size, seen),
        )

    def finish(self) -> None:
        """Wait until the device has done what it was given, so that a clock can be read."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
