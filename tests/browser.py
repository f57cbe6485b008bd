"""A headless Chromium for tests that look at the page as its reader does."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium", path="/usr/bin") or shutil.which("chromium")
MISSING = (
    "playwright is not installed: pip install -e .[dev]"
    if find_spec("playwright") is None
    else "Chromium is not installed: apt-get install chromium"
    if CHROMIUM is None
    else None
)
"""Why there is no browser; None where there is one."""

_AXE = Path(__file__).parents[1] / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
NO_AXE = None if _AXE.is_file() else "axe-core is not here: npm install --prefix .venv/axe axe-core@4"
"""Why nobody looks for what a reader cannot use; None where axe-core is here."""

_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser; open pages with `goto(url, wait_until="commit")`: their streams never end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def opens(page: Page, address: str) -> bool:
    """Go there; False where nobody answers yet."""
    with suppress(Exception):
        return page.goto(address, wait_until="commit") is not None
    return False


def until(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait for a condition that no page event announces."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout:.0f} s for: {what}"
        time.sleep(0.01)


def serious_for_axe(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core finds serious or worse in a page: the rule, and the places."""
    page.evaluate(_AXE.read_text())
    found = json.loads(page.evaluate("axe.run().then((found) => JSON.stringify(found.violations))"))
    return [
        (of["id"], [node["html"][:120] for node in of["nodes"]])
        for of in found
        if of["impact"] in ("serious", "critical")
    ]
