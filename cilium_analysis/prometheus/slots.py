"""How many requests a server is sent at the same time."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.prometheus.limits import Deadline


@dataclass(eq=False)
class Slot:
    """One request's slot: whether others were under way at any time while it was held."""

    crowded: bool = False


class Slots:
    """So many requests at the same time, and fewer once the server says that it is too many.

    Parameters
    ----------
    most
        At least 1.
    """

    def __init__(self, most: int) -> None:
        self.most = max(1, most)
        self._used: set[Slot] = set()
        self._changed = Condition()

    @contextmanager
    def taken(self, deadline: Deadline) -> Iterator[Slot]:
        """Wait for a slot, and hold it while the block runs.

        Parameters
        ----------
        deadline
            After it the block runs without a slot: it fails at once.
        """
        wait = None if math.isinf(deadline.at) else max(deadline.left, 0.0)
        slot = Slot()
        with self._changed:
            self._changed.wait_for(lambda: len(self._used) < self.most, wait)
            self._used.add(slot)
            if len(self._used) > 1:
                for each in self._used:
                    each.crowded = True
        try:
            yield slot
        finally:
            with self._changed:
                self._used.remove(slot)
                self._changed.notify()

    def reduce(self, most: int) -> None:
        """Send no more than so many from now on; at least 1."""
        with self._changed:
            self.most = max(1, min(self.most, most))
