"""What one would write instead of rtx: one process, an OpenCV loop, a deque of frames, torch-cam on the same network.

`python -m benchmarks.naive URL SECONDS` prints what that came to; the camera draws its clock into its pictures.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torchcam import methods

import rtx
from benchmarks.peers import prepared
from benchmarks.record import percentiles
from rtx.capture.clockbars import read_clock
from rtx.clock import NS_PER_S, ms, now

WARM_UP_S = 5.0


def main() -> None:
    print(json.dumps(run(sys.argv[1], float(sys.argv[2]))))


def run(url: str, seconds: float) -> dict[str, Any]:
    """The loop, for so long after its warm-up: explained clips a second, and how old each heatmap is when drawn."""
    model = rtx.load("i3d-k400", device="cpu", precision="fp32")
    spec = model.card.clip
    every = round(spec.stride_ms * 30 / 1000)
    network = prepared(model.network)
    explain = methods.GradCAM(network, target_layer="stages.Mixed_5c")
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    frames: deque[NDArray[np.uint8]] = deque(maxlen=spec.frames * every)
    ages: list[float] = []
    begun = now()
    while (passed := (now() - begun) / NS_PER_S) < seconds + WARM_UP_S:
        ok, picture = capture.read()
        if not ok:
            break
        frames.append(np.asarray(cv2.resize(picture, (spec.size, spec.size)), np.uint8))
        if len(frames) < spec.frames * every:
            continue
        clip = model.normalise(np.stack(list(frames)[every - 1 :: every])[None])
        scores = network(clip.requires_grad_())
        heat = explain(int(scores.argmax()), scores)[0][0, -1]  # Of t feature frames the newest.
        _draw(np.asarray(picture, np.uint8), heat.numpy())
        drawn = read_clock(np.asarray(picture, np.uint8))
        if drawn is not None and passed > WARM_UP_S:
            ages.append(ms(now() - drawn))
    half = len(ages) // 2
    return {
        "explained_per_s": round(len(ages) / seconds, 2), "heatmap_ms": percentiles(ages),
        "first_half_p50": percentiles(ages[:half])["p50"], "second_half_p50": percentiles(ages[half:])["p50"],
    }  # fmt: skip


def _draw(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    scaled = np.asarray(cv2.normalize(heat, None, 0, 255, cv2.NORM_MINMAX), np.uint8)  # type: ignore[call-overload]
    coloured = cv2.applyColorMap(cv2.resize(scaled, picture.shape[1::-1]), cv2.COLORMAP_JET)
    return np.asarray(cv2.addWeighted(picture, 0.6, coloured, 0.4, 0), np.uint8)


if __name__ == "__main__":
    main()
