"""Run the real command on field cases, and print what it says beside the truth.

    python -m tests.field NAME… [--keep DIR] [--topics TOPIC,…] [-- ARGUMENT…]
    python -m tests.field --all
    python -m tests.field --list
    python -m tests.field --serve NAME
    python -m tests.field real.agents real.hubble

The beginning of a name is enough if only one case has it. With --keep, the report of each case
stays in DIR. With --serve, the case is served until Ctrl-C, to be asked by hand. What follows --
goes to `cilium-analysis report`.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tests.field import recordings
from tests.field.asking import Told, command, served
from tests.field.make import CASES, END, START, find, iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: What the recordings of real Cilium are called, beside the cases.
REAL = "real."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, more = (
        (given[: given.index("--")], given[given.index("--") + 1 :])
        if "--" in given
        else (given, [])
    )
    parser = argparse.ArgumentParser(prog="python -m tests.field", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--topics", default="")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args(own)
    every = [name for case in CASES.values() for name in case.names]
    if options.list:
        _say("\n".join(every))
        return 0
    for name in every if options.all else [_full(name) for name in options.names]:
        if options.serve:
            _serve(name)
        elif name.startswith(REAL):
            _run_recording(name.removeprefix(REAL), options, more)
        else:
            _run(name, options, more)
    return 0


def _full(name: str) -> str:
    if name.startswith(REAL):
        return name
    case, variant = find(name)
    return f"{case.name}.{variant}" if variant else case.name


def _serve(name: str) -> None:
    with served(name) as (url, truth):
        topics = " ".join(truth["topics"])
        _say(
            f"cilium-analysis report {topics} --source {url} --start {iso(START)} --end {iso(END)}"
        )
        while True:
            time.sleep(60)


def _run(name: str, options: argparse.Namespace, more: Sequence[str]) -> None:
    with served(name) as (url, truth), TemporaryDirectory() as scratch:
        output = options.keep / name if options.keep else Path(scratch)
        topics = options.topics.split(",") if options.topics else truth["topics"]
        told = command(url, topics, *truth["arguments"], *more, output=output)
    _say("\n".join(_lines(truth, told)))


def _run_recording(name: str, options: argparse.Namespace, more: Sequence[str]) -> None:
    """Run on a recording of real Cilium; other windows by --start and --end behind --."""
    first, last, *usual = recordings.WHOLE[name]
    topics = options.topics.split(",") if options.topics else ["incident"]
    with recordings.recording(name) as url, TemporaryDirectory() as scratch:
        told = command(
            url,
            topics,
            *("--baseline", recordings.between(*usual), *more),
            output=options.keep / name if options.keep else Path(scratch),
            start=recordings.at(first),
            end=recordings.at(last),
        )
    truth = (recordings.FOLDER / f"{name}-truth.json").read_text(encoding="utf-8")
    about = {"case": REAL + name, "topics": topics, "scrape": "see tests/data/real-cilium"}
    _say("\n".join(_lines(about | {"expect": truth[:1500], "numbers": {}}, told)))


def _lines(truth: dict[str, Any], told: Told) -> Iterator[str]:
    yield f"\n=== {truth['case']} ({', '.join(truth['topics'])}), exit {told.code}"
    yield from _wrapped("scraped: ", truth["scrape"])
    yield from _wrapped("TRUTH:   ", truth["expect"])
    yield from _wrapped("         ", str(truth["numbers"]))
    for rank, finding in enumerate(told.findings, 1):
        yield from _finding(f"{rank}.", finding)
        for each in finding.get("evidence", ()):
            yield from _finding("   +", each)
    if not told.findings:
        yield "no finding"
    for topic, notes in told.notes.items():
        for note in notes:
            yield from _wrapped(f"note ({topic}): ", note)
    yield textwrap.indent(told.printed.strip(), "  | ")


def _finding(mark: str, finding: dict[str, Any]) -> Iterator[str]:
    yield f"{mark} [{finding['severity']}] {finding['kind']}: {finding['title']}"
    shown = ("labels", "start", "end", "value", "baseline_value", "unit", "total", "share")
    yield "     " + " ".join(f"{name}={finding[name]}" for name in shown)
    for reason in finding["trust_reasons"]:
        yield f"     {finding['trust']}: {reason}"


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(head + text, width=110, subsequent_indent=" " * min(len(head), 12))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
