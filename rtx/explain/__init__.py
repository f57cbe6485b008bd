"""Explainers as pure functions of one forward pass. Importing their declarations does not import torch."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from rtx.explain import features, fuse, gradients, propagation, pyramid, selective  # noqa: F401  (declares them)


class _CallableRoom(ModuleType):
    """`rtx.explain` is this room and, called, the function `rtx.api.explain`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from rtx.api import explain

        return explain(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableRoom
