"""The page that compares the clusters of a fleet, and the same for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cilium_analysis.report import html, output
from cilium_analysis.report.trend import weight
from cilium_analysis.report.verdict import UNKNOWN, is_unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.report.fleet.result import Result
    from cilium_analysis.report.places import Place


def write_page(result: Result, where: Place) -> None:
    """Write the page of a fleet, and the same as JSON beside it.

    Parameters
    ----------
    result
        Of all reports to compare; its ``page`` says under which name.
    where
        Of all runs.

    Raises
    ------
    OutputError, StoreRefused, StoreUnavailable
        If they cannot be written.
    """
    document, stem = result.as_json(), result.page.name.removesuffix(".html")
    page = html.fleet_page(comparison(document), name=stem)
    where.write_pages({f"{stem}.json": output.as_json(document), f"{stem}.html": page})


def page_name(fleet: str) -> str:
    """Name the page of a fleet; the name of no run, and of no other page."""
    return "fleet" if fleet == "fleet" else f"fleet-{fleet}"


def comparison(document: dict[str, Any]) -> dict[str, Any]:
    """Arrange the reports of a fleet as a page shows them. Pure.

    Parameters
    ----------
    document
        As of `Result.as_json`.

    Returns
    -------
    dict
        ``clusters``, a row each: ``name``, ``source``, ``reports`` in the order of the
        ``windows``, ``worst`` of them, ``verdict`` (``unknown``, or nothing), ``findings`` of
        all, ``failed`` and ``error``; and what there was in the document.
    """
    reports = document["reports"]
    # The windows of one column may differ a little, where clusters have steps of their own.
    windows = {r["column"]: r["window"] for r in sorted(reports, key=lambda r: r["column"])}
    rows = [
        _row([r for r in reports if r["cluster"] == name], list(windows))
        for name in document["clusters"]
        if any(r["cluster"] == name for r in reports)
    ]
    return document | {"windows": list(windows.values()), "clusters": rows}


def _row(reports: Sequence[dict[str, Any]], columns: Sequence[int]) -> dict[str, Any]:
    """Sum up a cluster; a window of which it has no report leaves its place empty."""
    by_column = {r["column"]: r for r in reports}
    whole = [r for r in reports if r["status"] == "complete"]
    failed = [r for r in reports if r["status"] == "failed"]
    return {
        "name": reports[0]["cluster"],
        "source": reports[0]["source"],
        "down": any(r["down"] for r in reports),
        "status": "failed" if failed else "complete",
        "failed": len(failed),
        "whole": len(whole),
        "error": failed[0]["error"] if failed else "",
        "findings": {
            name: sum(r["findings"][name] for r in reports) for name in reports[0]["findings"]
        },
        "verdict": UNKNOWN if any(is_unknown(r) for r in reports) else "",
        "worst": max(reversed(whole), key=weight, default=None),
        "reports": [by_column.get(column) for column in columns],
    }
