"""Somebody else's network, taken as it is: one pass over a clip tells what layers it has and what its head is."""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rtx.errors import UserError, unknown
from rtx.link.wire import Cells
from rtx.nets.forward import Network, exact
from rtx.nets.places import Places, cells_of, on_pixels
from rtx.nets.record import record, twin

Triple = tuple[int, int, int]


class Seen(NamedTuple):
    """What a layer gave."""

    shape: Triple
    cells: Cells


class Head(NamedTuple):
    """A head of pooling and one linear layer."""

    weight: Tensor
    """M K."""
    pooling: Tensor
    """t, mean 1."""


class Foreign(Network):
    """`module` in eval mode, with its parameters; the module itself is not touched, and neither are its gradients.

    `layer` gives the features: the name of a module whose output is N K t h w; without it, the last that still has time
    and space. `size`: T H W of the clips that it will see. UserError where it does not fit.
    """

    def __init__(self, module: nn.Module, size: Triple, layer: str | None = None):
        super().__init__()
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError("a scripted network's layers cannot be looked into: give the module that it was made of")
        # Of a compiled one, what was compiled.
        self.module, self._copied = _apart(getattr(module, "_orig_mod", module))
        self.size = size
        some = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
        random = torch.Generator().manual_seed(0)
        clips = torch.randn(2, 3, *size, generator=random).to(some)
        self._seen, self.classes = self._look(clips[:1])
        self.names = tuple(self._seen)
        self.last = self._chosen(layer)
        self._head = self._find_head(clips)

    @property
    def main(self) -> tuple[str, ...]:
        """Of its layers, those that are in no other; where one is around all, those in that."""
        found = self.names
        while True:
            outer = [n for n in found if not any(n.startswith(f"{other}.") for other in found)]
            if len(outer) > 1 or len(found) == len(outer):
                return tuple(outer)
            found = tuple(n for n in found if n not in outer)

    def path(self, layer: str) -> str:
        return f"module.{layer}"

    def forward(self, clip: Tensor) -> Tensor:
        """What the module says: logits N M, in float32 at least."""
        self._refresh()
        said = self.module(clip)
        return exact(said) if isinstance(said, Tensor) else said

    def _refresh(self) -> None:
        """Take over what has changed in the module's buffers; no more, for another thread may be reading."""
        with torch.no_grad():
            for mine, theirs in self._copied:
                if not torch.equal(mine, theirs):
                    mine.copy_(theirs)

    def run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        kept: list[Tensor] = []

        def keeping(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                out = forward(*args, **kwargs)
                kept[:] = [out.clone()]  # What comes next may write into it.
                return out

            return run

        logits = twin(self, {self.path(self.last): keeping})(clip)
        return kept[0], logits

    @property
    def linear(self) -> Tensor | None:
        return None if self._head is None else self._head.weight

    def pooling(self, frames: int) -> Tensor:
        return torch.ones(frames) if self._head is None else self._head.pooling

    def cells(self, input_size: Triple, layer: str | None = None) -> Cells:
        return self._seen[layer or self.last].cells

    def shape(self, input_size: Triple, layer: str | None = None) -> Triple:
        return self._seen[layer or self.last].shape

    def _look(self, clip: Tensor) -> tuple[dict[str, Seen], int]:
        """All layers with time and space, in the order in which they were done, and the number of classes."""
        seen: dict[str, Seen] = {}

        def looking(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                out = forward(*args, **kwargs)
                key = name.removeprefix("module.")
                seen.pop(key, None)
                if isinstance(out, Tensor) and out.dim() == 5 and out.shape[3] * out.shape[4] > 1:
                    t, h, w = out.shape[2:]
                    seen[key] = Seen((t, h, w), cells_of(out, self.size))
                return out

            return run

        clip = on_pixels(clip.clone())
        layers = [name for name, _ in self.named_modules() if name not in ("", "module")]
        try:
            with torch.no_grad(), Places():
                logits = twin(self, dict.fromkeys(layers, looking))(clip)
        except UserError:
            raise
        except Exception as error:
            shape = "x".join(map(str, clip.shape))
            why = (str(error).strip().splitlines() or [""])[0]
            raise UserError(
                f"the network does not take a clip N C T H W of {shape}: {type(error).__name__}: {why}; "
                "its card's [clip] says what it takes"
            ) from None
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            what = f"a tensor of {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise UserError(f"the network returns {what}; wrap it so that it returns logits N M")
        if bool((logits >= 0).all()) and bool((exact(logits).sum(dim=1) - 1).abs().max() < 1e-3):
            raise UserError("the network returns probabilities; wrap it so that it returns what its softmax takes")
        return seen, int(logits.shape[1])

    def _chosen(self, layer: str | None) -> str:
        modules = dict(self.module.named_modules())
        if layer is not None:
            if layer not in modules or layer == "":
                raise unknown("layer", layer, [name for name in modules if name])
            if layer not in self._seen:
                raise UserError(
                    f"layer {layer!r} has no time or no space any more (its output is not N K t h w); "
                    f"the last one that has: {self._last()!r}"
                )
            return layer
        return self._last()

    def _last(self) -> str:
        if not self._seen:
            raise UserError("the network has no layer with time and space (a module with output N K t h w)")
        timed = [name for name, of in self._seen.items() if of.shape[0] > 1]
        return (timed or list(self._seen))[-1]

    def _find_head(self, clips: Tensor) -> Head | None:
        """The head, if on each of several clips scores are a pooled linear function of the features."""
        path = self.path(self.last)
        heads: list[Head] = []
        biases: list[Tensor] = []
        for clip in clips:
            recorded = record(self, clip[None], [path], also=path)
            weight = self._linear(int(recorded.also.shape[1]))
            if weight is None:
                return None
            # Of half precision, sums differ in the third digit.
            tolerance = max(1e-3, 8 * torch.finfo(recorded.also.dtype).eps)
            some = sorted({0, self.classes // 2, self.classes - 1})  # All of them would be a whole Jacobian.
            (output,) = recorded.outputs.values()
            slopes = [
                torch.autograd.grad(recorded.logits[0, c], output, retain_graph=True, materialize_grads=True)[0][0]
                for c in some
            ]
            slope = exact(torch.stack(slopes))  # classes K t h w
            over_time = (slope.sum(dim=(3, 4)) * weight[some][:, :, None]).sum(dim=(0, 1))
            head = Head(weight, over_time / over_time.mean())
            expected = weight[some][:, :, None, None, None] * head.pooling[:, None, None] / slope[0, 0].numel()
            if not _alike(slope, expected.expand_as(slope), tolerance):
                return None
            pooled = (exact(recorded.also.detach()).mean(dim=(3, 4)) * head.pooling).mean(dim=2)
            heads.append(head)
            biases.append(recorded.logits.detach() - pooled @ weight.T)
        scale = float(recorded.logits.detach().abs().amax())
        return heads[0] if _alike(biases[0], biases[1], tolerance, scale) else None

    def _linear(self, channels: int) -> Tensor | None:
        """The last layer of M x K weights."""
        for module in reversed(list(self.module.modules())):
            weight = getattr(module, "weight", None)
            if not isinstance(weight, Tensor) or weight.shape[:2] != (self.classes, channels):
                continue
            if weight.numel() == self.classes * channels:
                return exact(weight).reshape(self.classes, channels)
        return None


def _alike(a: Tensor, b: Tensor, tolerance: float, scale: float | None = None) -> bool:
    return bool((a - b).abs().amax() <= tolerance * (scale or float(b.abs().amax())))


def _apart(module: nn.Module) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """A copy in eval mode that shares the parameters' values, without gradients; and its buffers, with what they copy.

    Buffers are copies because a pass may write into them.
    """
    shared: dict[int, Any] = {id(parameter): parameter.detach() for parameter in module.parameters()}
    for of in module.modules():
        for value in of.__dict__.values():
            if isinstance(value, Tensor):  # Made of others, as old ways to normalise weights do.
                shared.setdefault(id(value), value.detach())
    try:
        other = copy.deepcopy(module, shared)
    except Exception as error:
        raise UserError(
            f"the network cannot be copied ({type(error).__name__}: {error}): rtx needs one that shares the weights"
        ) from error
    other.__dict__["training"] = False
    for of in other.modules():
        of.__dict__["training"] = False
    return other, list(zip(other.buffers(), module.buffers(), strict=True))


def make(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """What `module:factory` makes. UserError names what is missing; an error of the factory's own is passed on."""
    where, _, name = architecture.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(where)
    except ImportError as error:
        raise UserError(f"model {architecture!r}: {error}; it is looked for here and on Python's path") from None
    except Exception as error:
        raise UserError(f"model {architecture!r}: {where} fails: {type(error).__name__}: {error}") from error
    if not hasattr(found, name):
        raise unknown(f"factory in {where}:", name, [n for n in vars(found) if not n.startswith("_")])
    try:
        made = getattr(found, name)(**arguments)
    except Exception as error:
        raise UserError(f"model {architecture!r} could not be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise UserError(f"model {architecture!r} makes a {type(made).__name__}, not a torch module")
    return made
