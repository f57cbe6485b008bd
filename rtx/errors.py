"""The one exception that is the user's to mend, and the nearest right name for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: one line that names the thing, the value and the way out.

    The command prints it without a traceback and ends with exit code 2.
    """


def unknown(kind: str, name: str, known: Iterable[str], also: str = "") -> UserError:
    """`unknown explainer 'ksgima': did you mean 'ksigma'? (known: cam, contrast, ksigma)`"""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(names) if len(names) <= 12 else f"{len(names)} of them, e.g. {', '.join(names[:5])}"
    return UserError(f"unknown {kind} {name!r}{hint} (known: {listed}{also})")
