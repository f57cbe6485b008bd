"""From a relevance map to heat, and from heat to colour over the picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_S
from rtx.config import Colours
from rtx.geometry import Rect, place_grid
from rtx.link.wire import Explanation, RelevanceMap, TopClass, Truth
from rtx.measure.localisation import ACTING, BODY, DISTRACTOR, regions
from rtx.show.view import Heat, Look, View

BESIDE = 224
"""Pixels a side of what a twin network's second branch saw."""
GRID = 56
"""Heat is made at this many points a side; the drawing enlarges it."""
DARKEST = 20
"""What a focused picture keeps of 255 where there is no evidence."""
DIM = 0.45
"""Brightness of the part of the picture that the network does not see."""
CERTAIN = 0.5
"""From this probability of the explained class on, heat has its full strength; below, by the square of the share."""


def _palette(of: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.applyColorMap(np.arange(256, dtype=np.uint8), of), np.uint8).reshape(256, 3)


PALETTES: dict[Colours, NDArray[np.uint8]] = {
    "inferno": _palette(cv2.COLORMAP_INFERNO),
    "viridis": _palette(cv2.COLORMAP_VIRIDIS),
    "cividis": _palette(cv2.COLORMAP_CIVIDIS),
    "jet": _palette(cv2.COLORMAP_JET),
}
"""Colours from no heat to full heat, 256 x 3, BGR: even to the eye (cividis: to the colour-blind, too), but for `jet`,
which is that of the papers."""


def newest_frame(relevance: RelevanceMap, points: int = GRID) -> NDArray[np.float32]:
    """The map at the clip's newest frame, each cell where its receptive field lies: points x points."""
    newest: NDArray[np.float32] = _placed(relevance, points, slice(-1, None))[0]
    return newest


def every_frame(relevance: RelevanceMap, points: int = GRID) -> NDArray[np.float32]:
    """The map at each of the clip's frames, each cell where its receptive field lies: T x points x points."""
    return _placed(relevance, points, slice(None))


def _placed(relevance: RelevanceMap, points: int, of: slice) -> NDArray[np.float32]:
    values = relevance.array()
    frames, height, width = relevance.input_size
    cells = relevance.cells
    in_time = place_grid(values.shape[0], frames, frames, cells.stride[0], cells.centre[0])[of]
    down = place_grid(values.shape[1], height, points, cells.stride[1], cells.centre[1])
    across = place_grid(values.shape[2], width, points, cells.stride[2], cells.centre[2])
    return np.asarray(down @ np.tensordot(in_time, values, 1) @ across.T, np.float32)


class LiveScale:
    """The relevance that counts as full heat: a running maximum of a camera under its present explainer.

    A scale of each clip for itself would paint an empty hall red. This one starts at the model card's usual peak
    (`peak`), follows stronger evidence at once and forgets it slowly (half in `HALF_LIFE_S`), down to the card's peak.
    """

    HALF_LIFE_S = 20.0

    def __init__(self) -> None:
        self._scale: dict[str, tuple[str, float, int]] = {}

    def full(self, explanation: Explanation, highest: float) -> float:
        """Relevance to be drawn as full heat, now that `highest` is seen; 0 where there never was any evidence."""
        explainer, old, since = self._scale.get(explanation.camera, ("", 0.0, 0))
        if explainer != explanation.explainer:
            old, since = 0.0, explanation.t_newest
        faded: float = old * 0.5 ** (max(0, explanation.t_newest - since) / NS_PER_S / self.HALF_LIFE_S)
        scale = max(faded, highest, explanation.peak)
        self._scale[explanation.camera] = (explanation.explainer, scale, explanation.t_newest)
        return scale


def heat_of(explanation: Explanation, scale: LiveScale) -> Heat:
    """Heat over the input rectangle, 0..255; weaker where the explained class is unlikely, none without evidence."""
    rect, seen = Rect(*explanation.rect), Rect(*explanation.seen) if explanation.seen is not None else None
    relevance = newest_frame(explanation.map)
    full = scale.full(explanation, float(relevance.max()))
    if not explanation.evidence or full <= 0:
        return Heat(np.zeros((GRID, GRID), np.uint8), rect, seen)
    return Heat(levels(explanation, relevance, full), rect, seen)


def levels(explanation: Explanation, relevance: NDArray[np.float32], full: float) -> NDArray[np.uint8]:
    """Relevance as heat 0..255, where `full` is drawn as full heat; weaker where the explained class is unlikely."""
    shown = np.clip(relevance * (certainty(explanation.top, explanation.target) * 255 / full), 0, 255)
    return np.asarray(shown, np.uint8)


def certainty(top: tuple[TopClass, ...], target: str | None) -> float:
    """The share of full heat that a class of its probability may have, 0..1; without a target, the likeliest class."""
    p = next((of.p for of in top if of.label == target), top[0].p)
    return min(1.0, p / CERTAIN) ** 2


def draw_heat(image: NDArray[np.uint8], heat: Heat, opacity: float, colours: Colours = "inferno") -> None:
    """Blend heat into a picture in place, and dim what the network did not see."""
    part = _dim_unseen(image, heat, DIM)
    if not part:
        return
    # Colours and weights are made on a small grid and enlarged: made at full size they would cost ten times as much.
    values = _over(part, heat)
    weight = values * np.float32(opacity / 255)
    colour = (PALETTES[colours][values] * weight[..., None]).astype(np.uint8)
    _darken(image, part, (255 - weight * 255).astype(np.uint8))
    x0, y0, x1, y1 = part
    seen = image[y0:y1, x0:x1]
    cv2.add(seen, cv2.resize(colour, (x1 - x0, y1 - y0)), dst=seen)


def draw_focus(image: NDArray[np.uint8], heat: Heat) -> None:
    """Leave the picture where the evidence is, in place: elsewhere it goes down to 20 of 255 (Stergiou et al. 2019).

    Without evidence nothing is focused, and the picture stays.
    """
    focused = bool(heat.values.any())
    part = _dim_unseen(image, heat, DARKEST / 255 if focused else DIM)
    if part and focused:
        _darken(image, part, (DARKEST + _over(part, heat) * ((255 - DARKEST) / 255)).astype(np.uint8))


def draw(image: NDArray[np.uint8], heat: Heat, look: Look) -> None:
    """Put the heat over a picture, in place."""
    if look.display == "focus":
        draw_focus(image, heat)
    else:
        draw_heat(image, heat, look.opacity, look.colours)


Part = tuple[int, int, int, int]
"""x0 y0 x1 y1 in pixels."""


def flow_colours(flow: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Optical flow h w 2 in -1..1 as colours, BGR: the hue is where to (right is red), the lightness how far.

    Of the latter the square root: most motion is small.
    """
    angle = np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360
    far = np.minimum(1.0, np.hypot(flow[..., 0], flow[..., 1]))
    hls = np.stack([angle / 2, 150 * np.sqrt(far), np.full_like(far, 255)], axis=-1)
    return np.asarray(cv2.cvtColor(np.clip(hls, 0, 255).astype(np.uint8), cv2.COLOR_HLS2BGR), np.uint8)


def beside_of(explanation: Explanation, scale: LiveScale) -> NDArray[np.uint8] | None:
    """What a twin network's second branch saw, with its heat over it; None of other networks."""
    beside = explanation.beside
    if beside is None:
        return None
    seen = np.asarray(cv2.resize(flow_colours(beside.flow()), (BESIDE, BESIDE)), np.uint8)
    relevance = newest_frame(beside.map)
    full = scale.full(explanation, float(relevance.max()))
    if full > 0:
        values = np.clip(relevance * (255 / full), 0, 255).astype(np.uint8)
        draw_heat(seen, Heat(values, Rect(0, 0, BESIDE, BESIDE)), 0.5)
    _write(seen, "flow", (8, BESIDE - 10), 0.5)
    return seen


def put_beside(image: NDArray[np.uint8], beside: NDArray[np.uint8]) -> Part:
    """Into the picture's upper right corner, a third of its height, in place; where that is."""
    height, width = image.shape[:2]
    side = min(height // 3, width // 3)
    at = height // 40
    x0, y0, x1, y1 = part = (width - side - at, at, width - at, at + side)
    image[y0:y1, x0:x1] = cv2.resize(beside, (side, side))
    return part


def _dim_unseen(image: NDArray[np.uint8], heat: Heat, brightness: float) -> Part | None:
    """The part that the network saw; all else keeps this share of its brightness."""
    height, width = image.shape[:2]
    seen = heat.seen or heat.rect
    x0, y0 = max(0, round(seen.x)), max(0, round(seen.y))
    x1, y1 = min(width, round(seen.x + seen.width)), min(height, round(seen.y + seen.height))
    if x1 <= x0 or y1 <= y0:
        return None
    for unseen in (image[:y0], image[y1:], image[y0:y1, :x0], image[y0:y1, x1:]):
        if unseen.size:
            unseen[:] = cv2.convertScaleAbs(unseen, alpha=brightness)
    return x0, y0, x1, y1


def _over(part: Part, heat: Heat) -> NDArray[np.uint8]:
    """Heat over this part of the picture: GRID x GRID."""
    x0, y0, x1, y1 = part
    steps = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    xs = (x0 + steps * (x1 - x0) - heat.rect.x) / heat.rect.width * heat.values.shape[1] - 0.5
    ys = (y0 + steps * (y1 - y0) - heat.rect.y) / heat.rect.height * heat.values.shape[0] - 0.5
    across, down = np.meshgrid(xs, ys)
    return np.asarray(cv2.remap(heat.values, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _darken(image: NDArray[np.uint8], part: Part, keep: NDArray[np.uint8]) -> None:
    """Of the pixels in this part, keep so much of 255."""
    x0, y0, x1, y1 = part
    seen = image[y0:y1, x0:x1]
    kept = cv2.cvtColor(cv2.resize(keep, (x1 - x0, y1 - y0)), cv2.COLOR_GRAY2BGR)
    cv2.multiply(seen, kept, dst=seen, scale=1 / 255)


_TRUTH = ((BODY, (255, 255, 255)), (ACTING, (60, 160, 255)), (DISTRACTOR, (150, 150, 150)))


def draw_truth(image: NDArray[np.uint8], truth: Truth) -> None:
    """Outline what is really there, in place: the figure white, the limbs that act orange, what distracts grey."""
    height, width = image.shape[:2]
    labels = regions(truth, height, width, Rect(0, 0, width, height))
    for kind, colour in _TRUTH:
        mask = (labels == kind) | (labels == ACTING) if kind == BODY else labels == kind
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, colour, max(1, height // 360), cv2.LINE_AA)


def draw_text(image: NDArray[np.uint8], view: View) -> None:
    """Top classes with bars, ages and states, along the lower edge, in place."""
    height, width = image.shape[:2]
    size = max(0.4, height / 1100)
    line = int(34 * size)
    lines = [(f"{top.label}  {100 * top.p:.0f}%", top.p) for top in view.top[:3]]
    if view.recorded:
        on = view.recorded == "recording"
        cv2.circle(image, (line, line), line // 4, (60, 60, 255) if on else (0, 200, 255), -1, cv2.LINE_AA)
        _write(image, "REC" if on else f"not recording: {view.recorded}", (line + line // 2, line + line // 4), size)
    y = height - line * (len(lines) + 1) - line // 2
    bottom = image[max(0, y - line // 2) :]
    bottom[:] = cv2.convertScaleAbs(bottom, alpha=0.4)
    bar = width // 4
    for text, p in lines:
        y += line
        cv2.rectangle(image, (line // 2, y - line // 2), (line // 2 + int(bar * p), y), (90, 180, 250), -1)
        _write(image, text, (line + bar, y), size)
    y += line
    _write(image, _status(view), (line // 2, y), size * 0.85, (90, 90, 255) if view.late else (220, 220, 220))


def of_target(explainer: str, target: str | None, top: tuple[TopClass, ...]) -> str:
    """The explainer, and the class it explains where that is not the likeliest."""
    if target is None or (top and target == top[0].label):
        return explainer
    p = "".join(f" {100 * of.p:.0f}%" for of in top if of.label == target)
    return f"{explainer} of {target}{p}"


def _status(view: View) -> str:
    parts = [of_target(view.explainer, view.target, view.top)] if view.explainer else []
    if view.heatmap_age_ms is not None:
        uncertain = f" +-{view.uncertainty_ms:.0f}" if view.uncertainty_ms >= 1 else ""
        parts.append(f"heatmap {view.heatmap_age_ms:.0f}{uncertain} ms old")
    if view.degraded:
        parts.append(f"to keep within the budget: {view.degraded}")
    if view.truth is not None:
        mark = "" if view.right is None else " (right)" if view.right else " (wrong)"
        parts.append(f"truth: {view.truth.action}{mark}")
    if view.hits is not None and view.hits.body is not None:
        parts.append(f"hottest on the figure {_rate(view.hits.body, view.hits.chance_body)}")
        parts.append(f"on acting limbs {_rate(view.hits.acting, view.hits.chance_acting)}")
    if view.faithfulness is not None:
        known = view.faithfulness
        parts.append(f"score {known.whole:.0%}, without the heat {known.hottest:.0%}, elsewhere {known.elsewhere:.0%}")
    if view.top and not view.evidence:
        parts.append("no evidence above threshold")
    if view.camera_state != "live":
        parts.append(view.camera_state)
    if view.worker_state != "explaining":
        parts.append(view.worker_state)
    return " | ".join(parts)


def _rate(share: float | None, chance: float | None) -> str:
    return "-" if share is None or chance is None else f"{100 * share:.0f}% (chance {100 * chance:.0f}%)"


def _write(
    image: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    size: float,
    colour: tuple[int, int, int] = (255, 255, 255),
) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, max(1, round(size * 1.6)), cv2.LINE_AA)


def compose(view: View, look: Look, truth: bool = False) -> NDArray[np.uint8]:
    """The view as one picture: frame, heat, if wanted the truth's outlines, classes, ages. H W 3, BGR, new."""
    image = view.image.copy()
    if view.heat is not None:
        draw(image, view.heat, look)
    if view.beside is not None:
        put_beside(image, view.beside)
    if truth and view.truth is not None:
        draw_truth(image, view.truth)
    draw_text(image, view)
    return image
