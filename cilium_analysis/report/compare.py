"""What is new, gone, worse or better since another run. Pure, but for reading that run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import CiliumAnalysisError, ParameterError
from cilium_analysis.findings import SCHEMA, Severity
from cilium_analysis.objectstore import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cilium_analysis.objectstore import Address

#: A value that differs by less than this factor is the same.
FACTOR = 1.25
_ORDER = ("new", "worse", "same", "better", "gone", "unknown")


def read_findings(run: Path | Address) -> dict[str, Any]:
    """Read the findings of a run, to compare with.

    Parameters
    ----------
    run
        Its directory or address, or that of its ``findings.json``.

    Raises
    ------
    ParameterError
        If there is no such run, or it cannot be read.
    StoreRefused, StoreUnavailable
        If the object store does not give it.
    """
    try:
        path, content = _read(run)
        document = json.loads(content.decode("utf-8"))
    except CiliumAnalysisError:
        raise
    except (OSError, ValueError) as problem:
        raise ParameterError(f"no run to compare with in {run}: {problem}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ParameterError(f"{path} has the schema {schema!r}; this version reads {SCHEMA!r}")
    return dict(document)


def _read(run: Path | Address) -> tuple[Path | Address, bytes]:
    if isinstance(run, Path):
        path = run / "findings.json" if run.is_dir() else run
        return path, path.read_bytes()
    address = run if run.name == "findings.json" else run / "findings.json"
    content = Store(address.parent).find(address.name)
    if content is None:
        raise ParameterError(f"no run to compare with in {run}: there is no {address}")
    return address, content


def compared(
    found: Mapping[str, Any], other: Mapping[str, Any], *, unknown: bool = False
) -> list[dict[str, Any]]:
    """Set the findings of a run beside those of another, by what and where they are.

    Parameters
    ----------
    found, other
        As ``findings.json`` holds them: the run, and the one to compare with.
    unknown
        Whether the run could not be judged: nothing is known to be gone then.

    Returns
    -------
    list of dict
        ``id``, ``kind``, ``title``, ``change`` (``new``, ``worse``, ``same``, ``better``,
        ``gone``, ``unknown``), ``value`` and ``other_value`` [``unit``]; in the order of these
        words.
    """
    now, then = dict(_flat(found)), dict(_flat(other))
    rows = [_row(now.get(key), then.get(key)) for key in {**now, **then}]
    if unknown:
        rows = [row | {"change": "unknown"} if row["change"] == "gone" else row for row in rows]
    return sorted(rows, key=lambda row: (_ORDER.index(row["change"]), row["title"]))


def _flat(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in document["findings"]:
        for each in (row, *row.get("evidence", ())):
            if each["kind"] != "policy_change":
                yield each["id"], each


def _row(now: Mapping[str, Any] | None, then: Mapping[str, Any] | None) -> dict[str, Any]:
    shown = now or then or {}
    return {
        "id": shown["id"],
        "kind": shown["kind"],
        "title": shown["title"],
        "change": _change(now, then),
        "value": now["value"] if now else None,
        "other_value": then["value"] if then else None,
        "unit": shown["unit"],
    }


def _change(now: Mapping[str, Any] | None, then: Mapping[str, Any] | None) -> str:
    if now is None or then is None:
        return "new" if then is None else "gone"
    severities = [Severity[each["severity"].upper()] for each in (now, then)]
    if severities[0] != severities[1]:
        return "worse" if severities[0] > severities[1] else "better"
    value, other = now["value"] or 0.0, then["value"] or 0.0
    if value > FACTOR * other:
        return "worse"
    return "better" if other > FACTOR * value else "same"
