"""Runs in a directory of this machine, or of a file system that it has mounted.

A run is written under a temporary name, and gets its own name when it is complete. An old run is
first hidden, then the index is written without it, and only then is it deleted. So the index lists
complete runs only, whenever a process is cut short, and the next one clears what was left.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import OutputError
from cilium_analysis.storage.runs import (
    LONGEST_RUN,
    age,
    is_run_name,
    newest_first,
    read_run,
    tell_removed,
    temporary_name,
    unfinished_since,
    why,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from datetime import timedelta

    from cilium_analysis.storage.runs import Index, Kept

#: Prefix of the name of a run that is hidden, and then deleted.
_REMOVED = ".removed-"
_NEW_INDEX = re.compile(r"\.index-[0-9a-f]{6}\.html")


@contextmanager
def claimed(directory: Path) -> Iterator[bool]:
    """Lock a directory for as long as the block lasts; tell whether that could be done.

    The system gives the lock back when the process ends, however it ends. Where directories
    cannot be locked, nothing is ever claimed.
    """
    handle = None
    try:
        import fcntl  # not on Windows

        handle = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except (ImportError, OSError):
        held = False
    try:
        yield held
    finally:
        if handle is not None:
            os.close(handle)


class Directory:
    """A directory of runs. `cilium_analysis.storage.stored.Stored` is the same for a store.

    What cannot be written raises `OutputError`.

    Parameters
    ----------
    path
        Of the directory; made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        """Make the directory, before anything else is made."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise OutputError(f"cannot write to {self._path}: {why(problem)}") from None

    @contextmanager
    def new_run(
        self,
        name: str,
        *,
        began: datetime,
        replaces: bool = False,
        kept: Kept | None = None,
    ) -> Iterator[Path]:
        """Give a temporary directory, which becomes the run when the block ends.

        It is locked for as long as the block lasts.

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
        """
        run, temporary = self._path / name, self._path / temporary_name(name, began)
        self.prepare()
        try:
            temporary.mkdir()
        except OSError as problem:
            raise OutputError(f"cannot write to {self._path}: {why(problem)}") from None
        finish = _replace if replaces else Path.rename
        try:
            with claimed(temporary):
                try:
                    yield temporary
                except BaseException as problem:
                    if kept is not None and kept(temporary, problem):
                        finish(temporary, run)
                    raise
                finish(temporary, run)
        except OSError as problem:
            raise OutputError(f"cannot write the run {run}: {why(problem)}") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """Give a run as a directory of this machine, for as long as the block lasts."""
        yield self._path / name

    def run(self, name: str) -> dict[str, Any] | None:
        """Read the ``run.json`` of a run; None if it does not exist or is not complete."""
        return read_run(self._path / name / "run.json")

    def runs(self) -> list[dict[str, Any]]:
        """Read the ``run.json`` of each complete run."""
        return _read(self._listed())

    def _listed(self) -> set[Path]:
        """Find the runs; a hidden one is still being written, or is being removed."""
        found = self._path.glob("*/run.json")
        return {path for path in found if not path.parent.name.startswith(".")}

    def holds(self, name: str) -> bool:
        """Tell whether there is anything of this name."""
        return (self._path / name).exists()

    def write_pages(self, pages: Mapping[str, str]) -> None:
        """Write files beside the runs, each under a temporary name first."""
        temporary = self._path / f".fleet-{token_hex(3)}"
        for name, text in pages.items():
            try:
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(self._path / name)
            except OSError as problem:
                raise OutputError(f"cannot write {self._path / name}: {why(problem)}") from None
            finally:
                temporary.unlink(missing_ok=True)

    def write_index(self, index: Index) -> Path:
        """Write the page that lists all runs, the newest first.

        Two runs that end at the same time both write it. So it is written again until it lists
        what is there.
        """
        path, temporary = self._path / "index.html", self._path / f".index-{token_hex(3)}.html"
        listed: set[Path] | None = None
        try:
            while (found := self._listed()) != listed:
                fleets = sorted(page.name for page in self._path.glob("fleet*.html"))
                page = index(newest_first(_read(found)), fleets=fleets)
                temporary.write_text(page, encoding="utf-8", errors="replace")
                temporary.replace(path)
                listed = found
        except OSError as problem:
            raise OutputError(f"cannot write {path}: {why(problem)}") from None
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def clear(self, names: Collection[str]) -> None:
        """Remove the temporary directories of these runs, except those of attempts that go on."""
        for name in names:
            for path in self._path.glob(f".{name}.*"):
                with claimed(path) as held, suppress(OSError):
                    if held:
                        shutil.rmtree(path)

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
        if keep is None:
            self.write_index(index)
        else:
            self.prune(index=index, keep=keep, made=made, now=datetime.now(UTC), tell=tell)

    def prune(
        self,
        *,
        index: Index,
        keep: timedelta,
        made: Collection[str],
        now: datetime,
        tell: Callable[[str], None],
    ) -> int:
        """Remove the runs that were made longer ago than asked for, and write the index anew.

        Removes only directories that a report has made: named as a run is, with a ``run.json`` of
        ours in it. So a run that is renamed is kept for good.

        Parameters
        ----------
        index, keep, made, tell
            As of `keep_in_order`.
        now
            The time that ages are counted to.

        Returns
        -------
        int
            How many runs were removed.

        Raises
        ------
        OutputError
            If the directory cannot be read, or the index cannot be written.
        """
        removed = 0
        for run in self._directories():
            if is_run_name(run.name) and run.name not in made and _age(run, now) > keep:
                removed += _hide(run, tell)
        self.write_index(index)
        self._clear_indexes(now)
        cleared = self._clear_hidden(keep=max(keep, LONGEST_RUN), now=now, tell=tell)
        tell_removed(removed, cleared, keep=keep, tell=tell)
        return removed

    def _directories(self) -> Iterator[Path]:
        """Give the directories, in order; a symbolic link is none."""
        try:
            with os.scandir(self._path) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as problem:
            raise OutputError(f"cannot read {self._path}: {why(problem)}") from None
        return (self._path / name for name in sorted(names))

    def _clear_hidden(self, *, keep: timedelta, now: datetime, tell: Callable[[str], None]) -> int:
        """Delete removed runs, and unfinished ones that ended long ago; count the latter."""
        count = 0
        for path in self._directories():
            if path.name.startswith(_REMOVED) and is_run_name(path.name.removeprefix(_REMOVED)):
                _delete(path, tell)
            began = unfinished_since(path.name)
            if began is not None and now - began > keep:
                with claimed(path) as held:  # not while the run still goes on
                    count += held and _delete(path, tell)
        return count

    def _clear_indexes(self, now: datetime) -> None:
        """Delete unfinished indexes that killed reports have left."""
        for path in self._path.glob(".index-*.html"):
            with suppress(OSError):  # another report may have deleted it, or may yet
                written = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
                if _NEW_INDEX.fullmatch(path.name) and now - written > LONGEST_RUN:
                    path.unlink()


def _read(files: Iterable[Path]) -> list[dict[str, Any]]:
    return [run for file in files if (run := read_run(file)) is not None]


def _replace(made: Path, run: Path) -> None:
    """Put a directory in the place of a run; if that cannot be done, the run stays."""
    aside = run.with_name(_REMOVED + run.name)
    shutil.rmtree(aside, ignore_errors=True)
    run.rename(aside)
    try:
        made.rename(run)
    except OSError:
        aside.rename(run)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _age(run: Path, now: datetime) -> timedelta:
    file = run / "run.json"
    return age(None if file.is_symlink() else read_run(file), now)


def _hide(run: Path, tell: Callable[[str], None]) -> bool:
    """Rename a run so that it is not listed; of two reports that try, one does it."""
    try:
        run.rename(run.with_name(_REMOVED + run.name))
    except FileNotFoundError:
        return False
    except OSError as problem:
        tell(f"cannot remove {run}: {why(problem)}")
        return False
    return True


def _delete(path: Path, tell: Callable[[str], None]) -> bool:
    """Delete a directory, even while another report deletes it too."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        if path.exists():
            shutil.rmtree(path)  # once more, for the reason
    except FileNotFoundError:
        return True
    except OSError as problem:
        tell(f"cannot delete all of {path}: {why(problem)}")
        return False
    return True
