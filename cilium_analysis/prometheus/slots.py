"""How many requests a server is sent at the same time."""

from __future__ import annotations

import math
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.prometheus.limits import Deadline


class Slots:
    """So many requests at the same time, and fewer once the server says that it is too many.

    Parameters
    ----------
    most
        At least 1.
    """

    def __init__(self, most: int) -> None:
        self.most = max(1, most)
        self._used = 0
        self._changed = Condition()

    @contextmanager
    def taken(self, deadline: Deadline) -> Iterator[None]:
        """Wait for a slot, and hold it while the block runs.

        Parameters
        ----------
        deadline
            After it the block runs without a slot: it fails at once.
        """
        wait = None if math.isinf(deadline.at) else max(deadline.left, 0.0)
        with self._changed:
            self._changed.wait_for(lambda: self._used < self.most, wait)
            self._used += 1
        try:
            yield
        finally:
            with self._changed:
                self._used -= 1
                self._changed.notify()

    def halve(self) -> None:
        """Send half as many from now on: the server has answered 429, too many requests."""
        with self._changed:
            self.most = max(1, self.most // 2)
