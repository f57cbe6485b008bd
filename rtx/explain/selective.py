"""Selective relevance: of any map, only what changes in time."""

from typing import TYPE_CHECKING, Annotated

from rtx.explain.registry import Range, step
from rtx.explain.steps import Memory, Stepped

if TYPE_CHECKING:
    from torch import Tensor

    from rtx.nets.forward import Forward


FLAT = 1e-4
"""An edge below this share of the map's largest value is rounding."""


CLIPS = 8
"""The threshold's deviation is that of so many clips, so that it, and with it the mask, does not flicker."""


@step(paper="Hiley et al. 2020, Explaining Motion Relevance for Activity Recognition")
def selective(
    forward: "Forward",
    relevance: "Tensor",
    *,
    n: Annotated[float, Range(0, 20)] = 4.0,
    memory: list[Memory] | None = None,
) -> Stepped:
    """Keep relevance where its temporal Sobel edge exceeds n deviations: relevance N t h w -> N T H W.

    G = |Sobel_t * R| at clip resolution: derivative along t, smoothing along h and w, replicate padding (zeros would
    invent edges in the first and last frames). Kept: R where G > n std(G), population deviation over the clip.

    Live (`memory` given, one a clip): the frames after the last feature cell's centre are all equal there, so that
    their difference is exactly zero; they take the slope between the last two feature frames instead. The threshold's
    deviation is the root mean square over the last clips.
    """
    # Upsampling and Sobel are both linear along each axis, so that their product is one matrix an axis.
    from rtx.explain import placing

    t, y, x = placing.matrices(forward, relevance)
    r = placing.apply(relevance, (t, y, x))
    slope = _live_slope(t) if memory is not None else _difference(t)
    g = placing.apply(relevance, (slope, _smooth(y), _smooth(x))).abs_()
    deviation = g.flatten(1).std(dim=1, correction=0)
    if memory is not None:
        deviation = _remembered(deviation, memory)
    # In a still map the edges are rounding errors, and their deviation with them: no threshold of its own.
    rounding = FLAT * r.abs().amax(dim=(1, 2, 3))
    kept = r * (g > (n * deviation).maximum(rounding)[:, None, None, None])
    share = kept.clamp(min=0).sum(dim=(1, 2, 3)) / r.clamp(min=0).sum(dim=(1, 2, 3))
    return Stepped(kept, share)


def _difference(p: "Tensor") -> "Tensor":
    """[-1 0 1] along the first axis with replicate padding."""
    first, last = p[:1], p[-1:]
    padded = first.new_zeros(len(p) + 2, p.shape[1])
    padded[0], padded[1:-1], padded[-1] = first, p, last
    return padded[2:] - padded[:-2]


def _smooth(p: "Tensor") -> "Tensor":
    """[1 2 1] along the first axis with replicate padding."""
    padded = p.new_zeros(len(p) + 2, p.shape[1])
    padded[0], padded[1:-1], padded[-1] = p[0], p, p[-1]
    return padded[2:] + 2 * p + padded[:-2]


def _live_slope(t: "Tensor") -> "Tensor":
    """As `_difference`, but frames on which only the last feature frame counts take the last slope between cells."""
    slope = _difference(t)
    cells = t.shape[1]
    if cells < 2:
        return slope
    # Two frames apart, as [-1 0 1]; the steepest row between the last two cells is their full slope.
    steepest = slope[:, -1].max()
    newest = t[[*range(1, len(t)), -1], -1] >= 1  # Their successor, too, lies beyond the last cell.
    slope[newest] = 0
    slope[newest, -1], slope[newest, -2] = steepest, -steepest
    return slope


def _remembered(deviation: "Tensor", memory: list[Memory]) -> "Tensor":
    for one, of in zip(deviation.tolist(), memory, strict=True):
        of.deviations.append(one)
        while len(of.deviations) > CLIPS:
            of.deviations.popleft()
    squares = [sum(d * d for d in of.deviations) / len(of.deviations) for of in memory]
    return deviation.new_tensor(squares).sqrt()
