"""A clip that somebody looks at closely: the frames as the network saw them, its whole map, its pyramid as a tree."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import msgspec
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from rtx.engine.engine import Engine, Found, to_wire
from rtx.errors import UserError
from rtx.explain.pyramid import Layer, tree
from rtx.link.wire import Cells, HeldClip, RelevanceMap, TreeLayer

QUALITY = 85
DEPTH = 2
"""Layers below the features that a tree goes down."""
STRONGEST = 8
"""Channels that are named of each layer."""
MOST_LAYERS = 64
MAX_SIDE = 28


def frames_of(found: Found) -> NDArray[np.uint8]:
    """The clip's frames T H W 3, also of a network that follows the stream."""
    return all_frames_of(found)[-found.input_size[0] :]


def all_frames_of(found: Found) -> NDArray[np.uint8]:
    """The clip's frames, and before them those that it depends on beside, where a network follows the stream."""
    newest = found.clip.frames
    return np.concatenate([np.stack(found.clip.before), newest]) if found.clip.before else newest


def explained_class(engine: Engine, found: Found) -> int:
    """The number of the class that was explained; of one that is blind to it, the likeliest."""
    return engine.labels.index(found.explanation.target or found.explanation.top[0].label)


def held(found: Found, layers: tuple[TreeLayer, ...] = ()) -> HeldClip:
    """The clip as it travels."""
    jpegs = [cv2.imencode(".jpg", of, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes() for of in frames_of(found)]
    whole = to_wire(found.relevance, found.cells, found.input_size, whole=True)
    explanation = msgspec.structs.replace(found.explanation, map=whole, evidence=bool((whole.array() > 0).any()))
    return HeldClip(explanation, tuple(jpegs), layers)


def tree_of(engine: Engine, found: Found) -> tuple[TreeLayer, ...]:
    """The Class Feature Pyramid of the explained class, or of the likeliest; takes a recorded pass. UserError."""
    if engine.backend.name != "torch":
        raise UserError(f"a pyramid reads layers, and backend {engine.backend.name!r} gives features only")
    forward = engine.backend.forward(frames_of(found)[None], [explained_class(engine, found)])
    root = tree(forward, forward.theta, DEPTH)
    return tuple(_layers(root, forward.input_size))[:MOST_LAYERS]


def _layers(root: Layer, input_size: tuple[int, int, int]) -> Iterator[TreeLayer]:
    """Level by level, so that what is above comes first."""
    level, count = [(root, -1)], 0
    while level:
        following = []
        for layer, above in level:
            counted = layer.counted[0]
            all_of_it = float(counted.sum())
            strongest = counted.topk(min(STRONGEST, len(counted)))
            named = zip(strongest.indices.tolist(), strongest.values.tolist(), strict=True)
            yield TreeLayer(
                above, int(layer.channels[0].sum()), len(counted),
                tuple((channel, share / all_of_it) for channel, share in named if share > 0),
                _map(layer, input_size),
            )  # fmt: skip
            following += [(below, count) for below in layer.below]
            count += 1
        level = following


def _map(layer: Layer, input_size: tuple[int, int, int]) -> RelevanceMap:
    """A layer's map, of no more than `MAX_SIDE` cells a side."""
    relevance = layer.relevance[0].float()
    every = -(-max(relevance.shape[1:]) // MAX_SIDE)
    if every == 1:
        return RelevanceMap.of(relevance.cpu().numpy(), layer.cells, input_size)
    pooled = F.avg_pool2d(relevance, every, ceil_mode=True, count_include_pad=False)
    (in_time, *stride), (first, *centre) = layer.cells.stride, layer.cells.centre
    y, x = (at + (every - 1) / 2 * step for at, step in zip(centre, stride, strict=True))
    cells = Cells((in_time, every * stride[0], every * stride[1]), (first, y, x))
    return RelevanceMap.of(pooled.cpu().numpy(), cells, input_size)
