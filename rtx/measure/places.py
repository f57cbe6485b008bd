"""Where a clip's relevance lies, of scenes whose truth is known: on the limbs that act, the figure, what distracts."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rtx.measure.boxes import above, says
from rtx.measure.localisation import disc


class Place(NamedTuple):
    """What one region of N clips gets, N float64 each. Of what is never to be seen nothing can be said: NaN."""

    hit: Tensor
    """The share of frames whose hottest place lies on it, widened by 4 of 112 pixels: 0..1."""
    chance: Tensor
    """What that would be by chance: the widened region's share of the picture."""
    ratio: Tensor
    """Its share of the positive relevance over its share of the area: 1 is chance, 0 is none. NaN of a map of which
    nothing is positive; it hits nothing, and that counts."""
    iou: Tensor
    """Of it and where the map reaches half way from its mean to its most, over frames."""


def place(relevance: Tensor, region: Tensor) -> Place:
    """Maps N T H W and their regions, bool, or one for all: 1 T H W. Frames in which it is not seen do not count."""
    n, frames = relevance.shape[:2]
    wide = widened(region.flatten(0, 1)).view(region.shape).expand_as(relevance).flatten(0, 1)
    region = region.expand_as(relevance)
    seen = region.flatten(2).any(dim=2)
    maps, masks = relevance.flatten(0, 1), region.flatten(0, 1)
    hottest = maps.flatten(1).argmax(dim=1, keepdim=True)
    hot = above(maps)

    def over_frames(values: Tensor) -> Tensor:
        """Of the frames that count."""
        return (values.double().view(n, frames) * seen).sum(dim=1) / seen.sum(dim=1)

    positive = relevance.double().clamp(min=0) * seen[:, :, None, None]
    area = over_frames(masks.double().mean(dim=(1, 2)))
    return Place(
        over_frames(wide.flatten(1).gather(1, hottest)[:, 0] & says(maps)),
        over_frames(wide.double().mean(dim=(1, 2))),
        (positive * region).flatten(1).sum(dim=1) / positive.flatten(1).sum(dim=1) / area,
        over_frames((hot & masks).sum(dim=(1, 2)).double() / (hot | masks).sum(dim=(1, 2)).clamp(min=1)),
    )


def widened(masks: Tensor) -> Tensor:
    """N H W bool and what lies within 4 of 112 pixels around it, as `localisation.widened` has it of one picture."""
    round_ = torch.from_numpy(disc(masks.shape[1])).to(masks.device, torch.float32)
    return F.conv2d(masks[:, None].float(), round_[None, None], padding=round_.shape[0] // 2)[:, 0] > 0.5
