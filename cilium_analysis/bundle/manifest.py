"""The manifest of a bundle: its windows, source and versions, and one row per answer."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING, Any

from cilium_analysis import foreign
from cilium_analysis.errors import BudgetExceeded, BundleError, PrometheusError, QueryRejected
from cilium_analysis.queries import parse_matchers
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = "cilium-analysis/bundle/1"
MANIFEST = "manifest.json"
KUBERNETES = "kubernetes.json"
_FILE = re.compile(r"answers/\d{4,}\.parquet", re.ASCII)
#: No sample of Prometheus is older, and no calendar here ends before.
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
#: Points of the longest window: a year in steps of three seconds.
_MOST_POINTS = 10**7
#: Errors that a recording keeps beside answers.
_REFUSALS: dict[str, type[PrometheusError]] = {
    kind.__name__: kind for kind in (BudgetExceeded, QueryRejected)
}
_COST = {
    "rows": foreign.is_count,
    "sha256": foreign.is_text,
    "series": foreign.is_count,
    "samples": foreign.is_count,
    "bytes": foreign.is_number,
    "seconds": foreign.is_number,
    "warnings": foreign.is_texts,
}
_LIBRARIES = ("cilium-analysis", "numpy", "pandas", "pyarrow", "requests")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape the numbers."""
    found = {"python": python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def read(directory: Path, *, called: str = "") -> dict[str, Any]:
    """Read and check the manifest of a bundle.

    Parameters
    ----------
    directory
        Of the bundle.
    called
        Its name in errors instead.

    Raises
    ------
    BundleError
        If there is none, or it is damaged or of another schema.
    """
    shown = called or str(directory)
    try:
        manifest = foreign.parse(foreign.read(directory, MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{shown} is no bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise BundleError(f"the bundle {shown} is damaged: {MANIFEST}: {reason}") from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        held = foreign.shown(schema)
        raise BundleError(f"{shown} has the schema {held}; this version reads {SCHEMA!r}")
    try:
        _check(manifest)
    except (ValueError, OverflowError) as problem:
        raise BundleError(f"the manifest of {shown} is damaged: {problem}") from None
    return dict(manifest)


def _check(manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest that lacks a part, or names files outside of the bundle."""
    optional = {"timezone": "UTC", "match": "", "topics": [], "targets_of": [], "versions": {}}
    whole = optional | dict(manifest)
    kinds = dict.fromkeys(("source", "timezone", "match"), foreign.is_text)
    kinds |= {"server": foreign.is_names, "versions": foreign.is_names, "topics": foreign.is_texts}
    foreign.fields(whole, kinds)
    parse_matchers(whole["match"])
    _check_window(manifest.get("window"), timezone=whole["timezone"])
    if foreign.fields(manifest, {"baseline": _is_row_or_none})["baseline"] is not None:
        _check_window(manifest["baseline"])
    for each in foreign.rows(whole["targets_of"], "targets_of"):
        _check_window(each)
    for number, row in enumerate(foreign.rows(manifest.get("answers"), "answers"), start=1):
        try:
            _check_answer(row)
        except (ValueError, OverflowError) as problem:
            raise ValueError(f"answer {number:,}: {problem}") from None
    _check_kubernetes(manifest.get("kubernetes"))


def _is_row_or_none(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _check_window(stored: object, *, timezone: str = "UTC") -> None:
    ends = {"start": foreign.is_text, "end": foreign.is_text, "step_seconds": foreign.is_number}
    found = window(foreign.fields(stored, ends), timezone=timezone)
    if not _FIRST <= found.start < found.end <= _LAST or found.points > _MOST_POINTS:
        raise ValueError(f"it has no such window as {foreign.shown(stored)}")


def _check_answer(row: object) -> None:
    kinds = {"promql": foreign.is_text, "window": _is_row_or_none}
    found = foreign.fields(row, kinds)
    if found["window"] is not None:
        _check_window(found["window"])
        if found.get("exemplars", True) is not True:
            raise ValueError(f"its 'exemplars' is {foreign.shown(found['exemplars'])}")
    else:
        datetime.fromisoformat(foreign.fields(row, {"time": foreign.is_text})["time"])
    if "error" in found:
        said = foreign.fields(found["error"], {"type": foreign.is_text, "message": foreign.is_text})
        if not foreign.is_text(said.get("reason", "")):
            raise ValueError(f"its 'reason' is {foreign.shown(said['reason'])}")
        if said["type"] not in _REFUSALS:
            raise ValueError(f"no server refuses by {foreign.shown(said['type'])}")
        return
    if not _FILE.fullmatch(foreign.fields(row, _COST | {"file": foreign.is_text})["file"]):
        raise ValueError(f"{foreign.shown(found['file'])} is no file of a bundle")


def _check_kubernetes(row: object) -> None:
    """Check the row of the Kubernetes objects, if there is one."""
    if row is None:
        return
    texts = dict.fromkeys(("file", "sha256", "server", "read"), foreign.is_text)
    lists = {"unread": foreign.is_texts, "notes": foreign.is_texts}
    found = foreign.fields(row, texts | lists)
    if found["file"] != KUBERNETES:
        raise ValueError(f"{foreign.shown(found['file'])} is no file of a bundle")
    datetime.fromisoformat(found["read"])


def window(stored: Mapping[str, Any], *, timezone: str = "UTC") -> Window:
    """Read a window as `cilium_analysis.source.window_as_json` stores it."""
    return Window.from_json(stored, timezone=timezone)


def refusal(stored: Mapping[str, Any]) -> PrometheusError:
    """Make the error again with which the server refused a query."""
    error = _REFUSALS[stored["type"]](stored["message"])
    error.reason = stored.get("reason", "")
    return error
