"""Wait until something is so, and not longer: tests know no fixed time that is long enough."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")


def until(condition: Callable[[], Found], *, limit: float = 60.0) -> Found:
    """Give the first answer of a condition that is true; fail if none comes in so many seconds."""
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen in {limit:.0f} s"
        time.sleep(0.02)
    return found
