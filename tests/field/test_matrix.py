"""One incident through every way to scrape, at 15, 60 and 300 s: the same is told of it.

Not here: metrics that are switched on in the window (`c29`, `s12`), and gateways that refuse POST
(`c25_get_only`).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cilium_analysis.question import ask
from tests.conftest import installed_or_skip
from tests.field.asking import KIND, of_question, when
from tests.field.checks import GAPS
from tests.field.make import iso
from tests.field.scraping import FIRST, LAST, LENGTH, WAYS, Way, incident, window
from tests.field.standin import standing_before
from tests.servers.prometheus import NotInstalled, PrometheusServer, blocks_from_openmetrics

EVERY = (15, 60, 300)
#: The default step of a window of an hour, to which ends are known [s].
STEP = 30
LOST = 24_000 + 60
FAILED = 6000
#: What may be said of how far to trust: how often is scraped, and what the labels do not tell.
MAY_SAY = ("interval", "aggregated", "node is not known", "probe")


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_an_incident_is_told_alike_however_it_is_scraped(name: str, tmp_path: Path) -> None:
    way = WAYS[name]
    with ExitStack() as stack:
        try:
            server = stack.enter_context(PrometheusServer(KIND, data=stored(way, tmp_path)))
        except NotInstalled as error:
            installed_or_skip(error)
        refuses = [{"query": way.refuses, "status": 400, "body": "regular expression"}]
        url = stack.enter_context(standing_before(server.url, refuses if way.refuses else ()))
        wrong = {f"{every} s": faults(url, way, every) for every in EVERY}
    assert not {every: told for every, told in wrong.items() if told}


def stored(way: Way, folder: Path) -> Path:
    """Store the incident once for each scrape interval, on days of their own."""
    with TemporaryDirectory() as scratch:
        for every in EVERY:
            text = Path(scratch) / f"{every}.om"
            incident(way, every=every, start=window(every)).write(text)
            blocks_from_openmetrics(text, folder / "data", kind=KIND)
    return folder / "data"


def faults(url: str, way: Way, every: int) -> list[str]:
    """Give what is told wrongly, in words."""
    asked = _Asked(url, way, every)
    lost = asked.one("drop_reasons", "drop_spike")
    asked.check(lost, total=LOST)
    asked.on(lost, way.names)
    grown = asked.one("endpoint_growth", "endpoint_growth", lasting=True)
    before, after = (80, 140) if way.summed else (20, 80)
    asked.check(grown, value=after, baseline_value=before)
    asked.on(grown, way.names)
    cut = asked.one("node_connectivity", "node_unreachable")
    asked.on(cut, ("worker-3", "green/worker-3"))
    failed = asked.one("http_status", "http_errors")
    asked.check(failed, total=FAILED)
    if failed.get("labels", {}).get("destination_workload") != "cart":
        asked.wrong.append(f"failed: {failed.get('title')}")
    names = {found["labels"].get("node") for found in (lost, grown) if found}
    if len(names) > 1:
        asked.wrong.append(f"one node has several names: {names}")
    return asked.wrong


class _Asked:
    """What is told of one window, and what of it is wrong."""

    def __init__(self, url: str, way: Way, every: int) -> None:
        self.every = every
        self.start = window(every)
        end = iso(self.start + LENGTH)
        self.question = ask(source=url, start=iso(self.start), end=end)
        self.wrong: list[str] = []

    def one(self, name: str, kind: str, *, lasting: bool = False) -> dict[str, Any]:
        """Ask a topic; gives its only finding of a kind, or none."""
        told = of_question(self.question, name)
        said = told.said().splitlines()
        self.wrong += [f"{name}: {line}" for line in said if GAPS.search(line)]
        found = told.of(kind)
        if len(found) != 1:
            titles = [each["title"] for each in told.all_findings]
            self.wrong.append(f"{len(found)} {kind}: {titles}")
            return {}
        doubts = [
            reason
            for reason in found[0]["trust_reasons"]
            if not any(word in reason for word in MAY_SAY)
        ]
        self.wrong += [f"{kind}: doubt: {reason}" for reason in doubts]
        self._timed(found[0], lasting=lasting)
        return found[0]

    def _timed(self, found: dict[str, Any], *, lasting: bool) -> None:
        ends = (LENGTH if lasting else LAST, max(self.every, STEP))
        for key, (true, within) in {"start": (FIRST, self.every), "end": ends}.items():
            off = when(found[key]) - self.start - true
            if abs(off) > within:
                self.wrong.append(f"{found['kind']}: {key} is off by {off:.0f} s")

    def check(self, found: dict[str, Any], **numbers: float) -> None:
        """Compare numbers with what is true."""
        for key, true in numbers.items():
            if found and abs(found[key] - true) > 0.01 * true:
                self.wrong.append(f"{found['kind']}: {key} {found[key]:.0f} instead of {true}")

    def on(self, found: dict[str, Any], names: tuple[str, ...]) -> None:
        """Check the node."""
        if found and found["labels"].get("node", "") not in names:
            self.wrong.append(f"{found['kind']}: on {found['labels'].get('node')}")
