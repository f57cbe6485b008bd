"""A headless Chromium for tests that look at the page as its reader does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
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


def until(condition: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Wait for a condition that no page event announces."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout:.0f} s for: {what}"
        time.sleep(0.01)
