"""The table of measured numbers in README.md, made from results/: never typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- numbers: made by `python -m benchmarks.readme` -->", "<!-- /numbers -->"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{numbers()}\n{END}{after}", encoding="utf-8")


def numbers() -> str:
    """The section between the two marks."""
    handover, live, rtsp = (_result(name) for name in ("handover", "live", "rtsp"))
    quick, slow = handover["quick"], handover["slow"]
    run = live["runs"]["file 720p30"]["report"]
    pixels = live["runs"]["synthetic 720p30"]
    ages, goals = run["ages_ms"], live["goals"]
    runs = rtsp["runs"]
    rows = [
        ("720p frame to another process, p50", f"{quick['ring']['age_ms']['p50']:.2f} ms", "0.6 ms",
         f"{quick['imagezmq']['age_ms']['p50']:.2f} ms (imagezmq), {quick['pyzmq']['age_ms']['p50']:.2f} ms (pyzmq)"),
        ("its CPU time, both sides", f"{quick['ring']['cpu_ms_per_frame']:.2f} ms", "1 ms",
         f"{quick['imagezmq']['cpu_ms_per_frame']:.2f} ms (imagezmq), {quick['pyzmq']['cpu_ms_per_frame']:.2f} ms (pyzmq)"),
        ("age at pick-up, consumer of 100 ms a frame, p95", f"{slow['ring']['age_ms']['p95']:.0f} ms", "38 ms",
         f"{slow['imagezmq']['last_age_ms'] / 1000:.1f} s after 30 s, and growing (imagezmq)"),
        ("memory grown meanwhile", f"{slow['ring']['growth_mb']:.0f} MB", "flat", f"{slow['imagezmq']['growth_mb']:.0f} MB (imagezmq)"),
        ("frames shown of 30 a second", f"{run['display_fps']:.1f}", f"{goals['shown of 30']:.0f}", ""),
        ("clips explained a second (I3D, 224 px, 16x2 frames)", f"{run['explained_per_s']:.2f}", f"{goals['explained a second']}", ""),
        ("explaining, of the forward pass", f"{100 * ages['explain']['p50'] / ages['forward']['p50']:.2f} %", "1 %", ""),
        ("heatmap age, p50 / p95", f"{ages['heatmap']['p50']:.0f} / {ages['heatmap']['p95']:.0f} ms", f"{goals['heatmap age p95 ms']:.0f} ms (p95)", ""),
        ("misalignment of picture and heatmap, p95", f"{ages['misalignment']['p95']:.0f} ms", "", ""),
        ("age of the picture that a viewer gets, off its pixels, p50", f"{pixels['pixel_age_ms']['p50']:.0f} ms", "", ""),
        ("RTSP camera to a worker of 100 ms a frame, p50", f"{runs['rtx']['age_ms']['p50']:.0f} ms",
         f"{runs['source']['age_ms']['p50'] + 100:.0f} ms", f"{runs['opencv']['second_half_p50'] / 1000:.1f} s, and growing (plain OpenCV)"),
    ]  # fmt: skip
    lines = ["| what | measured | goal | others, same run |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    machine = live["machine"]
    about = (
        f"{machine['cores']} cores of {machine['processor']}, no GPU, {machine['system']}, Python {machine['python']}, "
        f"torch {machine['packages']['torch']}; explainer `{run['explainer']}` in {run['precision']}; "
        f"commits {', '.join(sorted({handover['commit'], live['commit'], rtsp['commit']}))}."
    )
    return "\n".join([*lines, "", about, "GPU: not measured."])


def _result(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


if __name__ == "__main__":
    main()
