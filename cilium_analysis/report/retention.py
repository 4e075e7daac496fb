"""Retention: runs that are old enough go, and so does what a crash has left of others.

A run that goes is hidden first, the index is written without it, and only then it is deleted:
whenever that is cut short, the index lists whole runs only, and the next time clears the rest.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import OutputError
from cilium_analysis.report import output
from cilium_analysis.window import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

#: No run lasts this long, not even one on another machine, whose lock may not be seen from here.
LONGEST_RUN = timedelta(days=1)


def keep_in_order(
    directory: Path,
    *,
    keep: timedelta | None,
    made: Collection[str],
    tell: Callable[[str], None],
) -> None:
    """Write the index after runs were made, and remove the old ones if that was asked for.

    Parameters
    ----------
    directory, keep, made, tell
        As for `prune`; without ``keep`` nothing is removed.

    Raises
    ------
    OutputError
        As of `prune`.
    """
    if keep is None:
        output.write_index(directory)
    else:
        prune(directory, keep=keep, made=made, now=datetime.now(UTC), tell=tell)


def prune(
    directory: Path,
    *,
    keep: timedelta,
    made: Collection[str],
    now: datetime,
    tell: Callable[[str], None],
) -> int:
    """Remove the runs that were made longer ago than asked for, and write the index anew.

    Nothing but directories that a report has made is ever removed: named as a run is, with a
    ``run.json`` of ours in it. So a run that is renamed is kept for good.

    Parameters
    ----------
    directory
        Of all runs.
    keep
        How long a run is kept, from when it was made.
    made
        Names of the runs that stay whatever their age: those just made.
    now
        What ages are counted to.
    tell
        Takes a line on how many were removed, and one on each that could not be.

    Returns
    -------
    int
        How many runs were removed.

    Raises
    ------
    OutputError
        If the directory cannot be read, or the index cannot be written.
    """
    old = [run for run in _runs(directory) if run.name not in made and _age(run, now) > keep]
    hidden = sum(_hide(run, tell) for run in old)
    output.write_index(directory)
    _clear_indexes(directory, now)
    left_by_others = _clear(directory, keep=max(keep, LONGEST_RUN), now=now, tell=tell)
    tell_of(hidden, left_by_others, keep=keep, tell=tell)
    return hidden


def tell_of(removed: int, cleared: int, *, keep: timedelta, tell: Callable[[str], None]) -> None:
    """Say how many runs were removed, and of how many the rests were cleared."""
    if removed:
        tell(f"removed {_counted(removed, 'run')} older than {format_duration(keep)}")
    if cleared:
        tell(f"cleared {_counted(cleared, 'run')} that had been cut short")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _directories(directory: Path) -> Iterator[Path]:
    """Give the directories in a directory, in order; a symbolic link is none."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as problem:
        raise OutputError(f"cannot read {directory}: {output.why(problem)}") from None
    return (directory / name for name in sorted(names))


def _runs(directory: Path) -> list[Path]:
    return [path for path in _directories(directory) if output.is_run_name(path.name)]


def _age(run: Path, now: datetime) -> timedelta:
    file = run / "run.json"
    return age(None if file.is_symlink() else output.read_run(file), now)


def age(summary: Mapping[str, Any] | None, now: datetime) -> timedelta:
    """Give the age of a run; of what cannot be told to be one of ours, none at all."""
    try:
        return now - datetime.fromisoformat((summary or {})["began"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return timedelta.min


def _hide(run: Path, tell: Callable[[str], None]) -> bool:
    """Take a run out of sight; of two reports that try, one does it."""
    try:
        run.rename(run.with_name(output.REMOVED + run.name))
    except FileNotFoundError:
        return False
    except OSError as problem:
        tell(f"cannot remove {run}: {output.why(problem)}")
        return False
    return True


def _clear(directory: Path, *, keep: timedelta, now: datetime, tell: Callable[[str], None]) -> int:
    """Delete what is hidden: removed runs, and what runs that died long ago have left."""
    count = 0
    for path in _directories(directory):
        if _is_removed(path.name):
            _delete(path, tell)
        began = output.unfinished_since(path.name)
        if began is not None and now - began > keep:
            count += _delete_abandoned(path, tell)
    return count


def _clear_indexes(directory: Path, now: datetime) -> None:
    """Delete what was to become the index when a report was killed."""
    for path in directory.glob(".index-*.html"):
        with suppress(OSError):  # another report may have deleted it, or may yet
            written = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
            if output.is_new_index(path.name) and now - written > LONGEST_RUN:
                path.unlink()


def _is_removed(name: str) -> bool:
    return name.startswith(output.REMOVED) and output.is_run_name(name.removeprefix(output.REMOVED))


def _delete_abandoned(path: Path, tell: Callable[[str], None]) -> bool:
    """Delete the directory of a run, unless that still goes on and so has it locked."""
    with output.claimed(path) as claimed:
        return claimed and _delete(path, tell)


def _delete(path: Path, tell: Callable[[str], None]) -> bool:
    """Delete a directory, even while another report deletes it too."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        if path.exists():
            shutil.rmtree(path)  # once more, for the reason
    except FileNotFoundError:
        return True
    except OSError as problem:
        tell(f"cannot delete all of {path}: {output.why(problem)}")
        return False
    return True
