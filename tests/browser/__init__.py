"""A real headless browser for the tests of pages."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.browser.install import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

HOW_TO_GET = "python tests/browser/install.py"


class NoBrowser(Exception):
    """There is no browser to test with."""


def program() -> str:
    """Give the path of the browser.

    Raises
    ------
    NoBrowser
        If there is none.
    """
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise NoBrowser(f"no Chromium is installed: {HOW_TO_GET}")


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser."""
    path = program()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()
