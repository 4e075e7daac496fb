"""The manifest of a bundle: what it is about, and one row per answer."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING, Any

from cilium_analysis import errors
from cilium_analysis.errors import BundleError, PrometheusError
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = "cilium-analysis/bundle/1"
MANIFEST = "manifest.json"
KUBERNETES = "kubernetes.json"
_FILE = re.compile(r"answers/\d{4,}\.parquet")
_LIBRARIES = ("cilium-analysis", "numpy", "pandas", "pyarrow", "requests")


def versions() -> dict[str, str]:
    """Give the versions of Python and of the libraries that shape the numbers."""
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
        What errors call it instead.

    Raises
    ------
    BundleError
        If there is none, or it is damaged or of another schema.
    """
    path, shown = directory / MANIFEST, called or str(directory)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{shown} is no bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError) as problem:
        raise BundleError(f"the bundle {shown} is damaged: {problem}") from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise BundleError(f"{shown} has the schema {schema!r}; this version reads {SCHEMA!r}")
    _check(shown, manifest)
    return dict(manifest)


def _check(shown: str, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest that lacks a part, or names files outside of the bundle."""
    try:
        window(manifest["window"])
        for key in ("source", "server", "baseline"):
            manifest[key]
        for each in manifest.get("targets_of", ()):
            window(each)
        for row in manifest["answers"]:
            _check_file(row)
            if row["window"] is not None:
                window(row["window"])
        _check_kubernetes(manifest.get("kubernetes"))
    except (KeyError, TypeError, ValueError) as problem:
        raise BundleError(f"the manifest of {shown} is damaged: {problem!r}") from None


def _check_file(row: Mapping[str, Any]) -> None:
    if "error" not in row and not _FILE.fullmatch(row["file"]):
        raise ValueError(f"{row['file']!r} is no file of a bundle")


def _check_kubernetes(row: Mapping[str, Any] | None) -> None:
    """Check what is said of the Kubernetes objects; bundles without them say nothing."""
    if row is None:
        return
    lists = [row["unread"], row["notes"]]
    texts = [row["file"], row["sha256"], row["server"], row["read"]]
    if row["file"] != KUBERNETES or not all(isinstance(one, list) for one in lists):
        raise ValueError(f"{row['file']!r} is no file of a bundle")
    if not all(isinstance(text, str) for text in [*texts, *lists[0], *lists[1]]):
        raise TypeError("what is said of Kubernetes is no text")
    datetime.fromisoformat(row["read"])


def window(stored: Mapping[str, Any], *, timezone: str = "UTC") -> Window:
    """Read a window as `cilium_analysis.source.window_as_json` stores it."""
    start, end = (datetime.fromisoformat(stored[key]) for key in ("start", "end"))
    return Window(start, end, timedelta(seconds=stored["step_seconds"]), timezone=timezone)


def refusal(stored: Mapping[str, Any]) -> PrometheusError:
    """Make the error anew with which the server refused a query."""
    kind = getattr(errors, str(stored["type"]), PrometheusError)
    made = kind if issubclass(kind, PrometheusError) else PrometheusError
    error = made(str(stored["message"]))
    error.reason = str(stored.get("reason", ""))
    return error
