"""Where reports go: a directory, or an object store. One way to use both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cilium_analysis.report.places.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from cilium_analysis.objectstore import Address
    from cilium_analysis.report.output import Kept

__all__ = ["Place", "place"]


class Place(Protocol):
    """Holds runs, the pages that compare them, and the index of all."""

    def prepare(self) -> None:
        """See that it can be written to, before anything is made."""
        ...

    def new_run(
        self,
        name: str,
        *,
        began: datetime,
        replaces: bool = False,
        kept: Kept | None = None,
    ) -> AbstractContextManager[Path]:
        """Give a directory of this machine that becomes a run, as `output.new_run` does."""
        ...

    def opened(self, name: str) -> AbstractContextManager[Path]:
        """Give a run as a directory of this machine, for as long as the block lasts."""
        ...

    def run(self, name: str) -> dict[str, Any] | None:
        """Give the ``run.json`` of a run; None if it is not there, or not whole."""
        ...

    def runs(self) -> list[dict[str, Any]]:
        """Give the ``run.json`` of each run that is whole."""
        ...

    def holds(self, name: str) -> bool:
        """Tell whether there is anything that counts as this run."""
        ...

    def write_pages(self, pages: Mapping[str, str]) -> None:
        """Write files beside the runs, each at once or not at all."""
        ...

    def clear(self, names: Collection[str]) -> None:
        """Remove what tries of these runs have left behind."""
        ...

    def keep_in_order(
        self,
        *,
        keep: timedelta | None,
        made: Collection[str],
        tell: Callable[[str], None],
    ) -> None:
        """Write the index after runs were made; remove the old ones if that was asked for."""
        ...


def place(where: Path | Address) -> Place:
    """Give the place behind a path or an address.

    Raises
    ------
    ParameterError
        If an extra is not installed that it needs.
    StoreRefused
        If the store is not set up.
    """
    if isinstance(where, Path):
        return Directory(where)
    from cilium_analysis.report.places.stored import Stored

    return Stored(where)
