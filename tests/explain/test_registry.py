"""Chains as people write them, and what is said of those that are wrong."""

from __future__ import annotations

from typing import get_args

import pytest

from rtx.errors import UserError
from rtx.explain.chain import chain_for
from rtx.explain.registry import DECLARED, Reads, assemble, parse

LABELS = ("bowling", "playing cricket", "playing tennis")


@pytest.mark.parametrize(
    "text",
    [
        "ksigma",
        "ksigma(k=2.5)",
        "cam(tau=0.5) | selective(n=2.0)",
        "ksigma(weights='channel')",
        "cam3d(layer='Mixed_4f')",
    ],
)
def test_chains_read_back_as_they_were_written(text: str):
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ksgima", "did you mean 'ksigma'"),
        ("ksigma(k=9)", r"ksigma\(k=9\): out of range, k is 0..6"),
        ("ksigma(kk=2)", "did you mean 'k'"),
        ("ksigma(k='a')", "expected a number"),
        ("cam3d(layer=3)", r"cam3d\(layer=3\): expected a layer's name"),
        ("ksigma(k=True)", "expected a number"),
        ("ksigma(per_frame=1)", "expected True or False"),
        ("ksigma(weights='frames')", "did you mean 'frame'"),
        ("ksigma(", "does not read as"),
        ("ksigma(3)", "does not read as"),
        ("", "does not read as"),
        ("selective", "put an explainer before it"),
        ("cam | ksigma", "after | comes a step"),
        ("cam | fuse | selective | fuse", "fuse stands there twice"),
        ("pyramid(depth=1.5)", r"pyramid\(depth=1.5\): expected a whole number"),
        ("__import__('os').system('true')", "does not read as"),
        ("cam(tau=" + "-" * 600 + "1)", "characters are no chain"),
        ("(" * 300 + "cam", "does not read as"),
        ("ksigma(k=__import__('os'))", "no number, True, False or text in quotes"),
    ],
)
def test_mistakes_are_named(text: str, said: str):
    with pytest.raises(UserError, match=said):
        parse(text)


def test_chains_are_put_together_from_names_and_parameters_as_from_text():
    assert assemble([("ksigma", {"k": 2}), ("selective", {})]) == parse("ksigma(k=2) | selective")


def test_a_declaration_says_all_that_controls_are_made_of():
    plain = {of["name"]: of for of in (declared.plain for declared in DECLARED.values())}
    assert plain["ksigma"]["parameters"] == [
        {"name": "k", "kind": "number", "default": 3.0, "low": 0, "high": 6},
        {"name": "weights", "kind": "choice", "default": "frame", "choices": ["frame", "channel"]},
        {"name": "per_frame", "kind": "switch", "default": False},
        {"name": "rest", "kind": "switch", "default": False},
    ]
    assert [of["kind"] for of in plain["contrast"]["parameters"]] == ["class", "switch"]
    assert [of["kind"] for of in plain["cam3d"]["parameters"]] == ["layer", "switch"]
    assert [of["kind"] for of in plain["pyramid"]["parameters"]] == ["number", "integer"]
    assert plain["selective"]["reads"] is None


def test_classes_in_parameters_go_by_name():
    chain, target = chain_for("contrast(against='playing tennis')", "playing cricket", LABELS)
    assert chain.calls[0].parameters["against"] == 2
    assert target == 1


@pytest.mark.parametrize("labels", [("1", "2", "3"), ("12", "13", "14")])
def test_a_class_whose_name_is_a_number_goes_by_its_name(labels: tuple[str, ...]):
    """What was chosen by name is told by name and chosen again: it stays the same class."""
    for index, name in enumerate(labels):
        assert chain_for("cam", name, labels)[1] == index
    chain, _ = chain_for(f"contrast(against='{labels[1]}')", None, labels)
    assert chain_for(str(chain), None, labels)[0] == chain


def test_a_class_blind_explainer_takes_no_target():
    with pytest.raises(UserError, match="ksigma is class-blind"):
        chain_for("ksigma | selective", "bowling", LABELS)


def test_each_declares_what_it_reads_and_where_it_comes_from():
    for declaration in DECLARED.values():
        assert declaration.paper
        assert declaration.summary.endswith((".", ":"))
        assert declaration.is_step or declaration.reads in get_args(Reads)


def test_switches_read_as_in_python_and_as_in_toml():
    for text in ("ksigma(k=2, rest=True)", "ksigma(k=2, rest=true)"):
        assert str(parse(text)) == "ksigma(k=2.0, rest=True)"
    assert str(parse("ksigma(rest=false)")) == "ksigma"
