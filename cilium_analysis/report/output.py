"""Directories of runs: written under a temporary name, there when whole, listed in an index."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import OutputError
from cilium_analysis.report.html import runs_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from cilium_analysis.window import Window

RUN_SCHEMA = "cilium-analysis/run/1"
_STAMP = "%Y%m%dT%H%M%SZ"


def run_name(window: Window) -> str:
    """Name a run by its window; a few random digits tell runs of one window apart."""
    return f"{_stamp(window.start)}-{_stamp(window.end)}-{token_hex(3)}"


def _stamp(moment: datetime) -> str:
    return moment.strftime(_STAMP)


@contextmanager
def new_run(output: Path, name: str) -> Iterator[Path]:
    """Give a temporary directory that gets its name when the block ends well.

    Parameters
    ----------
    output
        Directory of all runs; made if it is not there.
    name
        Of the run.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    temporary = output / f".{name}"
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as problem:
        raise OutputError(f"cannot write to {output}: {_why(problem)}") from None
    try:
        yield temporary
        temporary.rename(output / name)
    except OSError as problem:
        raise OutputError(f"cannot write the run {output / name}: {_why(problem)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, document: object) -> None:
    """Write a document as readable JSON."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


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
        while (found := set(output.glob("*/run.json"))) != listed:
            temporary.write_text(runs_page(_runs(found)), encoding="utf-8")
            temporary.replace(path)
            listed = found
    except OSError as problem:
        raise OutputError(f"cannot write {path}: {_why(problem)}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _runs(paths: set[Path]) -> list[dict[str, Any]]:
    runs = [run for path in paths if (run := _read(path)) is not None]
    return sorted(runs, key=lambda run: str(run["began"]), reverse=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Read a run; None if the file is not one of ours, such as one of a later version."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(run, dict) or run.get("schema") != RUN_SCHEMA:
        return None
    return run | {"name": path.parent.name}


def _why(problem: OSError) -> str:
    return problem.strerror or str(problem)
