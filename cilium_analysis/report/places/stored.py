"""Reports in an object store.

What makes a run there is its ``run.json``: written last, deleted first. So the index, which is
written from those that are there, lists whole runs only, whenever something is cut short.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.objectstore import MARK, Address, Store, publication
from cilium_analysis.report import output, retention
from cilium_analysis.report.html import runs_page
from cilium_analysis.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

_RUN = "run.json"
#: What a run is gone on with: not its pages, which are made anew, nor what is no part of it.
_NEEDED = re.compile(
    r".+/(run\.json|findings\.json|\w+\.ipynb"
    r"|bundle/(manifest\.json|kubernetes\.json|answers/\d{4,}\.parquet))",
    re.ASCII,
)


class Stored:
    """As `cilium_analysis.report.places.Place`.

    Parameters
    ----------
    address
        Of all runs.
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
        kept: output.Kept | None = None,
    ) -> Iterator[Path]:
        """Give a directory that is published when the block ends well, or if it is to be kept."""
        del began  # what a crash leaves in a store has a time of its own
        self._store.listing()
        with publication(
            self._address / name, last=_RUN, replaces=replaces, kept=kept
        ) as directory:
            directory.mkdir()
            yield directory

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """Fetch a run, but for its pages, which are made anew."""
        home = scratch()
        try:
            (home / name).mkdir()
            found = self._store.sizes(name)
            self._store.download([one for one in found if _is_needed(one)], home)
            yield home / name
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def run(self, name: str) -> dict[str, Any] | None:
        """Read the ``run.json`` of a run."""
        content = self._store.find(f"{name}/{_RUN}")
        return None if content is None else output.as_run(content, name=name)

    def runs(self) -> list[dict[str, Any]]:
        """Read those of all."""
        return _runs(self._store.find_all(self._candidates()[0]))

    def holds(self, name: str) -> bool:
        """Tell whether there is a whole run of this name."""
        return self.run(name) is not None

    def write_pages(self, pages: Mapping[str, str]) -> None:
        """Write each at once, as stores do."""
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
        keep: timedelta | None,
        made: Collection[str],
        tell: Callable[[str], None],
    ) -> None:
        """Write ``index.html``, and remove the old runs if that was asked for.

        Nothing but what a report has written is ever deleted: named as a run is, with a
        ``run.json`` of ours, or the mark of one that was cut short.
        """
        if keep is None:
            self._write_index()
            return
        now = datetime.now(UTC)
        removed = [run["name"] for run in self.runs() if _is_old(run, keep, made, now)]
        removed = [name for name in removed if self._hide(name, tell)]
        self._write_index()
        cleared = self._clear_abandoned(now, but=removed)
        for name in removed:
            self._delete(name, tell)
        retention.tell_of(len(removed), cleared, keep=keep, tell=tell)

    def _write_index(self) -> None:
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
            page = runs_page(output.newest_first(_runs(read)), fleets=fleets)
            self._store.write("index.html", page.encode("utf-8", "replace"))
            before = versions

    def _candidates(self) -> tuple[list[str], list[str]]:
        """Give where runs may say that they are whole, and the pages of fleets."""
        folders, objects = self._store.listing()
        fleets = [one for one in objects if one.startswith("fleet") and one.endswith(".html")]
        return [f"{name}/{_RUN}" for name in sorted(folders) if name[:1] != "."], sorted(fleets)

    def _hide(self, name: str, tell: Callable[[str], None]) -> bool:
        """Take a run out of sight, and mark what is left of it as nothing that anybody wants."""
        try:
            self._store.write(f"{name}/{MARK}", b"")
            self._store.delete([f"{name}/{_RUN}"])
        except CiliumAnalysisError as problem:
            tell(str(problem))
            return False
        return True

    def _clear_abandoned(self, now: datetime, *, but: Collection[str]) -> int:
        """Delete what was cut short so long ago that nobody still writes it; gives how much."""
        folders = {name for name in self._store.listing()[0] if output.is_run_name(name)}
        whole = self._store.versions([f"{name}/{_RUN}" for name in folders])
        unfinished = [n for n in folders if n not in but and f"{n}/{_RUN}" not in whole]
        count = 0
        for name in unfinished:
            written = self._store.written(f"{name}/{MARK}")
            if written is not None and now - written > retention.LONGEST_RUN:
                self._delete(name)
                count += 1
        return count

    def _delete(self, name: str, tell: Callable[[str], None] | None = None) -> None:
        """Delete all objects of a run; its mark goes last."""
        if not output.is_run_name(name):
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
        output.as_run(content, name=name.removesuffix(f"/{_RUN}"))
        for name, content in contents.items()
    )
    return [run for run in found if run is not None]


def _is_old(run: Mapping[str, Any], keep: timedelta, made: Collection[str], now: datetime) -> bool:
    name = run["name"]
    return output.is_run_name(name) and name not in made and retention.age(run, now) > keep


def _is_needed(name: str) -> bool:
    """Tell whether an object is to become a file; it may have been put there by anybody."""
    parts = name.split("/")
    sound = "\\" not in name and "\0" not in name and not {"", ".", ".."} & set(parts)
    return sound and _NEEDED.fullmatch(name) is not None
