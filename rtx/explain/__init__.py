"""Explainers as pure functions of one forward pass. Importing their declarations does not import torch."""

from rtx.explain import features, selective  # noqa: F401  (registers the explainers)
