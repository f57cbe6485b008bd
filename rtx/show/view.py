"""What is shown of one camera at one moment: the frame, the heat over it, and how old each is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtx.config import Colours
from rtx.geometry import Rect
from rtx.link.wire import Faithfulness, TopClass, Truth
from rtx.measure.localisation import HitRates


@dataclass(frozen=True)
class Heat:
    """A heatmap ready to be drawn."""

    values: NDArray[np.uint8]
    """Relevance over the input rectangle: h w, 0 (nothing) .. 255 (full). The class's certainty is in it."""
    rect: Rect
    """Where the rectangle lies, in pixels of the frame."""
    seen: Rect | None = None
    """The part of it that the network was shown; None: all that lies within the frame."""


@dataclass(frozen=True)
class Look:
    """How heat is put over a picture."""

    opacity: float = 0.6
    """Of full heat, 0..1."""
    display: Literal["heat", "focus"] = "heat"
    """Colours over the picture, or the picture itself where the evidence is and darkness elsewhere."""
    colours: Colours = "inferno"
    """Of weak to full heat."""


@dataclass(frozen=True)
class View:
    """One camera, now. Ages in ms."""

    camera: str
    image: NDArray[np.uint8]
    """The newest frame: H W 3, BGR; not to be changed."""
    seq: int
    epoch: int
    t_capture: int
    """Monotonic ns of this host."""
    frame_age_ms: float
    camera_state: str
    """In words: `live`, `camera lost 12 s: ...`."""
    worker_state: str
    """In words: `loading i3d-k400`, `collecting the first clip 40 %`, `explaining`, `silent 3 s`."""
    heat: Heat | None = None
    """None until the first clip was explained, and after a jump of the source."""
    beside: NDArray[np.uint8] | None = None
    """Of a twin network: the optical flow as colours, with that branch's heat over it; BGR, square."""
    evidence: bool = True
    """False: the explainer found nothing above its threshold."""
    top: tuple[TopClass, ...] = ()
    target: str | None = None
    asked: str | None = None
    """The class that somebody asked to be explained; None: the likeliest is."""
    explainer: str = ""
    model: str = ""
    backend: str = ""
    precision: str = ""
    heatmap_age_ms: float | None = None
    """Display time - capture time of the newest frame of the clip that made the map."""
    misalignment_ms: float | None = None
    """Capture time of this frame - that of the map's newest frame."""
    uncertainty_ms: float = 0.0
    """Of the ages, where the parts run on several hosts."""
    late: bool = False
    """The heatmap age is over the budget."""
    degraded: str = ""
    """What the worker gives up at present to keep within its budget, in words."""
    motion_share: float | None = None
    faithfulness: Faithfulness | None = None
    """Does the score depend on where the heat is? None before it was measured."""
    recorded: str = ""
    """In words, where the camera is being recorded, or should be."""
    truth: Truth | None = None
    """What this frame shows, where it was drawn."""
    right: bool | None = None
    """Is the top class what the figure does? None where nobody knows, and where the clip shows two acts."""
    hits: HitRates | None = None
    """How often the heat's maximum lay on the figure of late, where the truth is known."""
    ms: dict[str, float] = field(default_factory=dict)
