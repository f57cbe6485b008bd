"""What is written of measurements is what was measured: nothing in it was typed."""

from __future__ import annotations

import pytest

from benchmarks import papers, readme, tables


def test_the_readmes_numbers_are_those_of_the_results():
    assert readme.numbers() in readme.README.read_text(encoding="utf-8")


def test_the_papers_tables_are_those_of_the_results():
    assert papers.PAPERS.read_text(encoding="utf-8") == papers.text()


def test_where_maps_lie_is_what_the_results_say():
    assert tables.PLACES.read_text(encoding="utf-8") == tables.places()


@pytest.mark.parametrize("name", tables.TABLES)
def test_the_tables_of_what_to_trust_are_those_of_the_results(name: str):
    assert tables.section(name) in tables.TRUTH.read_text(encoding="utf-8")
