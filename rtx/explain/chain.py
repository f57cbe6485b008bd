"""A chain as asked for, checked against a model's classes. Importable without torch."""

from __future__ import annotations

from typing import Any

import rtx.explain  # noqa: F401  (declares the explainers)
from rtx.errors import UserError
from rtx.explain.registry import Call, Chain, parse
from rtx.nets.cards import class_index


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
    return chain, class_index(labels, target) if labels else None


def bind(chain: Chain, labels: tuple[str, ...]) -> Chain:
    """The chain with classes named in its parameters as numbers. UserError for a class that does not exist."""

    def number(call: Call) -> Call:
        named: dict[str, Any] = {}
        for name, value in call.parameters.items():
            of_class = call.declaration.parameters[name].of_class and value is not None
            named[name] = class_index(labels, value) if of_class else value
        return Call(call.declaration, named)

    return Chain(tuple(number(call) for call in chain.calls))
