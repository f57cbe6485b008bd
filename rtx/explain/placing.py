"""From feature resolution to clip resolution, each cell where its receptive field lies."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from rtx.geometry import place
from rtx.link.wire import Cells
from rtx.nets.forward import Forward

Matrices = tuple[Tensor, Tensor, Tensor]


def cells_of(forward: Forward, relevance: Tensor) -> Cells:
    """Where the cells of a map lie: at the features' places, or one a pixel where it is at clip resolution."""
    if tuple(relevance.shape[1:]) == forward.input_size:
        return Cells((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    return forward.cells


@lru_cache(maxsize=256)
def axis(cells: int, size: int, stride: float, centre: float, spline: bool = False) -> NDArray[np.float32]:
    """Weights size x cells that interpolate a map's axis at each frame or pixel; linear, or the cubic spline."""
    positions = np.arange(size, dtype=np.float64)
    if not spline:
        return place(cells, positions, stride, centre)
    at = np.clip((positions - centre) / stride, 0, cells - 1)
    columns = [ndimage.map_coordinates(row, [at], order=3, mode="nearest") for row in np.eye(cells)]
    return np.stack(columns, axis=1).astype(np.float32)


def matrices(forward: Forward, relevance: Tensor, spline: bool = False) -> Matrices:
    """Interpolation along t, y, x of a map N t h w of this forward pass."""
    cells = cells_of(forward, relevance)
    found = zip(relevance.shape[1:], forward.input_size, cells.stride, cells.centre, strict=True)
    t, y, x = (torch.from_numpy(axis(*about, spline)).to(relevance) for about in found)
    return t, y, x


def apply(relevance: Tensor, along: Matrices) -> Tensor:
    """One matrix along each axis: N t h w -> N T H W."""
    t, y, x = along
    n, frames, height, width = relevance.shape
    grown = (t @ relevance.reshape(n, frames, height * width)).reshape(n, len(t), height, width)
    return y @ grown @ x.T


def upsample(forward: Forward, relevance: Tensor, spline: bool = False) -> Tensor:
    """The map at clip resolution: N t h w -> N T H W."""
    return apply(relevance, matrices(forward, relevance, spline))


def upsample_layer(forward: Forward, layer: str, relevance: Tensor) -> Tensor:
    """A layer's map at clip resolution, its cells where they lie: N t h w -> N T H W."""
    return upsample_at(forward, forward.whole.cells(forward.input_size, layer), relevance)


def upsample_at(forward: Forward, cells: Cells, relevance: Tensor) -> Tensor:
    """A map whose cells lie there at clip resolution: N t h w -> N T H W."""
    return upsample(replace(forward, cells=cells), relevance)
