"""What explainers there are: their parameters are read off their signatures, chains are read from text."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from rtx.errors import UserError, unknown

F = TypeVar("F", bound=Callable[..., Any])
Reads = Literal["features", "gradients", "layer inputs"]

LONGEST = 500
"""Characters of a chain as text."""


@dataclass(frozen=True)
class Range:
    """The values that a number may take, both ends included."""

    low: float
    high: float


class OfLayer:
    """Marks a parameter that names a layer of the network."""


class OfClass:
    """Marks a parameter that names a class of the model, by name or number."""


@dataclass(frozen=True)
class Parameter:
    """One keyword of an explainer."""

    name: str
    default: Any
    kind: type
    choices: tuple[Any, ...] = ()
    range: Range | None = None
    of_class: bool = False
    of_layer: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        """For programs and pages: what it is called, what it may be, and what it is where nothing is said."""
        kind = (
            "class" if self.of_class else "layer" if self.of_layer else "choice" if self.choices
            else "switch" if self.kind is bool else "integer" if self.kind is int else "number"
        )  # fmt: skip
        limits = {"low": self.range.low, "high": self.range.high} if self.range else {}
        choices = {"choices": list(self.choices)} if self.choices else {}
        return {"name": self.name, "kind": kind, "default": self.default, **limits, **choices}

    @property
    def said(self) -> str:
        """Its name, default and what it may be, in words."""
        may = (
            " | ".join(map(repr, self.choices)) if self.choices
            else f"{self.range.low:g}..{self.range.high:g}" if self.range
            else "a class" if self.of_class else "a layer" if self.of_layer else "True | False"
        )  # fmt: skip
        return f"{self.name}={self.default!r} ({may})"

    def checked(self, value: Any, explainer: str) -> Any:
        """The value, if it may be one. Raises UserError."""
        where = f"{explainer}({self.name}={value!r})"
        if self.of_class:
            if value is not None and not isinstance(value, str | int):
                raise UserError(f"{where}: expected a class's name or number")
            return value
        if self.of_layer:
            if value is not None and not isinstance(value, str):
                raise UserError(f"{where}: expected a layer's name")
            return value
        if self.choices:
            if value not in self.choices:
                raise unknown(f"value for {explainer}'s {self.name}:", str(value), [str(c) for c in self.choices])
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise UserError(f"{where}: expected True or False")
            return value
        if value is None and self.default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{where}: expected a number")
        if self.range and not self.range.low <= value <= self.range.high:
            raise UserError(f"{where}: out of range, {self.name} is {self.range.low:g}..{self.range.high:g}")
        if self.kind is int and value != int(value):
            raise UserError(f"{where}: expected a whole number")
        return self.kind(value)


@dataclass(frozen=True)
class Declaration:
    """One explainer (makes a map) or step (changes a map)."""

    name: str
    function: Callable[..., Any]
    summary: str
    reads: Reads | None
    """What it needs of the forward pass; None for a step."""
    class_blind: bool
    paper: str
    parameters: dict[str, Parameter] = field(default_factory=dict)

    @property
    def is_step(self) -> bool:
        return self.reads is None

    @property
    def plain(self) -> dict[str, Any]:
        """For programs and pages: what it shows, what it reads, its parameters, its paper."""
        return {
            "name": self.name, "shows": self.summary, "reads": self.reads, "class_blind": self.class_blind,
            "parameters": [parameter.plain for parameter in self.parameters.values()], "paper": self.paper,
        }  # fmt: skip


DECLARED: dict[str, Declaration] = {}


def explainer(*, reads: Reads, paper: str, class_blind: bool = False) -> Callable[[F], F]:
    """Register `function(forward, *, parameters) -> N t h w` under its name."""
    return lambda function: _declare(
        function if reads == "features" else _differentiable(function), reads, class_blind, paper
    )


def _differentiable(function: F) -> F:
    """Whatever mode the caller is in, gradients can be taken within."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        import torch

        with torch.inference_mode(False), torch.enable_grad():
            return function(*args, **kwargs)

    return run  # type: ignore[return-value]


def step(*, paper: str) -> Callable[[F], F]:
    """Register `function(forward, relevance, *, parameters, memory) -> Stepped` as a step after an explainer."""
    return lambda function: _declare(function, None, False, paper)


def _declare(function: F, reads: Reads | None, class_blind: bool, paper: str) -> F:
    parameters = {
        name: _parameter(name, parameter)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name != "memory"
    }
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    name = function.__name__
    DECLARED[name] = Declaration(name, function, summary, reads, class_blind, paper, parameters)
    return function


def _parameter(name: str, parameter: inspect.Parameter) -> Parameter:
    annotation: Any = parameter.annotation
    notes: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        notes = tuple(rest)
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    # Of a number that may be left out, the number.
    kind = next((of for of in (annotation, *get_args(annotation)) if isinstance(of, type)), str)
    limits = next((note for note in notes if isinstance(note, Range)), None)
    of_class = any(isinstance(note, OfClass) for note in notes)
    of_layer = any(isinstance(note, OfLayer) for note in notes)
    return Parameter(name, parameter.default, kind, choices, limits, of_class, of_layer)


@dataclass(frozen=True)
class Call:
    """One link of a chain: a declaration with its parameters."""

    declaration: Declaration
    parameters: dict[str, Any]

    @property
    def changed(self) -> dict[str, Any]:
        """Its parameters that are not as declared."""
        return {n: v for n, v in self.parameters.items() if v != self.declaration.parameters[n].default}

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.changed.items())
        return f"{self.declaration.name}({inside})" if inside else self.declaration.name


@dataclass(frozen=True)
class Chain:
    """An explainer and the steps after it, left to right."""

    calls: tuple[Call, ...]

    def __str__(self) -> str:
        return " | ".join(map(str, self.calls))

    @property
    def class_blind(self) -> bool:
        return self.calls[0].declaration.class_blind

    @property
    def reads(self) -> Reads:
        """What its explainer needs of the forward pass."""
        reads = self.calls[0].declaration.reads
        assert reads is not None
        return reads

    @property
    def name(self) -> str:
        """The explainer's name, without parameters and steps."""
        return self.calls[0].declaration.name


Asked = tuple[str, Mapping[str, Any]]
"""A name and the parameters that are to be other than declared."""


def parse(text: str) -> Chain:
    """`ksigma(k=2) | selective(n=4)` as a chain. UserError names what is wrong with it."""
    if len(text) > LONGEST:
        raise UserError(f"explainer {text[:40]!r}...: {len(text)} characters are no chain, {LONGEST} are the most")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise UserError(f"explainer {text!r} does not read as NAME or NAME(key=value) | STEP(key=value)") from None
    return assemble([_read(node, text) for node in _nodes(tree)])


def parse_several(text: str) -> list[Chain]:
    """`ksigma(k=2), cam | selective` as chains. UserError."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return [parse(text)]  # It says what is wrong.
    nodes = tree.elts if isinstance(tree, ast.Tuple) else [tree]
    return [parse(ast.unparse(node)) for node in nodes]


def assemble(asked: Sequence[Asked]) -> Chain:
    """An explainer and steps as a chain. UserError names what is wrong with it."""
    calls = [_call(name, parameters) for name, parameters in asked]
    names = [call.declaration.name for call in calls]
    text = " | ".join(names)
    if not calls:
        raise UserError("no explainer; name one of `rtx explainers`")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"explainer {text!r}: {name} stands there twice")
    if calls[0].declaration.is_step:
        raise UserError(f"explainer {text!r}: {calls[0].declaration.name} changes a map; put an explainer before it")
    for call in calls[1:]:
        if not call.declaration.is_step:
            raise UserError(
                f"explainer {text!r}: {call.declaration.name} makes a map; after | comes a step (selective, fuse)"
            )
    return Chain(tuple(calls))


def _nodes(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_nodes(node.left), node.right]
    return [node]


def _read(node: ast.expr, text: str) -> Asked:
    name = node.func if isinstance(node, ast.Call) else node
    if not isinstance(name, ast.Name) or (isinstance(node, ast.Call) and node.args):
        raise UserError(f"explainer {text!r} does not read as NAME or NAME(key=value) | STEP(key=value)")
    parameters: dict[str, Any] = {}
    for keyword in node.keywords if isinstance(node, ast.Call) else []:
        value = keyword.value
        if isinstance(value, ast.Name) and value.id in ("true", "false"):
            value = ast.Constant(value.id == "true")  # As in TOML.
        try:
            parameters[str(keyword.arg)] = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError):
            raise UserError(
                f"explainer {text!r}: the value of {keyword.arg} is no number, True, False "
                f"or text in quotes ({keyword.arg}='...')"
            ) from None
    return name.id, parameters


def _call(name: str, asked: Mapping[str, Any]) -> Call:
    if name not in DECLARED:
        raise unknown("explainer", name, DECLARED)
    declaration = DECLARED[name]
    parameters = {parameter.name: parameter.default for parameter in declaration.parameters.values()}
    for key, value in asked.items():
        if key not in declaration.parameters:
            raise unknown(f"parameter of {name}:", key, declaration.parameters)
        parameters[key] = declaration.parameters[key].checked(value, name)
    return Call(declaration, parameters)
