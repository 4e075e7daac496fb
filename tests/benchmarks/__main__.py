"""Run all benchmarks and print the table; ``--write`` puts it into the docs and the README."""

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

_ROOT = Path(__file__).parents[2]
README, TABLE = _ROOT / "README.md", _ROOT / "docs" / "explanation" / "quality.md"
#: Rows of the table that the README shows.
HEADLINES = (
    "drop report on the sample",
    "`range()` in turn with prometheus-pandas",
    "all topics, 1,000 nodes, 6 h and 6 h before at 1 min",
    "44 incidents and quiet days held out: first",
    "44 incidents and quiet days held out: false per quiet day",
)
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
    parser.add_argument("--write", action="store_true", help="put it into docs and README")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP")
    given = parser.parse_args()
    rows = {}
    for name in given.only:
        for figure in GROUPS[name]():
            rows[figure.what] = _row(figure)
            print(rows[figure.what], flush=True)
    print(machine())
    if given.write:
        text = TABLE.read_text(encoding="utf-8")
        table = written(text, rows, whole=given.only == list(GROUPS))
        TABLE.write_text(table, encoding="utf-8")
        short = with_headlines(README.read_text(encoding="utf-8"), table)
        README.write_text(short, encoding="utf-8")


def _row(figure: cases.Figure) -> str:
    met = {True: "yes", False: "**no**", None: ""}[figure.met]
    cells = (figure.what, figure.measured, figure.against, figure.target, met)
    return "| " + " | ".join(cells) + " |"


def written(text: str, rows: Mapping[str, str], *, whole: bool) -> str:
    """Put rows into the table of a text: all of it, or those in place of the same figures."""
    held = {} if whole else _rows(text)
    table = "\n".join(["", _HEAD, *(held | dict(rows)).values(), "", machine(), ""])
    return _BLOCK.sub(lambda found: found[1] + table + found[3], text)


def with_headlines(text: str, table: str) -> str:
    """Put the `HEADLINES` of a text with the table into another text."""
    rows = _rows(table)
    short = "\n".join(["", _HEAD, *(rows[what] for what in HEADLINES), "", ""])
    return _BLOCK.sub(lambda found: found[1] + short + found[3], text)


def _rows(text: str) -> dict[str, str]:
    """Give the rows of the table in a text by what they are about."""
    lines = _BLOCK.findall(text)[0][1].splitlines()
    rows = {_what(line): line for line in lines if line.startswith("| ")}
    del rows[_what(_HEAD)]
    return rows


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
