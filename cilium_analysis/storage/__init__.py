"""Storage: where runs and bundles are kept. A directory, or an object store.

Object stores are S3 and what speaks like it, Google Cloud Storage and Azure Blob Storage. Their
own libraries find the credentials: in the environment, in their configuration files, or in the
role of the machine or pod. An address never holds any.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cilium_analysis.storage.address import Address, located
from cilium_analysis.storage.publication import MARK, publication
from cilium_analysis.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from cilium_analysis.storage.runs import Index, Kept

__all__ = ["MARK", "Address", "Place", "Store", "located", "place", "publication"]


class Place(Protocol):
    """Holds runs, the pages that compare them, and the index of all."""

    def prepare(self) -> None:
        """Check that it can be written to, before anything is made."""
        ...

    def new_run(
        self,
        name: str,
        *,
        began: datetime,
        replaces: bool = False,
        kept: Kept | None = None,
    ) -> AbstractContextManager[Path]:
        """Give a temporary directory of this machine, which becomes the run when the block ends.

        Parameters
        ----------
        name
            Of the run.
        began
            When the run began.
        replaces
            Whether it takes the place of the run that has this name.
        kept
            Decides whether it becomes the run also when the block ends with an error.

        Raises
        ------
        OutputError, StoreRefused, StoreUnavailable
            If it cannot be written.
        """
        ...

    def opened(self, name: str) -> AbstractContextManager[Path]:
        """Give a run as a directory of this machine, for as long as the block lasts."""
        ...

    def run(self, name: str) -> dict[str, Any] | None:
        """Give the ``run.json`` of a run; None if the run does not exist or is not complete."""
        ...

    def runs(self) -> list[dict[str, Any]]:
        """Give the ``run.json`` of each complete run."""
        ...

    def holds(self, name: str) -> bool:
        """Tell whether there is anything that counts as this run."""
        ...

    def write_pages(self, pages: Mapping[str, str]) -> None:
        """Write files beside the runs. No file is ever half written."""
        ...

    def clear(self, names: Collection[str]) -> None:
        """Remove what unfinished attempts at these runs have left behind."""
        ...

    def keep_in_order(
        self,
        *,
        index: Index,
        keep: timedelta | None,
        made: Collection[str],
        tell: Callable[[str], None],
    ) -> None:
        """Write the index after runs were made, and remove old runs if that was asked for.

        Parameters
        ----------
        index
            Makes the page that lists all runs.
        keep
            How long runs are kept, from when they were made; None keeps all.
        made
            Names of the runs that stay whatever their age: those just made.
        tell
            Takes a line on how many runs were removed, and one on each that could not be.
        """
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
        from cilium_analysis.storage.directory import Directory

        return Directory(where)
    from cilium_analysis.storage.stored import Stored

    return Stored(where)
