"""Benchmarks: one script a claim, each printing a table and writing JSON into results/."""
