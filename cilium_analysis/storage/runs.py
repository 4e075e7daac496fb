"""Runs, wherever they are stored: their names, and how their ``run.json`` is written and read."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Protocol

from cilium_analysis import foreign
from cilium_analysis.errors import Interrupted
from cilium_analysis.findings import Severity
from cilium_analysis.texts import counted
from cilium_analysis.times import format_duration, zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cilium_analysis.storage import Address
    from cilium_analysis.window import Window

    #: Decides whether an unfinished run is kept, by its directory and the error that ended it.
    Kept = Callable[[Path, BaseException], bool]

RUN_SCHEMA = "cilium-analysis/run/1"
#: No run lasts this long, not even one on another machine, whose lock may not be seen from here.
LONGEST_RUN = timedelta(days=1)
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = r"\d{8}T\d{6}Z-\d{8}T\d{6}Z-[0-9a-f]{6}"
_TEMPORARY = re.compile(rf"\.{_NAME}\.(?P<began>\d{{8}}T\d{{6}}Z)")
#: More findings than any run has; a bar of the index can be drawn of as many.
_MOST = 10**6


class Index(Protocol):
    """Makes the page that lists all runs."""

    def __call__(self, runs: Sequence[Mapping[str, Any]], *, fleets: Sequence[str]) -> str:
        """Give the page, for runs as their ``run.json`` has them and the pages of fleets."""
        ...


def run_name(window: Window) -> str:
    """Name a run by its window; a few random digits tell runs of one window apart."""
    return f"{window.start:{_STAMP}}-{window.end:{_STAMP}}-{token_hex(3)}"


def is_run_name(name: str) -> bool:
    """Tell whether `run_name` could have given this name."""
    return re.fullmatch(_NAME, name) is not None


def temporary_name(name: str, began: datetime) -> str:
    """Name the directory of an unfinished run, so that what a crash leaves behind tells its age."""
    return f".{name}.{began:{_STAMP}}"


def unfinished_since(name: str) -> datetime | None:
    """Give the time in the name of an unfinished run's directory; None if it is another name."""
    found = _TEMPORARY.fullmatch(name)
    try:
        return found and datetime.strptime(found["began"], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


@contextmanager
def stopped_after(run: Path | Address) -> Iterator[None]:
    """Say, if the block is stopped, that the run was already written."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; the report is kept in {run}") from None


def as_json(document: object) -> str:
    """Give a document as readable JSON."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, document: object) -> None:
    """Write a document as readable JSON."""
    path.write_text(as_json(document), encoding="utf-8")


def read_run(path: Path) -> dict[str, Any] | None:
    """Read a ``run.json``; None if it cannot be read, or `as_run` gives None."""
    try:
        return as_run(foreign.read(path.parent, path.name), name=path.parent.name)
    except OSError:
        return None


def as_run(content: bytes, *, name: str) -> dict[str, Any] | None:
    """Give the content of a ``run.json``, with the name of the run.

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
    """Tell whether the run has all that the index shows, each of the right type."""
    try:
        timezone, window = zone(run["parameters"]["timezone"]), run["window"]
        for moment in (run["began"], window["start"], window["end"]):
            datetime.fromisoformat(moment).astimezone(timezone)
        texts = [run["source"], run["status"], run["parameters"]["match"]]
        texts += [topic[key] for topic in run["topics"] for key in ("topic", "html", "notebook")]
        texts += [run.get(key, "") for key in ("first", "error", "verdict")]
        counts = run["findings"].items()
        lists = [run["topics"], run.get("unknown", [])]
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
        return False
    names = {str(severity) for severity in Severity}
    return (
        all(isinstance(one, list) for one in lists)
        and all(isinstance(text, str) for text in texts)
        and all(
            name in names and isinstance(count, int) and 0 <= count <= _MOST
            for name, count in counts
        )
    )


def newest_first(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort runs as the index lists them."""
    return sorted(runs, key=lambda run: str(run["began"]), reverse=True)


def age(run: Mapping[str, Any] | None, now: datetime) -> timedelta:
    """Give the age of a run; the smallest possible one if its ``run.json`` does not tell."""
    try:
        return now - datetime.fromisoformat((run or {})["began"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return timedelta.min


def tell_removed(
    removed: int, cleared: int, *, keep: timedelta, tell: Callable[[str], None]
) -> None:
    """Say how many old runs were removed, and how many unfinished ones were cleared."""
    if removed:
        tell(f"removed {counted(removed, 'run')} older than {format_duration(keep)}")
    if cleared:
        tell(f"cleared {counted(cleared, 'run')} that had been cut short")


def why(problem: OSError) -> str:
    """Give the system's reason, without the path that the message names already."""
    return problem.strerror or str(problem)
