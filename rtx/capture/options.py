"""Options of drawn sources, as in `synthetic:?size=1280x720&fps=30`."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import parse_qsl

from rtx.errors import UserError, unknown


def options_of(source: str, example: str, allowed: Collection[str]) -> dict[str, str]:
    """What stands after the question mark. UserError for an unknown option, or for text that is no such source."""
    name = example.partition("?")[0]
    rest = source.removeprefix(name)
    if rest == source or (rest and not rest.startswith("?")):
        raise UserError(f"source {source!r}: expected e.g. {example}")
    options = dict(parse_qsl(rest.removeprefix("?"), keep_blank_values=True))
    for option in options:
        if option not in allowed:
            raise unknown(f"option of {name}", option, allowed)
    return options


def size_of(text: str, source: str) -> tuple[int, int]:
    """Width and height."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or not (64 <= int(match[1]) <= 8192 and 36 <= int(match[2]) <= 8192):
        raise UserError(f"source {source!r}: size is {text!r}; expected WIDTHxHEIGHT, 64x36 to 8192x8192")
    return int(match[1]), int(match[2])


def whole_of(name: str, text: str, most: int, source: str) -> int:
    """A whole number from 0."""
    if not re.fullmatch(r"\d{1,12}", text) or int(text) > most:
        raise UserError(f"source {source!r}: {name} is {text!r}; expected a whole number from 0 to {most}")
    return int(text)


def number_of(name: str, text: str, least: float, most: float, source: str) -> float:
    """A number within bounds."""
    match = re.fullmatch(r"\d+(\.\d+)?", text)
    if not match or not least <= float(text) <= most:
        raise UserError(f"source {source!r}: {name} is {text!r}; expected a number from {least} to {most}")
    return float(text)
