"""A red mat on the hall's floor: it lies still, and has nothing to do with what anybody does."""

from __future__ import annotations

import cv2
import numpy as np

from rtx.scenes.film import Film
from rtx.scenes.person import NUMBERS, foot
from rtx.scenes.scene import Cast

MAT = max(NUMBERS.values()) + 1
"""Its pixels' number in a label picture."""
_COLOUR = (38, 32, 196)
_GRAIN = 5.0


def lay_mat(shot: Film, cast: Cast) -> Film:
    """The film with a mat beside the figure, behind whatever moves."""
    random = np.random.default_rng([0x3A7, cast.seed, int(cast.held_out)])
    frames, height, width = shot.labels.shape
    x = width / height / 2 + cast.x + float(random.choice([-1, 1]) * random.uniform(0.16, 0.24))
    y = min(foot(cast.size) + float(random.uniform(-0.05, 0.03)), 0.95)
    wide, deep, slant = random.uniform(0.07, 0.11), random.uniform(0.022, 0.04), random.uniform(-0.03, 0.03)
    corners = np.array([(-wide + slant, -deep), (wide + slant, -deep), (wide - slant, deep), (-wide - slant, deep)])
    lies = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(lies, np.round((corners + np.array([x, y])) * height * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    seen = (lies == 1) & (shot.labels == 0)
    grain = random.normal(0, _GRAIN, (frames, height, width, 1))
    painted = (np.array(_COLOUR) * cast.gain + grain).clip(0, 255).astype(np.uint8)
    return Film(np.where(seen[..., None], painted, shot.frames), np.where(seen, np.uint8(MAT), shot.labels), shot.acts)
