"""Notebooks in a directory of one's own: what somebody changed there is never written over.

A hidden file keeps which version of each notebook was given to the directory. One that is still
as it was given is replaced by a newer version; of one that was edited or run, the newer version is
put beside it. One that was deleted or renamed is there again the next time.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOTDIR
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis import __version__
from cilium_analysis.config import FILE, read_config
from cilium_analysis.errors import OutputError
from cilium_analysis.report.notebooks import notebook_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cilium_analysis.config import Config

START = "START_HERE.ipynb"
GIVEN = ".cilium-analysis-lab.json"
_SCHEMA = "cilium-analysis/lab/1"


@dataclass(frozen=True)
class Placed:
    """What became of the notebooks, by their names.

    Parameters
    ----------
    new, updated
        Put there; put in the place of an older version that nobody had changed.
    kept
        Edited, and so left as they are.
    beside
        Newer versions of some of those, under names of their own.
    """

    new: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def place(directory: Path, *, notebooks: Path | None = None, version: str = __version__) -> Placed:
    """Put the notebooks of this package into a directory.

    Parameters
    ----------
    directory
        Made if it is not there.
    notebooks
        Where they are taken from; those of this package if None.
    version
        Of the notebooks: part of the name of one that is put beside another.

    Raises
    ------
    OutputError
        If the directory cannot be written.
    """
    sources = sorted((notebooks or notebook_directory()).glob("*.ipynb"))
    with _written(directory):
        given = _given(directory)
        fates = {file.name: _put(file, directory, given, version) for file in sources}
        _write(directory / GIVEN, _state(given))
    beside = [text for text in fates.values() if text not in (_NEW, _UPDATED, _KEPT, _SAME)]
    return Placed(
        new=tuple(name for name, fate in fates.items() if fate == _NEW),
        updated=tuple(name for name, fate in fates.items() if fate == _UPDATED),
        kept=tuple(name for name, fate in fates.items() if fate == _KEPT or fate in beside),
        beside=tuple(beside),
    )


def write_config(directory: Path, config: Config) -> None:
    """Write what the notebooks of a directory ask; a file that says so already stays as it is.

    Raises
    ------
    OutputError
        If it cannot be written.
    ParameterError
        If there are credentials in it.
    """
    content = config.text().encode()
    if read_config(directory) == config:
        return
    with _written(directory):
        _write(directory / FILE, content)


_NEW, _UPDATED, _KEPT, _SAME = "new", "updated", "kept", "same"


def _put(source: Path, directory: Path, given: dict[str, str], version: str) -> str:
    """Put one notebook there; say what became of it, or the name it got beside an edited one."""
    content = source.read_bytes()
    ours, known, target = digest(content), given.get(source.name), directory / source.name
    given[source.name] = ours
    there = digest(target.read_bytes()) if os.path.lexists(target) else None
    if there is None or (there == known and there != ours):
        _write(target, content)
        return _NEW if there is None else _UPDATED
    if there == ours:
        return _SAME
    if known == ours:  # it has our newest version already, here or beside
        return _KEPT
    beside = directory / f"{source.stem}-{version}.ipynb"
    if os.path.lexists(beside) and digest(beside.read_bytes()) not in (
        ours,
        given.get(beside.name),
    ):
        return _KEPT
    _write(beside, content)
    given[beside.name] = ours
    return beside.name


def digest(content: bytes) -> str:
    """Tell notebooks apart by what a person sees in them.

    JupyterLab writes a notebook anew when it is only opened: its metadata and spaces count for
    nothing, its text, its tags and its outputs do.

    Parameters
    ----------
    content
        Of the file. One that is no notebook is told apart by every byte.
    """
    try:
        seen = [_seen(cell) for cell in json.loads(content)["cells"]]
        content = json.dumps(seen, sort_keys=True).encode()
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    return hashlib.sha256(content).hexdigest()


def _seen(cell: Mapping[str, Any]) -> list[Any]:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    tags = cell.get("metadata", {}).get("tags", [])
    return [cell["cell_type"], text, tags, cell.get("outputs", []), cell.get("attachments", {})]


def _given(directory: Path) -> dict[str, str]:
    """Read which versions the directory was given; of none, each file there is somebody's own."""
    try:
        state = json.loads((directory / GIVEN).read_bytes())
        if state["schema"] == _SCHEMA:
            return {str(name): str(text) for name, text in state["given"].items()}
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        pass
    return {}


def _state(given: Mapping[str, str]) -> bytes:
    return json.dumps({"schema": _SCHEMA, "given": dict(given)}, indent=1, sort_keys=True).encode()


@contextmanager
def _written(directory: Path) -> Iterator[None]:
    """Make a directory that the block writes to, and say in one line if that cannot be done."""
    try:
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(ENOTDIR, "it is no directory")
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise OutputError(f"cannot write to {directory}: {reason}") from None


def _write(target: Path, content: bytes) -> None:
    """Write a file as a whole, or not at all."""
    temporary = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
