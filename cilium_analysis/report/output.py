"""Directories of runs: written under a temporary name, there when whole, listed in an index."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis import foreign
from cilium_analysis.errors import Interrupted, OutputError
from cilium_analysis.findings import Severity
from cilium_analysis.report.clock import clock
from cilium_analysis.report.html import runs_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from cilium_analysis.objectstore import Address
    from cilium_analysis.window import Window

    #: Tells whether what there is of a run is to be kept, by where it is and what ended it.
    Kept = Callable[[Path, BaseException], bool]

RUN_SCHEMA = "cilium-analysis/run/1"
#: What the name of a run begins with that is hidden, and then deleted.
REMOVED = ".removed-"
_STAMP = "%Y%m%dT%H%M%SZ"
_RUN = r"\d{8}T\d{6}Z-\d{8}T\d{6}Z-[0-9a-f]{6}"
#: More findings than any run has; a bar of the index can be drawn of as many.
_MOST = 10**6
_UNFINISHED = re.compile(rf"\.{_RUN}\.(?P<began>\d{{8}}T\d{{6}}Z)")


def run_name(window: Window) -> str:
    """Name a run by its window; a few random digits tell runs of one window apart."""
    return f"{_stamp(window.start)}-{_stamp(window.end)}-{token_hex(3)}"


def _stamp(moment: datetime) -> str:
    return moment.strftime(_STAMP)


def is_run_name(name: str) -> bool:
    """Tell whether `run_name` could have given this name."""
    return re.fullmatch(_RUN, name) is not None


def is_new_index(name: str) -> bool:
    """Tell whether `write_index` could have given this name to an index that is not there yet."""
    return re.fullmatch(r"\.index-[0-9a-f]{6}\.html", name) is not None


def unfinished_since(name: str) -> datetime | None:
    """Tell when the run began whose temporary directory has this name; None if it is none."""
    found = _UNFINISHED.fullmatch(name)
    try:
        return found and datetime.strptime(found["began"], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


@contextmanager
def new_run(
    output: Path,
    name: str,
    *,
    began: datetime,
    replaces: bool = False,
    kept: Kept | None = None,
) -> Iterator[Path]:
    """Give a temporary directory that gets its name when the block ends well.

    Parameters
    ----------
    output
        Directory of all runs; made if it is not there.
    name
        Of the run.
    began
        When; part of the temporary name, so that what a crash leaves behind tells its age.
    replaces
        Whether it takes the place of the run that has this name.
    kept
        Tells whether it gets its name also when the block ends with an error.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    temporary = output / f".{name}.{_stamp(began)}"
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as problem:
        raise OutputError(f"cannot write to {output}: {why(problem)}") from None
    try:
        with claimed(temporary):
            try:
                yield temporary
            except BaseException as problem:
                if kept is not None and kept(temporary, problem):
                    _place(temporary, output / name, replaces=replaces)
                raise
            _place(temporary, output / name, replaces=replaces)
    except OSError as problem:
        raise OutputError(f"cannot write the run {output / name}: {why(problem)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _place(made: Path, run: Path, *, replaces: bool) -> None:
    if replaces:
        _replace(run, made)
    else:
        made.rename(run)


def _replace(run: Path, by: Path) -> None:
    """Put a directory in the place of a run; if that cannot be done, the run stays."""
    aside = run.with_name(REMOVED + run.name)
    shutil.rmtree(aside, ignore_errors=True)
    run.rename(aside)
    try:
        by.rename(run)
    except OSError:
        aside.rename(run)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def claimed(directory: Path) -> Iterator[bool]:
    """Lock a directory for as long as the block lasts; tells whether that could be done.

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


@contextmanager
def kept(run: Path | Address) -> Iterator[None]:
    """Let who stops the block know that the run is there: it was written before."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; the report is kept in {run}") from None


def write_json(path: Path, document: object) -> None:
    """Write a document as readable JSON."""
    path.write_text(as_json(document), encoding="utf-8")


def as_json(document: object) -> str:
    """Give a document as readable JSON."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_index(output: Path) -> Path:
    """Write the page that lists all runs, the newest first.

    Two runs that end at the same time both write it; so it is written again until it lists
    what is there.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path, temporary = output / "index.html", output / f".index-{token_hex(3)}.html"
    listed: set[Path] | None = None
    try:
        while (found := _listed(output)) != listed:
            fleets = sorted(page.name for page in output.glob("fleet*.html"))
            runs = [run for path in found if (run := read_run(path)) is not None]
            page = runs_page(newest_first(runs), fleets=fleets)
            temporary.write_text(page, encoding="utf-8", errors="replace")
            temporary.replace(path)
            listed = found
    except OSError as problem:
        raise OutputError(f"cannot write {path}: {why(problem)}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _listed(output: Path) -> set[Path]:
    """Find the runs; what is hidden is still being written, or is being removed."""
    return {path for path in output.glob("*/run.json") if not path.parent.name.startswith(".")}


def newest_first(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort runs as the index lists them."""
    return sorted(runs, key=lambda run: str(run["began"]), reverse=True)


def runs_in(output: Path) -> list[dict[str, Any]]:
    """Give the runs of a directory that are whole, as their ``run.json`` has them."""
    return [run for path in _listed(output) if (run := read_run(path)) is not None]


def read_run(path: Path) -> dict[str, Any] | None:
    """Read a ``run.json``; None if it cannot be, or `as_run` gives none."""
    try:
        return as_run(foreign.read(path.parent, path.name), name=path.parent.name)
    except OSError:
        return None


def as_run(content: bytes, *, name: str) -> dict[str, Any] | None:
    """Give what a ``run.json`` says of the run of this name.

    None if it is not one of ours, such as one of a later version, or lacks what the index shows:
    whoever can write into the directory must not be able to end every report with an error.
    """
    try:
        run = foreign.parse(content, halves=True)
        name.encode()  # it becomes a link
    except ValueError:
        return None
    if not isinstance(run, dict) or run.get("schema") != RUN_SCHEMA:
        return None
    return run | {"name": name} if _can_be_shown(run) else None


def _can_be_shown(run: Mapping[str, Any]) -> bool:
    """Tell whether all is there that the index shows, of a kind that it can show."""
    try:
        zone, window = run["parameters"]["timezone"], run["window"]
        for moment in (run["began"], window["start"], window["end"]):
            clock(moment, zone)
        texts = [run["source"], run["status"], run["parameters"]["match"]]
        texts += [topic[key] for topic in run["topics"] for key in ("topic", "html", "notebook")]
        texts += [run.get(key, "") for key in ("first", "error", "verdict")]
        counts = run["findings"].items()
        lists = [run["topics"], run.get("unknown", [])]
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
        return False
    names = {str(severity) for severity in Severity}
    listed = all(isinstance(one, list) for one in lists)
    return (
        listed
        and all(isinstance(text, str) for text in texts)
        and all(
            name in names and isinstance(count, int) and 0 <= count <= _MOST
            for name, count in counts
        )
    )


def why(problem: OSError) -> str:
    """Give the system's reason, without the path that the message names already."""
    return problem.strerror or str(problem)
