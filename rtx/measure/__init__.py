"""Measures: how old, how fast, how true."""
