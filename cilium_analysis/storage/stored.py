"""Runs in an object store.

A run exists there once it has a ``run.json``, which is written last and deleted first. So the
index lists complete runs only, whenever a process is cut short.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.scratch import scratch
from cilium_analysis.storage import runs
from cilium_analysis.storage.publication import MARK, publication
from cilium_analysis.storage.runs import age, as_run, is_run_name
from cilium_analysis.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from cilium_analysis.storage.address import Address
    from cilium_analysis.storage.runs import Index, Kept

_RUN = "run.json"
#: Files that are needed to resume a run: not its pages, which are made anew.
_NEEDED = re.compile(
    r".+/(run\.json|findings\.json|\w+\.ipynb"
    r"|bundle/(manifest\.json|kubernetes\.json|answers/\d{4,}\.parquet))",
    re.ASCII,
)


class Stored:
    """A prefix with runs below it; methods as of `cilium_analysis.storage.directory.Directory`.

    Parameters
    ----------
    address
        Of the prefix.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._store = Store(address)

    def prepare(self) -> None:
        """Write an object and delete it; list the others, as the index needs that."""
        probe = f".probe-{token_hex(3)}"
        self._store.write(probe, b"")
        self._store.delete([probe])
        self._store.listing()

    @contextmanager
    def new_run(
        self,
        name: str,
        *,
        began: datetime,
        replaces: bool = False,
        kept: Kept | None = None,
    ) -> Iterator[Path]:
        """Give a directory that is published when the block ends."""
        del began  # what a crash leaves in a store has a time of its own
        self._store.listing()
        target = self._address / name
        with publication(target, last=_RUN, replaces=replaces, kept=kept) as directory:
            directory.mkdir()
            yield directory

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """Fetch a run without its pages, which are made anew."""
        home = scratch()
        try:
            (home / name).mkdir()
            self._store.download(filter(_is_needed, self._store.sizes(name)), home)
            yield home / name
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def run(self, name: str) -> dict[str, Any] | None:
        """Read the ``run.json`` of a run."""
        content = self._store.find(f"{name}/{_RUN}")
        return None if content is None else as_run(content, name=name)

    def runs(self) -> list[dict[str, Any]]:
        """Read those of all complete runs."""
        return _runs(self._store.find_all(self._candidates()[0]))

    def holds(self, name: str) -> bool:
        """Tell whether there is a complete run of this name."""
        return self.run(name) is not None

    def write_pages(self, pages: Mapping[str, str]) -> None:
        """Write each as one object."""
        for name, text in pages.items():
            self._store.write(name, text.encode("utf-8", "replace"))

    def clear(self, names: Collection[str]) -> None:
        """Delete what there is of runs that have no ``run.json``."""
        folders, _ = self._store.listing()
        there = [name for name in names if name in folders]
        whole = self._store.versions([f"{name}/{_RUN}" for name in there])
        for name in there:
            if f"{name}/{_RUN}" not in whole:
                self._delete(name)

    def keep_in_order(
        self,
        *,
        index: Index,
        keep: timedelta | None,
        made: Collection[str],
        tell: Callable[[str], None],
    ) -> None:
        """Write ``index.html``, and remove the old runs if that was asked for.

        Deletes only what a report has written: named as a run is, with a ``run.json`` of ours, or
        the mark of one that was cut short.
        """
        if keep is None:
            self._write_index(index)
            return
        now, removed = datetime.now(UTC), []
        for run in self.runs():
            name = run["name"]
            old = is_run_name(name) and name not in made and age(run, now) > keep
            if old and self._hide(name, tell):
                removed.append(name)
        self._write_index(index)
        cleared = self._clear_abandoned(now, but=removed)
        for name in removed:
            self._delete(name, tell)
        runs.tell_removed(len(removed), cleared, keep=keep, tell=tell)

    def _write_index(self, index: Index) -> None:
        """Write the list until it lists what is there: two runs may do it at the same time."""
        read: dict[str, bytes] = {}
        before: dict[str, str] | None = None
        while True:
            candidates, fleets = self._candidates()
            versions = self._store.versions(candidates)
            if versions == before:
                return
            known = before or {}
            changed = [name for name in versions if versions[name] != known.get(name)]
            read = {name: read[name] for name in read if name in versions}
            read |= self._store.find_all(changed)
            page = index(runs.newest_first(_runs(read)), fleets=fleets)
            self._store.write("index.html", page.encode("utf-8", "replace"))
            before = versions

    def _candidates(self) -> tuple[list[str], list[str]]:
        """Give the names of all objects ``run.json``, and those of the pages of fleets."""
        folders, objects = self._store.listing()
        fleets = [one for one in objects if one.startswith("fleet") and one.endswith(".html")]
        return [f"{name}/{_RUN}" for name in sorted(folders) if name[:1] != "."], sorted(fleets)

    def _hide(self, name: str, tell: Callable[[str], None]) -> bool:
        """Mark a run as one that nobody wants, and delete its ``run.json``: it is not listed."""
        try:
            self._store.write(f"{name}/{MARK}", b"")
            self._store.delete([f"{name}/{_RUN}"])
        except CiliumAnalysisError as problem:
            tell(str(problem))
            return False
        return True

    def _clear_abandoned(self, now: datetime, *, but: Collection[str]) -> int:
        """Delete runs that were cut short so long ago that nobody still writes them; count them."""
        folders = {name for name in self._store.listing()[0] if is_run_name(name)}
        whole = self._store.versions([f"{name}/{_RUN}" for name in folders])
        unfinished = [n for n in folders if n not in but and f"{n}/{_RUN}" not in whole]
        count = 0
        for name in unfinished:
            written = self._store.written(f"{name}/{MARK}")
            if written is not None and now - written > runs.LONGEST_RUN:
                self._delete(name)
                count += 1
        return count

    def _delete(self, name: str, tell: Callable[[str], None] | None = None) -> None:
        """Delete all objects of a run; its mark goes last."""
        if not is_run_name(name):
            return
        try:
            names = self._store.sizes(name)
            self._store.delete([one for one in names if one != f"{name}/{MARK}"])
            self._store.delete([f"{name}/{MARK}"])
        except CiliumAnalysisError as problem:
            if tell is None:
                raise
            tell(str(problem))


def _runs(contents: Mapping[str, bytes]) -> list[dict[str, Any]]:
    found = (
        as_run(content, name=name.removesuffix(f"/{_RUN}")) for name, content in contents.items()
    )
    return [run for run in found if run is not None]


def _is_needed(name: str) -> bool:
    """Tell whether an object is to become a file; anybody may have put it there."""
    parts = name.split("/")
    sound = "\\" not in name and "\0" not in name and not {"", ".", ".."} & set(parts)
    return sound and _NEEDED.fullmatch(name) is not None
