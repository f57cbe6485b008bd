"""The table of measured numbers in README.md, made from results/: never typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS
from rtx.resources import MODELS

README = Path(__file__).resolve().parents[1] / "README.md"
Row = tuple[str, str, str, str]
BEGIN, END = "<!-- numbers: made by `python -m benchmarks.readme` -->", "<!-- /numbers -->"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{numbers()}\n{END}{after}", encoding="utf-8")


def numbers() -> str:
    """The section between the two marks."""
    handover, live, rtsp = (_result(name) for name in ("handover", "live", "rtsp"))
    rows = [*_handover_rows(handover), *_live_rows(live), _rtsp_row(rtsp["runs"])]
    scenes, continual, places = (_result(name) for name in ("scenes", "continual", "localisation"))
    rows += [*_hall_rows(live), *_known_rows(scenes, continual, places)]
    viewers = _result("viewers")
    rows += _viewers_rows(viewers)
    about = _about(live, handover, live, rtsp, scenes, continual, places, viewers)
    lines = [*_table(rows), "", about, "GPU: not measured.", ""]
    if (RESULTS / "live-fp32.json").exists():
        other, watched = _result("live-fp32"), _result("viewers-fp32")
        rows = [*_live_rows(other), *_hall_rows(other), *_viewers_rows(watched)]
        lines += ["Live on a CPU that has no bf16:", "", *_table(rows), "", _about(other, other, watched), ""]
    return "\n".join([*lines, *_costs(_result("explainers")), "", *_by_action(places)])


def _table(rows: list[Row]) -> list[str]:
    head = ["| what | measured | goal | others, same run |", "| --- | --- | --- | --- |"]
    return [*head, *(f"| {' | '.join(row)} |" for row in rows)]


def _about(live: dict[str, Any], *all_of: dict[str, Any]) -> str:
    """The machine of a live run, and the commits of all these results."""
    machine, run = live["machine"], live["runs"]["file 720p30"]["report"]
    return (
        f"{machine['cores']} cores of {machine['processor']}, no GPU, {machine['system']}, Python {machine['python']}, "
        f"torch {machine['packages']['torch']}; explainer `{run['explainer']}`, "
        f"I3D in {run['precision']}, figures in {live['runs']['hall 720p30']['report']['precision']}; "
        f"commits {', '.join(sorted({of['commit'] for of in all_of}))}."
    )


def _commits(costs: dict[str, Any]) -> str:
    """Which were measured: that of the run, and those of methods that were measured again."""
    again = {
        f"`{method}` {by['rtx']['commit']}"
        for of in costs["networks"].values() for method, by in of["methods"].items() if "commit" in by["rtx"]
    }  # fmt: skip
    return ", ".join([f"commit {costs['commit']}", *sorted(again)])


def _handover_rows(handover: dict[str, Any]) -> list[Row]:
    names = ("ring", "imagezmq", "pyzmq", "ring, copied")
    ring, imagezmq, zmq, copied = (handover["quick"][name] for name in names)
    slow, others = handover["slow"]["ring"], handover["slow"]["imagezmq"]
    ages = [f"{of['age_ms']['p50']:.2f} ms" for of in (ring, imagezmq, zmq, copied)]
    costs = [f"{of['cpu_ms_per_frame']:.2f} ms" for of in (ring, imagezmq, zmq, copied)]
    late = f"{others['last_age_ms'] / 1000:.1f} s after {handover['slow_seconds']:.0f} s, and growing (imagezmq)"
    return [
        (
            "720p frame to another process, p50",
            f"{ages[0]} ({ages[3]} copied)",
            "0.6 ms",
            f"{ages[1]} (imagezmq), {ages[2]} (pyzmq)",
        ),
        (
            "its CPU time, both sides",
            f"{costs[0]} ({costs[3]} copied)",
            "1 ms",
            f"{costs[1]} (imagezmq), {costs[2]} (pyzmq)",
        ),
        ("age at pick-up, consumer of 100 ms a frame, p95", f"{slow['age_ms']['p95']:.0f} ms", "38 ms", late),
        ("memory grown meanwhile", f"{slow['growth_mb']:.0f} MB", "flat", f"{others['growth_mb']:.0f} MB (imagezmq)"),
    ]


def _live_rows(live: dict[str, Any]) -> list[Row]:
    runs, goals = live["runs"], live["goals"]
    run, pixels = runs["file 720p30"]["report"], runs["synthetic 720p30"]["pixel_age_ms"]
    ages = run["ages_ms"]
    heatmap, share = ages["heatmap"], 100 * ages["explain"]["p50"] / ages["forward"]["p50"]
    wanted = f"{goals['heatmap age p95 ms']:.0f} ms (p95)"
    return [
        ("frames shown, of 30 a second", f"{run['display_fps']:.1f}", f"{goals['shown of 30']:.0f}", ""),
        ("I3D clips explained a second", f"{run['explained_per_s']:.2f}", f"{goals['explained a second']}", ""),
        ("explaining, as a share of the forward pass", f"{share:.2f} %", "1 %", ""),
        ("heatmap age, p50 / p95", f"{heatmap['p50']:.0f} / {heatmap['p95']:.0f} ms", wanted, ""),
        ("first heatmap after the start, I3D", f"{run['first_heatmap_s']:.1f} s", "15 s", ""),
        ("misalignment of picture and heatmap, p95", f"{ages['misalignment']['p95']:.0f} ms", "", ""),
        ("age of the picture at a viewer, off its pixels, p50", f"{pixels['p50']:.0f} ms", "", ""),
        *_openvino_rows(runs, live["openvino_goals"]),
        *_naive_rows(live),
    ]


def _openvino_rows(runs: dict[str, Any], goals: dict[str, float]) -> list[Row]:
    if "file 720p30, openvino" not in runs:
        return [("the same with OpenVINO", "not measured", "", "")]
    run = runs["file 720p30, openvino"]["report"]
    heatmap = run["ages_ms"]["heatmap"]
    return [
        (
            f"with OpenVINO, {run['precision']}: I3D clips explained a second", f"{run['explained_per_s']:.2f}",
            f"{goals['explained a second']}", "",
        ),
        (
            "its heatmap age, p50 / p95", f"{heatmap['p50']:.0f} / {heatmap['p95']:.0f} ms",
            f"{goals['heatmap age p95 ms']:.0f} ms (p95)", "",
        ),
    ]  # fmt: skip


def _naive_rows(live: dict[str, Any]) -> list[Row]:
    """An RTSP camera by rtx, and by the loop that one would write instead."""
    run, naive = live["runs"]["RTSP 720p30"]["report"], live["naive"]
    age = naive["second_half_p50"]
    old = f"{age / 1000:.1f} s" if age else "no heatmap"
    growing = ", and growing" if age and age > 1.1 * naive["first_half_p50"] else ""
    return [
        (
            "RTSP camera, I3D: explained a second; heatmap age p50",
            f"{run['explained_per_s']:.2f}; {run['ages_ms']['heatmap']['p50']:.0f} ms", "",
            f"{naive['explained_per_s']:.2f}; {old}{growing} (OpenCV loop with torch-cam)",
        )
    ]  # fmt: skip


def _hall_rows(live: dict[str, Any]) -> list[Row]:
    runs, goals = live["runs"], live["hall_goals"]
    hall, demo = runs["hall 720p30"], runs["the demo's two halls"]["report"]
    run = hall["report"]
    heatmap = run["ages_ms"]["heatmap"]
    return [
        (
            "drawn hall, `figures`: explained, of 30 a second", f"{run['explained_per_s']:.1f}",
            f"{goals['explained a second']:.0f}", "",
        ),
        (
            "its heatmap age, p50 / p95", f"{heatmap['p50']:.0f} / {heatmap['p95']:.0f} ms",
            f"{goals['heatmap age p95 ms']:.0f} ms (p95)", "",
        ),
        (
            "age stated against age off the pixels, p95", f"{hall['reported_off_by_ms']['p95']:.1f} ms",
            f"{goals['age reported against pixels ms']:.0f} ms", "",
        ),
        (
            "two halls at once: first heatmap; explained a second each",
            f"{demo['first_heatmap_s']:.1f} s; {demo['explained_per_s'] / 2:.1f}",
            f"{goals['first heatmap s, two cameras']:.0f} s", "",
        ),
    ]  # fmt: skip


def _known_rows(scenes: dict[str, Any], continual: dict[str, Any], places: dict[str, Any]) -> list[Row]:
    cam, cold = places["explainers"]["cam"], places["explainers"]["cam, cold"]
    trained = json.loads((MODELS / "figures" / "training.json").read_text())["held_out"]
    each = continual["ms_per_frame"]
    limbs = f"{cam['acting']:.2f} (chance {cam['acting_chance']:.2f})"
    return [
        (
            "explaining one more frame, one thread", f"{each['frame by frame']:.1f} ms",
            f"{continual['goal_ratio']:.0f} times cheaper",
            f"{each['clip by clip']:.0f} ms, {continual['ratio']:.1f} times (the whole clip anew)",
        ),
        (
            "held-out actions named rightly", f"{100 * trained['right']:.1f} %", "97 %", "",
        ),
        (
            "hottest place on the figure (CAM)",
            f"{cam['body']:.2f} (chance {cam['body_chance']:.2f}); {cold['body']:.2f} on clips without a past",
            f"{places['goal_body']}", "",
        ),
        ("hottest place on the limbs that act (CAM)", limbs, "", ""),
        (
            "drawing a 16-frame clip with masks, 112 px", f"{scenes['clips_per_s']['median']:.0f} a second",
            f"{scenes['goals']['clips a second']}", "",
        ),
    ]  # fmt: skip


def _costs(result: dict[str, Any]) -> list[str]:
    """What each explainer costs on each network, beside the best of other packages."""
    networks, goals = result["networks"], result["goals"]
    machine = result["machine"]
    heads = [f"{name}, {of['forward_ms']:.0f} ms" for name, of in networks.items()]
    lines = [
        "What explaining costs: (classify + explain) / classify, in alternating pairs, in brackets the best of other "
        "packages in the same run. What lies near the noise is timed apart: in per cent of the forward pass, or in ms "
        f"after the logits are there. One clip, fp32, {machine['cores']} cores, {_commits(result)}; C3D and "
        "R3D-18 with random weights at 16x112x112, I3D at 16x224x224.",
        "", f"| explainer | {' | '.join(heads)} | at most |", f"| --- |{' --- |' * (len(heads) + 1)}",
    ]  # fmt: skip
    for method in next(iter(networks.values()))["methods"]:
        cells = [_cost(of["methods"][method], of["forward_ms"]) for of in networks.values()]
        lines.append(f"| `{method.replace('|', '&#124;')}` | {' | '.join(cells)} | {_wanted(method, goals)} |")
    lines += ["", "Peak memory of that beyond the network's own, MiB:", "", f"| | {' | '.join(networks)} |"]
    lines.append(f"| --- |{' --- |' * len(networks)}")
    lines.append(f"| classify | {' | '.join(str(of['classify_peak_mib']) for of in networks.values())} |")
    for method in ("grad_cam", "guided_backprop", "dtd", "p3dcam"):
        cells = [_memory(of["methods"][method]) for of in networks.values()]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return lines


def _cost(by: dict[str, dict[str, Any]], forward_ms: float) -> str:
    ours = by["rtx"]
    if "failed" in ours:
        return "needs a pooled head"
    own = ours.get("explain_only_ms")
    said = f"{ours['ratio']:.2f}" if own is None else f"{100 * own / forward_ms:.2g} %"
    if own is None and ours["after_pass_ms"] < 0.1 * forward_ms:
        said += f", {ours['after_pass_ms']:.1f} ms"
    theirs = {peer: of["ratio"] for peer, of in by.items() if peer != "rtx" and "ratio" in of}
    if not theirs:
        return said
    # Some run without finding the same: their ReLUs are functions here, say.
    same = [peer for peer in theirs if (by[peer]["agrees"] or 0) > 0.9]
    best = min(same or theirs, key=lambda peer: theirs[peer])
    return f"{said} ({best.partition(' ')[0]} {theirs[best]:.2f}{'' if same else ', another map'})"


def _memory(by: dict[str, dict[str, Any]]) -> str:
    theirs = {peer: of["peak_mib"] for peer, of in by.items() if peer != "rtx" and of.get("peak_mib") is not None}
    said = f"{by['rtx']['peak_mib']:.0f}"
    if not theirs:
        return said
    best = min(theirs, key=lambda peer: theirs[peer])
    return f"{said} ({best.partition(' ')[0]} {theirs[best]:.0f})"


def _wanted(method: str, goals: dict[str, dict[str, float]]) -> str:
    units = {"ratio": "", "explain-only, % of the forward pass": " %", "ms beyond the forward pass": " ms"}
    return next((f"{of[method]:g}{units[kind]}" for kind, of in goals.items() if method in of), "")


def _by_action(places: dict[str, Any]) -> list[str]:
    """Where the hottest place lies, for each action."""
    explainers = places["explainers"]
    names = ("cam", "ksigma", "contrast")
    lines = [
        f"Where the hottest place of a frame lies, of {places['clips']} held-out clips, if named rightly:",
        "", "| action | on the figure, `cam` | on the limbs that act, `cam` | `ksigma` | `contrast` | chance |",
        "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    cam = explainers["cam"]
    for action, body in cam["body_by_action"].items():
        acting = [explainers[name]["acting_by_action"].get(action) for name in names]
        chance = cam["acting_chance_by_action"][action]
        limbs = [*(_share(value) for value in acting), _share(chance if acting[0] is not None else None)]
        lines.append(f"| {action} | {_share(body)} | {' | '.join(limbs)} |")
    return lines


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _rtsp_row(runs: dict[str, Any]) -> Row:
    wanted = runs["source"]["age_ms"]["p50"] + 100
    others = f"{runs['opencv']['second_half_p50'] / 1000:.1f} s, and growing (plain OpenCV)"
    age = f"{runs['rtx']['age_ms']['p50']:.0f} ms"
    return ("RTSP camera to a worker of 100 ms a frame, p50", age, f"{wanted:.0f} ms", others)


def _viewers_rows(viewers: dict[str, Any]) -> list[Row]:
    ratios, many = viewers["ratios"], viewers["viewers"]
    of_many = [of for by in viewers["runs"].values() for of in by[str(many)]]
    rate = f"{ratios['i3d-k400']:.2f} (I3D), {ratios['figures']:.2f} (figures)"
    grown = f"{max(of['grown_mb'] for of in of_many):.0f} MB of {max(of['display_mb'] for of in of_many):.0f}"
    return [
        (
            f"{many} viewers of the page: the worker's rate, beside that with one",
            rate,
            f"{1 - viewers['goal']:.2f}",
            "",
        ),
        (f"the display's memory, grown in {viewers['seconds']:.0f} s of them", grown, "flat", ""),
    ]


def _result(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


if __name__ == "__main__":
    main()
