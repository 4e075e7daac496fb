"""What ``run.json`` holds of a small run, and the page of a notebook in it."""

from __future__ import annotations

from typing import Any

import nbformat

from cilium_analysis.report.execute import Executed
from cilium_analysis.report.html import notebook_page

SPAN = {"start": "2026-03-21T08:00:00Z", "end": "2026-03-21T08:10:00Z", "step_seconds": 30.0}
RUN: dict[str, Any] = {
    "schema": "cilium-analysis/run/1",
    "status": "failed",
    "source": "http://prometheus:9090",
    "window": SPAN,
    "began": "2026-03-21T10:00:00Z",
    "seconds": 3.5,
    "asked": [],
    "verdict": "warning",
    "unknown": [],
    "findings": {"critical": 0, "warning": 1, "info": 0},
    "parameters": {
        **{"start": SPAN["start"], "end": SPAN["end"], "step": "30s", "match": ""},
        **{"baseline": "2026-03-21T07:50:00Z/2026-03-21T08:00:00Z", "timezone": "UTC"},
    },
    "topics": [
        {"topic": "dns", "error": "", "seconds": 1.0, "html": "dns.html", "notebook": "dns.ipynb"},
        {"topic": "flows", "error": "x", "seconds": 1, "html": "f.html", "notebook": "f.ipynb"},
    ],
}


def article(notebook: nbformat.NotebookNode, **about: object) -> str:
    """The part of a page that shows a notebook of ours; `about` is more of ``run.json``."""
    run = RUN | {"versions": {}} | about
    page = notebook_page(Executed("dns", notebook, 1.0), run=run)
    return page.partition('<article class="ca-notebook">')[2].partition("</article>")[0]
