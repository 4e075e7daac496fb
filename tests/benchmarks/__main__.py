"""Run all benchmarks and print the table; ``--write`` puts it into the README."""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import (
    attribution,
    cases,
    changepoints,
    crowds,
    dataset,
    explorer,
    incidents,
    jobs,
    shifts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"(<!-- benchmarks -->\n)(.*?)(<!-- /benchmarks -->)", re.DOTALL)
_HEAD = "| what | median | beside it | aim | met |\n|---|---|---|---|---|"
_LIBRARIES = (
    "numpy",
    "pandas",
    "prometheus-pandas",
    "prometheus-api-client",
    "requests",
    "ruptures",
)


def main() -> None:
    """Measure everything; takes more than an hour, less when incidents were recorded before."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP")
    given = parser.parse_args()
    rows = {}
    for name in given.only:
        for figure in GROUPS[name]():
            rows[figure.what] = _row(figure)
            print(rows[figure.what], flush=True)
    print(machine())
    if given.write:
        text = README.read_text(encoding="utf-8")
        README.write_text(written(text, rows, whole=given.only == list(GROUPS)), encoding="utf-8")


def _row(figure: cases.Figure) -> str:
    met = {True: "yes", False: "**no**", None: ""}[figure.met]
    cells = (figure.what, figure.measured, figure.against, figure.target, met)
    return "| " + " | ".join(cells) + " |"


def written(text: str, rows: Mapping[str, str], *, whole: bool) -> str:
    """Put rows into the table of a text: all of it, or those in place of the same figures."""
    held = {} if whole else {_what(row): row for row in _BLOCK.findall(text)[0][1].splitlines()}
    kept = {what: row for what, row in held.items() if row.startswith("| ")}
    kept.pop(_what(_HEAD), None)
    table = "\n".join(["", _HEAD, *(kept | dict(rows)).values(), "", machine(), ""])
    return _BLOCK.sub(lambda found: found[1] + table + found[3], text)


def _what(row: str) -> str:
    return row.split(" | ")[0].removeprefix("| ")


def _with_server() -> Iterator[cases.Figure]:
    with dataset.serve() as server:
        yield from cases.fetching(server.url)
        yield from cases.remembering(server.url)
        yield from cases.slow_link(server.url)


def _crowds() -> Iterator[cases.Figure]:
    yield from crowds.asking()
    yield from crowds.pairs()


GROUPS: Mapping[str, Callable[[], Iterator[cases.Figure]]] = {
    "starting": cases.starting,
    "reporting": cases.reporting,
    "processor": jobs.processor,
    "jobs": jobs.notebooks,
    "far": jobs.far,
    "fleet": jobs.fleet,
    "counting": cases.counting,
    "fetching": _with_server,
    "changepoints": changepoints.figures,
    "attribution": attribution.figures,
    "shifts": shifts.figures,
    "crowds": _crowds,
    "explorer": explorer.figures,
    "incidents": incidents.figures,
}


def machine() -> str:
    """Say where the figures come from."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]};"
        f" Python {platform.python_version()}, {libraries}; Prometheus 2.42 on loopback."
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*: (.+)", text)
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    main()
