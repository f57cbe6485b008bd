"""What is written of measurements is what was measured: nothing in it was typed."""

from __future__ import annotations

from benchmarks import papers, readme, truth


def test_the_readmes_numbers_are_those_of_the_results():
    assert readme.numbers() in readme.README.read_text(encoding="utf-8")


def test_the_papers_tables_are_those_of_the_results():
    assert papers.PAPERS.read_text(encoding="utf-8") == papers.text()


def test_the_table_of_networks_is_that_of_the_results():
    assert truth.networks() in truth.TRUTH.read_text(encoding="utf-8")
