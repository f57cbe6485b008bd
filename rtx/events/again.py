"""A recorded clip explained once more, by another explainer: its maps beside those that were recorded."""

from __future__ import annotations

import msgspec

from rtx.clock import NS_PER_S
from rtx.config import Camera, Worker
from rtx.errors import UserError
from rtx.events.clip import Moment, keep_again, read
from rtx.events.store import PLAIN, Event
from rtx.film.explain import Told, engines_of, explain_film
from rtx.film.found import Film
from rtx.film.read import camera_of, frames_of
from rtx.geometry import Rect, shown_part
from rtx.show.overlay import GRID

EVERY = NS_PER_S // 10


def explain_again(event: Event, worker: Worker, told: Told = lambda _: None) -> str:
    """Explain an event's clip as `worker` says, and keep the maps; the explainer, as it is called there. UserError."""
    plain = event.clip / PLAIN
    if event.state == "open" or not plain.is_file():
        raise UserError(f"event {event.id} has no clip that could be explained (yet)")
    engines = engines_of(worker, [worker.explainer])
    first = next(frames_of(str(plain)), None)
    if first is None:
        raise UserError(f"event {event.id}: its clip holds no frame that can be read")
    height, width = first.pixels.shape[:2]
    camera = source_of(str(plain), read(event.clip), height, width)
    film = explain_film(engines, str(plain), told=told, camera=camera)
    explainer = film.panels[0].explainer
    try:
        keep_again(event.clip, explainer, _moments(film))
    except OSError as error:
        raise UserError(f"cannot write to {str(event.clip)!r}: {error.strerror or error}") from None
    return explainer


def source_of(film: str, moments: list[Moment], height: int, width: int) -> Camera:
    """A recorded film of this size as a source that shows the network the part of the picture that it saw then."""
    camera = camera_of(film)
    if not moments:
        return camera
    rect = Rect(*moments[0].rect)
    x, y, across, down = moments[0].seen or shown_part(height, width, rect)
    roi = (x / width, y / height, across / width, down / height)
    padded = across < rect.width - 1 or down < rect.height - 1
    return msgspec.structs.replace(camera, roi=roi, fit="pad" if padded else "crop")


def _moments(film: Film) -> list[Moment]:
    """Ten a second, as they are drawn; the class's certainty is in them."""
    made = []
    for at in range(0, film.end + 1, EVERY):
        row, heat = film.panels[0].at(at)
        values = (heat.values / 255).astype("float16")
        assert values.shape == (GRID, GRID)
        seen = None if heat.seen is None else (*heat.seen,)
        if row is None:
            continue
        made.append(Moment(at, values.tobytes(), 1.0, (*heat.rect,), seen, row.top, row.target, row.motion_share))
    return made
