"""Compares a run with another one: which findings are new, gone, worse or better."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cilium_analysis import foreign
from cilium_analysis.errors import ParameterError, RunDamaged
from cilium_analysis.findings import SCHEMA, Severity
from cilium_analysis.storage import Store
from cilium_analysis.storage.runs import why

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.storage import Address

NAME = "findings.json"
#: Values that differ by less than this factor are the same.
FACTOR = 1.25
_SEVERITIES = [str(severity) for severity in Severity]
_ORDER = ("new", "worse", "same", "better", "gone", "unknown")


@dataclass(frozen=True)
class Other:
    """Another run, to compare with.

    Parameters
    ----------
    findings
        As its ``findings.json`` holds them; empty if they cannot be read.
    error
        Why they cannot be read.
    """

    findings: Mapping[str, Any]
    error: str = ""

    @classmethod
    def read(cls, run: Path | Address) -> Other:
        """Read a run. If it is damaged, the report is made without the comparison.

        Parameters
        ----------
        run
            As for `read_findings`.

        Raises
        ------
        ParameterError, StoreRefused, StoreUnavailable
            As of `read_findings`.
        """
        try:
            return cls(read_findings(run))
        except RunDamaged as problem:
            return cls({}, str(problem))

    def beside(self, found: Mapping[str, Any], *, unknown: bool) -> dict[str, Any]:
        """Compare, as ``run.json`` holds it; parameters as for `compared`."""
        if self.error:
            return {"error": self.error}
        stored = self.findings["window"]
        return {
            "window": {name: stored[name] for name in ("start", "end", "step_seconds")},
            "findings": compared(found, self.findings, unknown=unknown),
        }


def read_findings(run: Path | Address) -> dict[str, Any]:
    """Read the findings of a run, and check that they are as a run writes them.

    Parameters
    ----------
    run
        Its directory or address, or that of its ``findings.json``.

    Raises
    ------
    ParameterError
        If there is no such run, or it is of another version.
    RunDamaged
        If there is one, but it cannot be read.
    StoreRefused, StoreUnavailable
        If the object store does not give it.
    """
    path, content = _read(run)
    try:
        document = foreign.parse(content)
    except ValueError as problem:
        raise RunDamaged(f"no run to compare with in {run}: {path.name}: {problem}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        held = foreign.shown(schema)
        raise ParameterError(f"{path} has the schema {held}; this version reads {SCHEMA!r}")
    try:
        check_findings(document)
    except ValueError as problem:
        raise RunDamaged(f"the findings of {run} are damaged: {problem}") from None
    return dict(document)


def _read(run: Path | Address) -> tuple[Path | Address, bytes]:
    if not isinstance(run, Path):
        address = run if run.name == NAME else run / NAME
        content = Store(address.parent).find(address.name)
        if content is None:
            raise ParameterError(f"no run to compare with in {run}: there is no {address}")
        return address, content
    path = run / NAME if os.path.isdir(run) else run  # noqa: PTH112 - never an error
    try:
        return path, foreign.read(path.parent, path.name)
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise ParameterError(f"no run to compare with in {run}: {problem}") from None
    except OSError as problem:
        raise RunDamaged(f"no run to compare with in {run}: {path.name}: {why(problem)}") from None


def check_findings(document: Mapping[str, Any]) -> None:
    """Check that findings are as a run writes them.

    Parameters
    ----------
    document
        As ``findings.json`` or a notebook holds it.

    Raises
    ------
    ValueError
        If they are not.
    """
    if document.get("schema") != SCHEMA:
        raise ValueError(f"its 'schema' is {foreign.shown(document.get('schema'))}")
    check_window(document.get("window"))
    later = {"answer": "", "checked": [], "incomplete": []} | dict(document)
    lists = dict.fromkeys(("checked", "incomplete"), foreign.is_texts)
    foreign.fields(later, {"answer": foreign.is_text, **lists})
    for row in foreign.rows(document.get("unknown", []), "unknown"):
        foreign.fields(row, {"topic": foreign.is_text, "reasons": foreign.is_texts})
    found = foreign.rows(document.get("findings"), "findings")
    for number, row in enumerate(found, start=1):
        try:
            _check_finding(row)
            foreign.fields(row, {"rank": foreign.is_count})
            for each in foreign.rows(row.get("evidence", []), "evidence"):
                _check_finding(each)
        except (ValueError, OverflowError) as problem:
            raise ValueError(f"finding {number:,}: {problem}") from None


def check_window(stored: object) -> None:
    """Check that a window is as a run writes it; errors as of `check_findings`."""
    moments(stored, "start", "end")
    foreign.fields(stored, {"step_seconds": foreign.is_number})


def moments(row: object, *names: str) -> list[datetime]:
    """Give the times of a row, in UTC; errors as of `check_findings`."""
    found = foreign.fields(row, dict.fromkeys(names, foreign.is_text))
    try:
        times = [datetime.fromisoformat(found[name]).astimezone(UTC) for name in names]
    except OverflowError:
        raise ValueError("it has times that no calendar has") from None
    # Some zones are a day ahead of others, and years have four digits.
    if not all(1000 <= time.year <= 9000 for time in times):
        raise ValueError("it has times that no run is about")
    return times


def _check_finding(row: object) -> None:
    kinds = dict.fromkeys(("id", "kind", "title", "unit", "query", "next_step"), foreign.is_text)

    def is_amount(value: object) -> bool:
        return value is None or foreign.is_number(value)

    kinds |= dict.fromkeys(("value", "baseline_value", "total", "share"), is_amount)
    kinds |= {"severity": lambda value: value in _SEVERITIES, "labels": foreign.is_names}
    foreign.fields(row, kinds | {"trust": foreign.is_text, "trust_reasons": foreign.is_texts})
    later = {"brief": "", "topic": ""} | cast("dict[str, object]", row)
    foreign.fields(later, dict.fromkeys(("brief", "topic"), foreign.is_text))
    moments(row, "start", "end")


def compared(
    found: Mapping[str, Any], other: Mapping[str, Any], *, unknown: bool = False
) -> list[dict[str, Any]]:
    """Compare the findings of a run with those of another; equal ids are the same finding.

    Parameters
    ----------
    found, other
        As ``findings.json`` holds them: the run, and the one to compare with.
    unknown
        Whether the run could not be judged. Then no finding is known to be gone.

    Returns
    -------
    list of dict
        ``id``, ``kind``, ``title``, ``change`` (``new``, ``worse``, ``same``, ``better``,
        ``gone``, ``unknown``), ``value`` and ``other_value`` [``unit``]; in the order of these
        words.
    """
    now, then = _by_id(found), _by_id(other)
    rows = []
    for key in {**now, **then}:
        row = now.get(key) or then[key]
        change = _change(now.get(key), then.get(key))
        rows.append(
            {
                **{name: row[name] for name in ("id", "kind", "title")},
                "change": "unknown" if unknown and change == "gone" else change,
                "value": now[key]["value"] if key in now else None,
                "other_value": then[key]["value"] if key in then else None,
                "unit": row["unit"],
            }
        )
    return sorted(rows, key=lambda row: (_ORDER.index(row["change"]), row["title"]))


def _by_id(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Give the findings and their evidence, without changes of policies."""
    rows = [each for row in document["findings"] for each in (row, *row.get("evidence", ()))]
    return {row["id"]: row for row in rows if row["kind"] != "policy_change"}


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
