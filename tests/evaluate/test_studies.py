"""The studies of `rtx eval`: extreme maps give extreme values; the papers' rows and columns are there; runs go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from rtx import load
from rtx.cli import app, main
from rtx.cli.evaluate import _Here, _number
from rtx.engine.engine import Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate import agreement, classes, faithful, localise, motion, overhead, papers, sanity, study
from rtx.evaluate.agreement import FLOW
from rtx.evaluate.bootstrap import Mean, said
from rtx.evaluate.examples import box_around, examples_of, plain
from rtx.evaluate.rows import Rows
from rtx.evaluate.studies import STUDIES
from rtx.evaluate.study import NEED_LINEAR, Example, Maps, Row, Values, maps, means, measured
from rtx.explain.placing import upsample
from rtx.measure.boxes import Box
from rtx.measure.overhead import Classify, Explain, Overhead
from rtx.measure.similarity import rank_correlation
from rtx.nets.zoo import ARCHITECTURES


@pytest.fixture(scope="module")
def example(figures: TorchBackend) -> Example:
    return examples_of(figures, "1").load("scene 0")


@pytest.fixture(scope="module")
def small(example: Example) -> Example:
    """Half as large: for what does not depend on what is to be seen."""
    boxes = tuple(box and Box(*(edge // 2 for edge in box)) for box in example.boxes)
    regions = {name: region[:, ::2, ::2] for name, region in example.regions.items()}
    return replace(example, frames=example.frames[:, ::2, ::2].copy(), boxes=boxes, regions=regions)


Pretend = Callable[[dict[str, Tensor]], None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """What explainers are pretended to give."""

    def given(relevance: dict[str, Tensor]) -> None:
        def found(backend: TorchBackend, explainers: list[str], frames: np.ndarray, target: int | None = None) -> Maps:
            forward = backend.forward(frames[None], [target])
            return Maps(forward, {name: relevance[name] for name in explainers}, {})

        for asks in (agreement, motion, localise, faithful):
            monkeypatch.setattr(asks, "maps", found)

    return given


def in_box(example: Example) -> Tensor:
    made = torch.zeros(example.frames.shape[:3])
    for frame, box in zip(made, example.boxes, strict=True):
        assert box is not None
        frame[box.top : box.bottom, box.left : box.right] = 1
    return made


def test_a_scenes_clip_is_what_the_network_takes_and_its_box_is_around_who_acts(example: Example):
    assert example.frames.shape == (16, 112, 112, 3)
    assert example.label is not None
    assert all(box is not None and 300 < box.area < 112 * 112 / 2 for box in example.boxes)
    mask = np.zeros((9, 9), bool)
    assert box_around(mask) is None
    mask[2, 3] = mask[5, 7] = True
    assert box_around(mask) == Box(3, 2, 8, 6)


def test_agreement_of_the_same_of_opposites_and_of_nothing(figures: TorchBackend, example: Example, pretend: Pretend):
    one = torch.rand(example.frames.shape[:3], generator=torch.Generator().manual_seed(0))
    pretend({"a": one, "b": 2 * one, "c": 1 - one, "d": torch.zeros_like(one)})
    found = agreement.measure(figures, ["a", "b", "c", "d"], example)
    assert found["a and b"] == {"SIM": pytest.approx(1), "PCC": pytest.approx(1), "in common": 1}
    assert found["a and c"]["PCC"] == pytest.approx(-1)
    assert found["a and c"]["in common"] == 0
    assert found["a and d"]["SIM"] is found["a and d"]["PCC"] is None
    assert len(found) == 6


def test_motion_of_maps_of_all_that_moves_and_of_all_that_stands_still(
    figures: TorchBackend, example: Example, pretend: Pretend
):
    from rtx.engine.flow import of_clip

    moves = torch.from_numpy(np.linalg.norm(of_clip(example.frames), axis=-1) > motion.LEAST).float()
    pretend({"all": moves, "all | selective": 0 * moves, "none": 1 - moves, "none | selective": 1 - moves})
    found = motion.measure(figures, ["all", "none"], example)
    assert (found["all"]["precision"], found["none"]["precision"]) == (1, 0)
    assert found["all"]["chance"] == pytest.approx(float(moves.mean()), abs=1e-6)
    assert (found["all"]["voxels kept"], found["all"]["relevance kept"]) == (0, 0)
    assert (found["none"]["voxels kept"], found["none"]["relevance kept"]) == (1, 1)
    assert found["all"]["precision, selective"] is None, "there is none"


def test_localisation_by_the_truth_by_its_opposite_and_by_nothing(
    figures: TorchBackend, example: Example, pretend: Pretend
):
    truth = in_box(example)
    pretend({"right": truth, "wrong": 1 - truth, "none": 0 * truth})
    found = localise.measure(figures, ["right", "wrong", "none"], example)
    named = figures.labels[int(figures.forward(example.frames[None], [None]).logits[0].argmax())] == example.label
    for asked in ("hit point", "meets", "IoU > 0", "IoU 0.5", "IoU 0.6"):
        assert found["right"][asked] == 1
        assert found["right"][f"{asked}, named"] == float(named)
        assert found["none"][asked] == 0
    assert found["wrong"]["hit point"] == found["wrong"]["meets"] == found["wrong"]["IoU 0.6"] == 0
    mislabelled = Example(example.name, example.frames, "juggling", boxes=example.boxes)
    assert localise.measure(figures, ["right"], mislabelled)["right"]["hit point, named"] == 0
    nowhere = Example(example.name, example.frames, example.label, boxes=(None,) * 16)
    assert set(localise.measure(figures, ["right"], nowhere)["right"].values()) == {None}


def test_each_stage_of_3dcam_is_a_row(figures: TorchBackend, example: Example):
    found = localise.measure(figures, ["cam3d"], example)
    assert list(found) == [f"cam3d, stage {i}" for i in range(1, 6)]


def test_evidence_is_found_sooner_by_cam_than_by_noise(figures: TorchBackend, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faithful, "STEPS", 5)
    monkeypatch.setattr(faithful, "BASELINES", {"blur": faithful.BASELINES["blur"]})
    found = means(
        list(measured(faithful.FAITHFUL, figures, ["cam"], scenes := examples_of(figures, "2"), scenes.names))
    )
    cam, noise = ({key: of.mean for key, of in found[name].items() if of} for name in ("cam", faithful.NOISE))
    assert cam["insertion, blur"] > noise["insertion, blur"]
    assert cam["deletion, blur"] < noise["deletion, blur"]


def test_randomising_begins_behind_and_what_does_not_see_a_layer_stays(figures: TorchBackend, example: Example):
    before = [weight.clone() for weight in figures.network.parameters()]
    found = sanity.measure(figures, ["ksigma", "cam"], example)
    assert list(found["cam"]) == ["weight", "last", "late", "middle", "early", "stem"]
    assert found["ksigma"]["weight"] == pytest.approx(1), "it sees features, whatever the head makes of them"
    behind = found["cam"]["weight"]
    assert behind is not None
    assert behind < 0.5, "it sees the head"
    assert all(map(torch.equal, before, figures.network.parameters())), "the network is as it was"


def test_a_shuffled_head_turns_cam_round_where_the_weights_of_a_class_sum_below_zero(figures: TorchBackend):
    """As those of `figures` do: what is left speaks against all that is strong. With a mean of zero, hardly so.

    Over lots: a single one may fall either way.
    """
    weight = figures.network.linear
    assert weight is not None
    assert (weight.sum(dim=1) < 0).all()
    lots = [torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(seed)) for seed in range(30)]
    plain, centred = [], []
    scenes = examples_of(figures, "6")
    for scene in map(scenes.load, scenes.names):
        forward = figures.forward(scene.frames[None], [None])
        top, features = int(forward.logits[0].argmax()), forward.outcome.features[0].float()
        shuffled = torch.stack([weight.flatten()[lot].view_as(weight)[top] for lot in lots])
        was = torch.einsum("k,kthw->thw", weight[top], features).expand(len(lots), *features.shape[1:])
        for found, of in ((plain, shuffled), (centred, shuffled - weight.mean())):
            found.append(float(rank_correlation(was, torch.einsum("nk,kthw->nthw", of, features)).mean()))
    assert np.mean(plain) < -0.2
    assert abs(np.mean(centred)) < 0.1


def test_a_foreign_network_is_not_randomised_stage_by_stage(example: Example):
    module = torch.nn.Sequential(
        torch.nn.Conv3d(3, 4, 3, 2, 1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )  # fmt: skip
    with pytest.raises(UserError, match="randomises rtx's own networks"):
        sanity.measure(load(module), ["cam"], example)


def test_overhead_is_told_with_and_without_the_selective_step(
    figures: TorchBackend, example: Example, monkeypatch: pytest.MonkeyPatch
):
    def turns_of(classify: Classify, explaining: list[Explain], turns: int) -> list[Overhead]:
        classify()
        assert all(0 < explain() < 1000 for explain in explaining)
        return [Overhead(100, 2, -1, 0.5), Overhead(100, 2, 11, 10)]

    monkeypatch.setattr(overhead, "overhead", turns_of)
    assert overhead.measure(figures, ["cam"], example) == {"cam": {
        "classify, ms": 100, "explain, ms": 0.5, "both, ms": 100.5, "ratio": 1.005, "passes differ, ms": 2,
        "selective too, ms": 11, "ratio with selective": 1.11,
    }}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in STUDIES if papers.tables(name)])
def test_what_papers_tables_are_compared_with_is_measured(
    name: str, figures: TorchBackend, small: Example, twin: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Each of their rows and columns is one of the study's, or said to be none; flow is a twin network's."""
    monkeypatch.setattr(overhead, "TURNS", 1)
    asks = STUDIES[name]
    said = {of for table in papers.tables(name) for row in table.rows.values() for of in row.ours.split(" and ")}
    asked = [of for of in asks.fitting(figures) if any(row.split(",")[0] == of for row in said)]
    values: Values = asks.measure(figures, asked, small)
    if any(column.startswith(FLOW) for table in papers.tables(name) for column in table.columns.values()):
        noise = np.random.default_rng(0).integers(0, 255, (16, 48, 48, 3), np.uint8)
        fitting = [of for of in asked if of not in NEED_LINEAR and of != "dtd"]
        for row, beside in asks.measure(twin.backend, fitting, Example("noise", noise)).items():
            values[row] |= beside
    columns = {column for of in values.values() for column in of}
    found = means([Row(small.name, values)])
    for table in papers.tables(name):
        assert {column for column in table.columns.values() if column} <= columns, table.title
        for label, row in table.rows.items():
            assert len(row.said) == len(table.columns), label
            there = [papers.measured(table, row, column, found, row.architecture) for column in table.columns]
            assert any(of is not None for of in there), (table.title, label, row.ours)
            one, _, other = row.ours.partition(" and ")
            measured = found.get(row.ours) or found[f"{other} and {one}"]
            assert {same for same in table.columns.values() if same} <= set(measured), (table.title, label)
            assert row.architecture in ("", *ARCHITECTURES), label


def test_a_column_that_is_not_measured_here_is_the_papers_alone():
    found = means([Row("x", {"pyramid": {"explain, ms": 3.0}})])
    here = _Here("", STUDIES["overhead"], found, 1, "i3d", "one clip")
    (table,) = [of for of in papers.tables("overhead") if "Pyramids" in of.title]
    head, lines = here._beside(table)
    assert head == ["", "GFLOPS", "back-step: paper", "here", "# layers", "θ"]
    assert lines[1] == ["I3D", "55.79", "23.21 ms", "3.00 ms of 1", "1 + mixed5c", "0.65"]
    assert lines[0][3] == "-"
    assert all(len(line) == len(head) for line in lines)


def test_a_row_of_another_network_stays_empty():
    (table,) = [of for of in papers.tables("overhead") if "Pyramids" in of.title]
    found = means([Row("x", {"pyramid": {"explain, ms": 3.0}})])
    mean = papers.measured(table, table.rows["I3D"], "back-step", found, "i3d")
    assert mean is not None
    assert mean.mean == 3
    assert papers.measured(table, table.rows["I3D"], "back-step", found, "mfnet") is None


def test_maps_are_of_the_class_that_is_asked_for(figures: TorchBackend, example: Example):
    other = maps(figures, ["cam"], example.frames, 3)
    again = figures.forward(example.frames[None], [3])
    assert int(again.target) == 3
    torch.testing.assert_close(other.relevance["cam"].amax() > 0, torch.tensor(True))
    assert not torch.equal(other.relevance["cam"], maps(figures, ["cam"], example.frames, 4).relevance["cam"])


def test_an_explainer_is_run_once_whatever_steps_follow_and_gives_what_it_gives_live(
    figures: TorchBackend, example: Example, monkeypatch: pytest.MonkeyPatch
):
    chains, begun = ["dtd", "dtd | selective(n=2)", "cam | selective"], []
    ran = study.begin
    monkeypatch.setattr(study, "begin", lambda chain, forward: begun.append(chain.name) or ran(chain, forward))
    found = maps(figures, chains, example.frames).relevance
    assert begun == ["dtd", "cam"]
    for name in chains:
        batch = Engine(figures, name, continual=False).run(example.frames[None])
        torch.testing.assert_close(found[name], upsample(batch.forward, batch.explained.relevance)[0])


def a_film(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (64, 64))
    for number in range(20):
        writer.write(np.full((64, 64, 3), 10 * number, np.uint8))
    writer.release()


def test_films_are_found_and_named_by_their_folders(figures: TorchBackend, tmp_path: Path):
    for name in ("JumpingJack/a.avi", "elsewhere/b.AVI", "c.avi"):
        a_film(tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    material = examples_of(figures, str(tmp_path))
    assert material.names == ("JumpingJack/a.avi", "c.avi", "elsewhere/b.AVI")
    found = {name: material.load(name) for name in material.names}
    assert found["JumpingJack/a.avi"].label == "jumping jack"
    assert found["c.avi"].label is None
    assert found["c.avi"].frames.shape == (16, 112, 112, 3)
    assert plain("Apply_Eye Makeup") == plain("ApplyEyeMakeup")


def test_a_run_goes_on_where_it_was_broken_off(tmp_path: Path):
    report = tmp_path / "a.json"
    options = ["eval", "agreement", "--explainer", "cam", "--explainer", "ksigma", "--clips", "3", "--report"]
    done = CliRunner().invoke(app, [*options, str(report)])
    assert done.exit_code == 0, done.output
    whole = json.loads(report.read_text())
    assert [clip["name"] for clip in whole["clips"]] == ["scene 0", "scene 1", "scene 2"]
    assert whole["means"]["cam and ksigma"]["SIM"][3] == 3
    known = {"name": "scene 1", "values": {"cam and ksigma": {"SIM": 77.0, "PCC": None, "in common": None}}}
    (tmp_path / ".a.json.part").write_text(f'{json.dumps(whole["settings"])}\n{json.dumps(known)}\n{{"name": "sce')
    again = CliRunner().invoke(app, [*options, str(report)])
    assert again.exit_code == 0, again.output
    clips = {clip["name"]: clip for clip in json.loads(report.read_text())["clips"]}
    assert clips["scene 1"] == known
    assert clips["scene 0"] == whole["clips"][0]


def test_a_run_that_ended_before_its_first_clip_leaves_nothing_behind(tmp_path: Path):
    report = tmp_path / "a.json"
    options = ["eval", "cheat", "--explainer", "cam", "--clips", "1", "--report", str(report)]
    refused = CliRunner().invoke(app, [*options, "--model", "hall-twin"])
    assert isinstance(refused.exception, UserError)
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output


def test_rows_by_another_version_of_a_study_are_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    report = tmp_path / "a.json"
    options = [
        "eval",
        "agreement",
        "--explainer",
        "cam",
        "--explainer",
        "ksigma",
        "--clips",
        "1",
        "--report",
        str(report),
    ]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    whole = json.loads(report.read_text())
    row = json.dumps(whole["clips"][0])
    (tmp_path / ".a.json.part").write_text(f"{json.dumps(whole['settings'])}\n{row}\n")
    newer = STUDIES["agreement"]._replace(version=STUDIES["agreement"].version + 1)
    monkeypatch.setitem(STUDIES, "agreement", newer)
    again = CliRunner().invoke(app, options)
    assert isinstance(again.exception, UserError)
    assert "a run of other settings left" in str(again.exception)


def test_one_run_at_a_time_writes_to_a_report(tmp_path: Path):
    options = ["eval", "agreement", "--explainer", "cam", "--explainer", "ksigma", "--clips", "1", "--report"]
    report = tmp_path / "a.json"
    with Rows(report, {}, Row):
        refused = CliRunner().invoke(app, [*options, str(report)])
        assert isinstance(refused.exception, UserError)
        assert "another rtx measures for" in str(refused.exception)
    done = CliRunner().invoke(app, [*options, str(report)])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]


def test_a_film_that_cannot_be_read_is_left_out_and_named(tmp_path: Path):
    options = ["eval", "agreement", "--explainer", "cam", "--explainer", "ksigma", "--clips", str(tmp_path / "films")]
    a_film(tmp_path / "films" / "good.avi")
    (tmp_path / "films" / "bad.avi").write_bytes(b"none")
    report = tmp_path / "a.json"
    done = CliRunner().invoke(app, [*options, "--report", str(report)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "left out: bad.avi: " in done.output
    assert "of which 1 cannot be read" in " ".join(done.output.split())
    whole = json.loads(report.read_text())
    assert [of["name"] for of in whole["clips"] if "why" in of] == ["bad.avi"]
    (tmp_path / "films" / "good.avi").unlink()
    none = CliRunner().invoke(app, options)
    assert isinstance(none.exception, UserError)
    assert "none of 1 clips can be read, first bad.avi: " in str(none.exception)


def test_a_map_of_the_class_that_is_shown_and_one_of_another(
    figures: TorchBackend, example: Example, monkeypatch: pytest.MonkeyPatch
):
    """Of a map that knows, of one that does not, and of one that says nothing of any other class."""
    shown = figures.labels.index(example.label or "")
    acting = torch.from_numpy(example.regions["acting"]).float()
    even, none = torch.ones_like(acting), torch.zeros_like(acting)

    def asked(backend: TorchBackend, explainers: list[str], frames: np.ndarray, target: int) -> Maps:
        right = target == shown
        given = {"knows": acting if right else even, "blind": even, "silent": acting if right else none}
        return Maps(backend.forward(frames[None], [target]), given, {})

    monkeypatch.setattr(classes, "maps", asked)
    found = classes.measure(figures, ["knows", "blind", "silent"], example)
    assert found["knows"]["acting"] == pytest.approx(1 / float(acting.mean()), rel=1e-3)
    assert found["knows"]["acting, of another"] == found["blind"]["acting"] == pytest.approx(1)
    assert found["knows"]["acting, more"] == pytest.approx(1 / float(acting.mean()) - 1, rel=1e-3)
    assert found["blind"]["acting, more"] == found["blind"]["body, more"] == 0
    assert found["silent"]["acting, more"] is None
    assert (found["silent"]["silent"], found["silent"]["silent of another"]) == (0, 1)
    for label in (None, "stand"):
        assert classes.measure(figures, ["blind"], replace(example, label=label)) == {}


def test_the_other_class_is_another_and_the_same_each_time(figures: TorchBackend, example: Example):
    drawn = [classes.another(figures, replace(example, name=f"scene {n}"), 3) for n in range(60)]
    assert set(drawn) == set(range(len(figures.labels))) - {3, figures.labels.index("stand")}
    assert drawn == [classes.another(figures, replace(example, name=f"scene {n}"), 3) for n in range(60)]


def test_one_explainer_agrees_with_nobody():
    for options in (["--explainer", "cam"], ["--explainer", "cam", "--explainer", "cam"]):
        alone = CliRunner().invoke(app, ["eval", "agreement", "--clips", "1", *options])
        assert isinstance(alone.exception, UserError)
        assert "at least two that differ" in str(alone.exception)


def test_what_a_run_of_other_settings_left_is_not_lost(tmp_path: Path):
    left = tmp_path / ".a.json.part"
    left.write_text('{"study": "agreement", "clips": ["scene 0"]}\n{"name": "scene 0", "values": {}}\n')
    before = left.read_bytes()
    options = ["eval", "agreement", "--explainer", "cam", "--explainer", "ksigma", "--clips", "1", "--report"]
    done = CliRunner().invoke(app, [*options, str(tmp_path / "a.json")])
    assert isinstance(done.exception, UserError)
    assert str(left) in str(done.exception)
    assert left.read_bytes() == before


def test_what_is_known_of_fewer_clips_says_of_how_many():
    known = Mean(0.5, 0.4, 0.6, 8)
    assert said(known, clips=8) == "0.50 (0.40 to 0.60)"
    assert said(known, clips=9, unit="%") == "0.50 % (0.40 to 0.60) of 8"
    assert said(known, unit="s") == "0.5000 s (0.4000 to 0.6000)", "as the paper prints it"
    assert _number(known, clips=9) == "0.50 of 8"


def test_an_interval_is_told_of_no_fewer_than_eight():
    assert said(Mean(0.5, 0.4, 0.6, 7), clips=7) == "0.50 of 7"


def test_what_is_measured_here_stands_in_the_papers_unit():
    tables = {of.title: of for name in STUDIES for of in papers.tables(name)}
    for table in tables.values():
        said = [
            cell
            for row in table.rows.values()
            for cell, same in zip(row.said, table.columns.values(), strict=True)
            if same
        ]
        assert all(f" {table.unit}" in cell for cell in said) if table.unit else not any("%" in cell for cell in said)
    assert tables["Hiley et al. 2020, Table 1"].here(0.25) == 25
    assert tables["Fuad et al. 2020, Table II"].here(2900) == pytest.approx(2.9)


def test_a_network_is_not_asked_for_what_needs_another_head(twin: Engine, figures: TorchBackend):
    assert "pyramid" in STUDIES["overhead"].fitting(figures)
    for asks in STUDIES.values():
        assert not {"cam", "contrast", "pyramid"} & set(asks.fitting(twin.backend))


def test_layers_of_3dcam_are_those_that_the_card_names(i3d: TorchBackend, figures: TorchBackend):
    """I3D's stages have poolings among them, which are no layers of the paper."""
    rows = localise._called(i3d, ["cam3d"])
    assert list(rows.values()) == [f"cam3d(layer={name!r})" for name in i3d.card.layers]
    assert list(localise._called(figures, ["cam3d"])) == [f"cam3d, stage {i}" for i in range(1, 6)]


def test_a_page_has_the_papers_tables_beside_what_was_measured(tmp_path: Path):
    report = tmp_path / "a.html"
    options = ["eval", "motion", "--explainer", "grad_cam", "--clips", "1", "--report", str(report)]
    done = CliRunner().invoke(app, options, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    text = report.read_text()
    assert "Hiley et al. 2020, Table 1" in text
    assert "28.17 % ± 16.78" in text
    assert "Hiley et al. 2020, Table 1" in done.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("motion", "--clips", "nowhere"), "'nowhere' is no folder"),
        (("localise", "--clips", "FOLDER"), "give a number of scenes"),
        (("faithful", "--clips", "0"), "'0' is no folder"),
        (("sanity", "--explainer", "kam"), "unknown explainer 'kam'"),
        (("overhead", "--report", "x.doc"), "--report 'x.doc'"),
        (("overhead", "--device", "gpu"), "unknown device 'gpu'"),
        (("overhead", "--precision", "fp23"), "did you mean 'fp32'"),
        (("classes", "--clips", "20000"), "10000 scenes at most"),
        pytest.param(
            ("motion", "--device", "cuda"),
            "device 'cuda' is not usable here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="here it is"),
        ),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    a_film(tmp_path / "a.avi")
    monkeypatch.setattr("sys.argv", ["rtx", "eval", *(str(tmp_path) if of == "FOLDER" else of for of in arguments)])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert why in said
