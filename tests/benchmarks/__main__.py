"""Run all benchmarks and print the table; ``--write`` puts it into the README."""

from __future__ import annotations

import argparse
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import attribution, cases, changepoints, crowds, dataset, incidents, shifts

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)
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
    write = parser.parse_args().write
    rows = []
    for figure in figures():
        met = {True: "yes", False: "**no**", None: ""}[figure.met]
        cells = (figure.what, figure.measured, figure.against, figure.target, met)
        rows.append("| " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    table = "\n".join(["", _HEAD, *rows, "", machine(), ""])
    print(table)
    if write:
        text = README.read_text(encoding="utf-8")
        README.write_text(_BLOCK.sub(rf"\g<1>{table}\g<2>", text), encoding="utf-8")


def figures() -> Iterator[cases.Figure]:
    """Give every figure when it is measured; first those that need no server."""
    yield from cases.starting()
    yield from cases.reporting()
    yield from cases.side_by_side_notebooks()
    yield from cases.counting()
    yield from changepoints.figures()
    yield from attribution.figures()
    yield from shifts.figures()
    yield from incidents.figures()
    with dataset.serve() as server:
        yield from cases.fetching(server.url)
        yield from cases.remembering(server.url)
        yield from cases.slow_link(server.url)
    yield from crowds.asking()
    yield from crowds.pairs()


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
