"""A chain as asked for, checked against a model and what runs it. Importable without torch."""

from __future__ import annotations

from typing import Any

import rtx.explain  # noqa: F401  (declares the explainers)
from rtx.errors import UserError
from rtx.explain.registry import Call, Chain, parse
from rtx.nets.cards import Card, class_index

FEATURES_ONLY = ("compile", "graphs", "onnx", "openvino")
"""Backends whose pass gives features and logits, and cannot be asked for gradients or inner layers."""


def chain_for(explainer: str, target: str | None, labels: tuple[str, ...]) -> tuple[Chain, int | None]:
    """The chain and the class to explain (None: the top class). UserError where they do not fit the model.

    A foreign network's classes are not known before it is built: without `labels`, what names a class waits.
    """
    chain = parse(explainer)
    if labels:
        chain = bind(chain, labels)
    if target is None:
        return chain, None
    if chain.class_blind:
        raise UserError(
            f"{chain.name} is class-blind, so it cannot explain {target!r}; leave out the target, or use cam"
        )
    index = class_index(labels, target) if labels else None
    if index is not None and chain.calls[0].parameters.get("against") == index:
        raise UserError(f"{chain.name}: {target!r} against itself leaves nothing; name two classes")
    return chain, index


def bind(chain: Chain, labels: tuple[str, ...]) -> Chain:
    """The chain with classes named in its parameters as numbers. UserError for a class that does not exist."""

    def number(call: Call) -> Call:
        named: dict[str, Any] = {}
        for name, value in call.parameters.items():
            of_class = call.declaration.parameters[name].of_class and value is not None
            named[name] = class_index(labels, value) if of_class else value
        return Call(call.declaration, named)

    return Chain(tuple(number(call) for call in chain.calls))


def followed(card: Card, chain: Chain, continual: bool) -> bool:
    """Are streams followed frame by frame? Explainers that need a pass of their own see whole clips."""
    return card.causal and continual and chain.reads == "features" and card.layer is None


def check_backend(chain: Chain, card: Card, backend: str, continual: bool) -> None:
    """UserError where this backend cannot give what the chain reads."""
    if backend in FEATURES_ONLY and chain.reads != "features":
        raise UserError(
            f"{chain.name} reads {chain.reads}, and backend {backend!r} gives features only: "
            "use ksigma, cam, contrast or tube, or --backend torch"
        )
    if backend != "torch" and followed(card, chain, continual):
        raise UserError(
            f"{card.name} is followed frame by frame, which only backend 'torch' does; "
            f"leave {backend!r} out, or see whole clips: --set worker.continual=false"
        )
