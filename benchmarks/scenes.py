"""How fast the hall is drawn, on one core: clips with masks to train and judge on, and the live source's frames."""

from __future__ import annotations

import statistics
import time

import cv2
import numpy as np

from benchmarks.record import keep, show
from rtx.scenes.film import film
from rtx.scenes.scene import Cast, Scene

GOALS = {"clips a second": 300, "720p frame ms": 1000 / 30}
ROUNDS, CLIPS = 9, 150


def main() -> None:
    cv2.setNumThreads(1)
    casts = [Cast.draw(seed) for seed in range(ROUNDS * CLIPS)]
    for cast in casts:  # Halls are drawn once each; a round of training has seen them all.
        Scene(cast, 112, 112)
    rates = []
    for number in range(ROUNDS):
        began = time.process_time()
        for seed in range(number * CLIPS, (number + 1) * CLIPS):
            film(Cast.draw(seed), 16, 15, 112, 112)
        rates.append(CLIPS / (time.process_time() - began))
    frames = [ms for seed in range(4) for ms in _live(seed)]
    clips = {"median": round(statistics.median(rates), 1), "best": round(max(rates), 1), "worst": round(min(rates), 1)}
    live = {"median": round(statistics.median(frames), 2), "p95": round(statistics.quantiles(frames, n=20)[-1], 2)}
    show("drawing the hall, one core, CPU time", ["what", "median", "best / p95", "goal"], [
        ["16-frame clips with masks a second, 112 px", clips["median"], clips["best"], GOALS["clips a second"]],
        ["720p frame, ms", live["median"], live["p95"], round(GOALS["720p frame ms"], 1)],
    ])  # fmt: skip
    keep("scenes", {"goals": GOALS, "clips_per_s": clips, "frame_720p_ms": live})


def _live(seed: int) -> list[float]:
    scene, picture = Scene(Cast.live(seed), 720, 1280), np.empty((720, 1280, 3), np.uint8)
    took = []
    for number in range(150):
        began = time.process_time()
        (moment,) = scene.moments(np.array([number / 30]))
        scene.paint(picture, moment)
        took.append((time.process_time() - began) * 1e3)
    return took


if __name__ == "__main__":
    main()
