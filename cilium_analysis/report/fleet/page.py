"""The page that compares the clusters of a fleet, and the same for machines."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import OutputError
from cilium_analysis.report import html, output
from cilium_analysis.report.trend import weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.report.fleet.result import Result


def write_page(result: Result) -> None:
    """Write the page of a fleet, and the same as JSON beside it.

    Parameters
    ----------
    result
        Of all reports to compare; its ``page`` is where.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    page, document = result.page, result.as_json()
    temporary = page.parent / f".fleet-{token_hex(3)}"
    try:
        output.write_json(temporary, document)
        temporary.replace(page.with_suffix(".json"))
        temporary.write_text(
            html.fleet_page(comparison(document), name=page.stem), encoding="utf-8"
        )
        temporary.replace(page)
    except OSError as problem:
        raise OutputError(f"cannot write {page}: {output.why(problem)}") from None
    finally:
        temporary.unlink(missing_ok=True)


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
        ``windows``, ``worst`` of them, ``findings`` of all, ``failed`` and ``error``; and what
        there was in the document.
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
        "worst": max(reversed(whole), key=weight, default=None),
        "reports": [by_column.get(column) for column in columns],
    }
