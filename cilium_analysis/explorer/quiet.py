"""What the explorer sets in its own widgets, told apart from what somebody chooses."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Quiet:
    """While a block lasts, what changes in its thread was chosen by nobody.

    JupyterLab has what is typed handled in a thread of its own where the kernel can do that
    (subshells, JEP 91), while results are shown in another.
    """

    def __init__(self) -> None:
        self._thread: int | None = None

    def __enter__(self) -> None:
        self._thread = get_ident()

    def __exit__(self, *_: object) -> None:
        self._thread = None

    def __bool__(self) -> bool:
        """Tell whether this is such a change."""
        return self._thread == get_ident()

    def unless(self, chosen: Callable[[Any], object]) -> Callable[[Mapping[str, Any]], None]:
        """Give an observer that passes on the new value that somebody has chosen."""

        def observer(change: Mapping[str, Any]) -> None:
            if not self:
                chosen(change["new"])

        return observer
