"""Serves the metrics of a case by a real Prometheus, and asks the tool about them.

`command` runs the real command; `topic` asks one topic within this process, which is cheaper. Both
give the same `Told`, so that a test may state the truth once.
"""

from __future__ import annotations

import html
import io
import json
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import nbformat

from cilium_analysis import incident
from cilium_analysis.cli import main
from cilium_analysis.findings import Findings
from cilium_analysis.question import Question, ask
from cilium_analysis.topics import TOPICS
from tests.conftest import installed_or_skip
from tests.field import (
    cases,
    cases_answers,
    siblings,
    siblings_changes,
    siblings_counts,
    siblings_nodes,
)
from tests.field.make import END, START, Metrics, build, iso
from tests.field.standin import standing_before
from tests.servers.prometheus import NotInstalled, PrometheusServer, blocks_from_openmetrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Modules that register cases.
REGISTERED = (
    cases,
    cases_answers,
    siblings,
    siblings_changes,
    siblings_counts,
    siblings_nodes,
)
KIND = "prometheus-3"
#: What the installed `cilium-analysis` runs.
COMMAND = "import sys; from cilium_analysis.cli import main; sys.exit(main())"
#: The heading of the page's last part.
TRUST = "How far to trust this"


@dataclass(frozen=True)
class Told:
    """What the tool says.

    Parameters
    ----------
    findings
        As `findings.json` holds them.
    notes
        What each topic says about how far to trust it.
    pages
        For each topic what its page shows, as (heading, text).
    code
        Exit code of the command; None if a topic was asked within this process.
    printed
        What the command printed.
    data
        What a topic that was asked within this process works on; None after a command.
    """

    findings: list[dict[str, Any]]
    notes: dict[str, list[str]] = field(default_factory=dict)
    pages: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    code: int | None = None
    printed: str = ""
    data: Any = None

    @property
    def all_findings(self) -> list[dict[str, Any]]:
        """Findings, and those that stand beneath them."""
        return [each for one in self.findings for each in (one, *one.get("evidence", ()))]

    def of(self, kind: str, **labels: str) -> list[dict[str, Any]]:
        """Give the findings of a kind, beneath others too, that have these labels."""
        return [
            each
            for each in self.all_findings
            if each["kind"] == kind and labels.items() <= each["labels"].items()
        ]

    def one(self, kind: str, **labels: str) -> dict[str, Any]:
        """Give the only finding of a kind with these labels."""
        found = self.of(kind, **labels)
        assert len(found) == 1, f"{len(found)} findings {kind} {labels}: {self.said()}"
        return found[0]

    def warnings(self) -> list[str]:
        """Give the titles of what someone would be woken for."""
        return [each["title"] for each in self.findings if each["severity"] != "info"]

    def said(self) -> str:
        """Give everything that is told in words: titles, reasons, notes, and what was printed."""
        words = [self.printed]
        for each in self.all_findings:
            words += [each["title"], *each["trust_reasons"]]
        for notes in self.notes.values():
            words += notes
        return "\n".join(words)


def when(text: str) -> float:
    """Read a time of a finding [s since 1970]."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).timestamp()


@contextmanager
def serving(metrics: Metrics, *, flags: Sequence[str] = ()) -> Iterator[str]:
    """Serve metrics by a real Prometheus; gives its address."""
    with TemporaryDirectory(prefix="cilium-analysis-field-") as name:
        folder = Path(name)
        metrics.write(folder / "metrics.om")
        blocks_from_openmetrics(folder / "metrics.om", folder / "data", kind=KIND)
        with PrometheusServer(KIND, data=folder / "data", flags=flags) as server:
            yield server.url


@contextmanager
def available(metrics: Metrics) -> Iterator[str]:
    """Serve metrics, or skip the test where no Prometheus is installed."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(serving(metrics))
        except NotInstalled as error:
            installed_or_skip(error)
        yield url


@contextmanager
def served(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Serve a case; gives the address to ask, and the truth."""
    metrics, truth = build(name)
    with serving(metrics) as url, standing_before(url, truth["refuses"]) as address:
        yield address, truth


def command(
    url: str,
    topics: Sequence[str],
    *arguments: str,
    output: Path,
    start: str = iso(START),
    end: str = iso(END),
    process: bool = True,
) -> Told:
    """Run `cilium-analysis report` as a user would; gives what it says.

    Without a `process` of its own the command runs within this one, which saves its imports.
    """
    given = ["report", *topics, "--source", url, "--start", start, "--end", end]
    code, printed = (_run if process else _run_here)([*given, "--output", str(output), *arguments])
    found = sorted(output.glob("*/findings.json"))
    if not found:
        return Told([], code=code, printed=printed)
    findings = json.loads(found[-1].read_text(encoding="utf-8"))["findings"]
    pages = {path.stem: list(_page(path)) for path in sorted(found[-1].parent.glob("*.ipynb"))}
    notes = {
        topic: [
            line.removeprefix("- ")
            for heading, text in page
            if heading == TRUST
            for line in text.splitlines()
            if line.startswith("- ")
        ]
        for topic, page in pages.items()
    }
    return Told(findings, notes, pages, code, printed)


def _run(arguments: Sequence[str]) -> tuple[int, str]:
    """Run the command in a process of its own; gives the exit code, and what it prints."""
    given = [sys.executable, "-c", COMMAND, *arguments]
    done = subprocess.run(given, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _run_here(arguments: Sequence[str]) -> tuple[int, str]:
    printed = io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            code = main(list(arguments))
    finally:
        signal.signal(signal.SIGTERM, before)
    return code, printed.getvalue()


def _page(path: Path) -> Iterator[tuple[str, str]]:
    """Give what each cell of an executed notebook shows, under its heading."""
    heading = ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            heading = next(
                (line[3:] for line in cell.source.splitlines() if line.startswith("## ")), heading
            )
            continue
        for output in cell.get("outputs", ()):
            shown = output.get("data", {})
            text = shown.get("text/plain") or _bare(shown.get("text/html", ""))
            if text and not text.startswith("<"):
                yield heading, text


def _bare(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", markup)).strip()


def topic(
    url: str,
    name: str,
    *,
    start: str = iso(START),
    end: str = iso(END),
    step: str = "",
    baseline: str = "previous",
    match: str = "",
) -> Told:
    """Ask one topic within this process; gives what it says."""
    asked = ask(source=url, start=start, end=end, step=step, baseline=baseline, match=match)
    return of_question(asked, name)


def of_question(asked: Question, name: str) -> Told:
    """Ask one topic of a question; several topics of one ask for its targets once."""
    module: Any = TOPICS.get(name, incident)
    data = module.load(asked.source, asked.window, asked.baseline, match=asked.match)
    found: Findings = module.findings(data)
    notes = {name: list(module.notes(data))}
    return Told(found.as_json()["findings"], notes, data=data)
