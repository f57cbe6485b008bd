"""Temporal smoothing: a frame's map is the mean over the clips that held it."""

from typing import TYPE_CHECKING, Annotated, Literal

from rtx.explain.registry import Range, step
from rtx.explain.steps import Memory, Stepped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from rtx.nets.forward import Forward


@step(paper="mean over overlapping clips, as sliding windows over a video are joined")
def fuse(
    forward: "Forward",
    relevance: "Tensor",
    *,
    clips: Annotated[int, Range(1, 32)] = 8,
    beyond: Literal["hold", "nothing"] = "hold",
    memory: list[Memory] | None = None,
) -> Stepped:
    """At each frame, the mean over the last clips that held it: relevance N t h w -> N T H W.

    The newest frame was in the newest clip alone, so that nothing would be smoothed where one looks. Therefore clips
    that ended before a frame speak for it, too, by their last frame, weighted by how much of the newest clip's time
    they have seen (`beyond="hold"`). `"nothing"` leaves them out. One clip alone (no `memory`) stays as it is.
    """
    import torch

    from rtx.explain import placing

    full = placing.upsample(forward, relevance)
    if memory is None:
        return Stepped(full)
    return Stepped(torch.stack([_fused(of, r, clips, beyond) for of, r in zip(memory, full, strict=True)]))


def _fused(memory: Memory, newest: "Tensor", clips: int, beyond: str) -> "Tensor":
    """T H W of the newest clip, over this camera's last clips."""
    import numpy as np

    times = memory.times
    if len(times) != len(newest):
        return newest  # A stream that has not seen a whole clip yet.
    if memory.maps and (memory.maps[-1][1].shape != newest.shape or memory.maps[-1][0][-1] >= times[-1]):
        memory.maps.clear()  # Another explainer, or a clock set back.
    memory.maps.append((times, newest))
    while len(memory.maps) > clips:
        memory.maps.popleft()
    at = np.asarray(times, np.float64)
    span = max(times[-1] - times[0], 1)
    total, weights = newest.new_zeros(newest.shape), newest.new_zeros(len(times))
    for clip_times, of in memory.maps:
        seen = np.asarray(clip_times, np.float64)
        held = (at >= seen[0]) & (at <= seen[-1])
        common = max(0, clip_times[-1] - times[0]) / span
        later = (at > seen[-1]) * (common if beyond == "hold" else 0.0)
        weight = newest.new_tensor(np.where(held, 1.0, later))
        weights += weight
        total += weight[:, None, None] * _at(of, seen, at)
    return total / weights[:, None, None]


def _at(relevance: "Tensor", seen: "NDArray[np.float64]", times: "NDArray[np.float64]") -> "Tensor":
    """A map whose frames have these times, at others: T H W, linear between frames, held beyond."""
    import numpy as np

    where = np.interp(times, seen, np.arange(len(seen)))
    low = np.floor(where).astype(int)
    part = relevance.new_tensor(where - low)[:, None, None]
    high = np.minimum(low + 1, len(seen) - 1)
    return relevance[low] * (1 - part) + relevance[high] * part
