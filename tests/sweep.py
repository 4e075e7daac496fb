"""Many incidents at once, at every version, on every server, in every way to scrape.

``python -m tests.sweep`` runs the real command on all combinations and says where it is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis import incident
from cilium_analysis.capture import TOPICS
from cilium_analysis.cli import main as command
from cilium_analysis.connection import connect
from cilium_analysis.window import Window
from cilium_simulator.scenario import STYLES, Scenario, load
from tests.servers.served import ClusterServers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cilium_simulator.truth import Incident, Truth
    from tests.servers.served import ClusterServer

VERSIONS = ((1, 13, 4), (1, 15, 2), (1, 17, 3), (1, 18, 2), (1, 20, 0))
KINDS = ("prometheus-3", "prometheus-2", "victoria")
STEP = timedelta(seconds=30)
#: how far a start or an end may be off [steps]; cilium-health probes every other step, and what
#: grows slowly is seen late
TOLERANCE = {"node_unreachable": 4, "endpoint_growth": 60}
USUAL_TOLERANCE = 2


@dataclass(frozen=True)
class Expected:
    """The one finding that an incident should give."""

    kind: str
    incident: Incident
    labels: dict[str, str] = field(default_factory=dict)
    #: to compare the finding's total with; None where the truth does not count
    total: float | None = None
    #: whether start and end are those of the incident
    timed: bool = True


def scenario(version: tuple[int, int, int], style: str) -> Scenario:
    """Give the sweep's scenario as one version shows it, scraped in one way."""
    return load("sweep").with_(version=version, style=style, name=f"sweep-{style}")


def rotation() -> list[tuple[tuple[int, int, int], str, str]]:
    """Give a combination for each version, in which every server and every style occurs."""
    pairs = zip(itertools.cycle(KINDS), itertools.cycle(STYLES), strict=False)
    return [(version, *pair) for version, pair in zip(VERSIONS, pairs, strict=False)]


def everything() -> list[tuple[tuple[int, int, int], str, str]]:
    """Give all combinations; the first fifteen have each server and style with each version."""
    return [
        (version, KINDS[(number + turn) % 3], style)
        for turn in range(3)
        for version in VERSIONS
        for number, style in enumerate(STYLES)
    ]


def run(served: ClusterServer, output: Path) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Run the real command on the second half; give its exit code, run.json and findings.json."""
    window = _second_half(served)
    times = ["--start", window.start.isoformat(), "--end", window.end.isoformat(), "--step", "30s"]
    arguments = ["report", "--source", served.url, *times, "--output", str(output), "--jobs", "2"]
    code = command(arguments)
    (folder,) = [path.parent for path in output.glob("*/run.json")]
    documents = (json.loads((folder / f"{n}.json").read_text()) for n in ("run", "findings"))
    return (code, *documents)


def analysed(served: ClusterServer) -> list[dict[str, Any]]:
    """Give the findings on the second half, as the command's notebook makes them."""
    window = _second_half(served)
    data = incident.load(connect(served.url), window, window.baseline())
    found: list[dict[str, Any]] = incident.findings(data).as_json()["findings"]
    return found


def _second_half(served: ClusterServer) -> Window:
    told = served.scenario
    return Window(told.start + (told.end - told.start) / 2, told.end, STEP)


def problems(code: int, summary: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with a run, whatever it found."""
    if code:
        yield f"exit {code}"
    if [row["topic"] for row in summary["topics"]] != list(TOPICS):
        yield f"topics: {[row['topic'] for row in summary['topics']]}"
    yield from (f"{row['topic']}: {row['error']}" for row in summary["topics"] if row["error"])


def mistakes(served: ClusterServer, found: list[dict[str, Any]]) -> Iterator[str]:
    """Say what is wrong with findings, against what really happened."""
    wanted = expected(served.scenario, served.truth)
    for one in wanted:
        mine = [row for story in found for row in _members(story) if _is_of(row, one)]
        if len(mine) != 1:
            yield f"{one.kind} {one.labels}: {len(mine)} findings: {_titles(mine)}"
        for row in mine[:1]:
            yield from _wrong(row, one)
    for story in found:
        known = any(_is_of(row, one) for row in _members(story) for one in wanted)
        if not known and story["severity"] != "info":
            yield f"false: {story['severity']} {story['kind']} {story['labels']}: {story['title']}"


def _members(story: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a finding, and those that it rests on."""
    return [story, *story.get("evidence", ())]


def _titles(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["title"] for row in rows]


def _is_of(row: dict[str, Any], wanted: Expected) -> bool:
    return bool(row["kind"] == wanted.kind and wanted.labels.items() <= row["labels"].items())


def _wrong(row: dict[str, Any], wanted: Expected) -> Iterator[str]:
    """Compare one finding with its incident."""
    steps = TOLERANCE.get(wanted.kind, USUAL_TOLERANCE)
    for name in ("start", "end") if wanted.timed else ():
        off = (datetime.fromisoformat(row[name]) - getattr(wanted.incident, name)) / STEP
        if abs(off) > steps:
            yield f"{row['kind']} {wanted.labels}: {name} {row[name]} is {off:+.1f} steps off"
    if wanted.total is not None and abs(row["total"] - wanted.total) > 0.01 * wanted.total:
        yield f"{row['kind']} {wanted.labels}: total {row['total']}, really {wanted.total}"


def expected(told: Scenario, truth: Truth) -> list[Expected]:
    """Name the findings that the scenario should give at its version."""
    made = {each.kind: each for each in truth.incidents}
    return [_expect(told, truth, each) for each in made.values()]


def _expect(told: Scenario, truth: Truth, made: Incident) -> Expected:
    (node, *_) = made.nodes
    labels = made.labels
    if made.kind == "drops":
        where = {"reason": labels["reason"], "direction": labels["direction"]}
        by = tuple(where)
        dropped = truth.dropped(made.start, made.end, by=by)
        return Expected("drop_spike", made, where, float(dropped[tuple(where.values())]))
    if made.kind == "unreachable":
        # From 1.18 on no metric names the target: who misses all others is the likely one.
        named = shown(told, node) if told.version >= (1, 18, 0) else node
        return Expected("node_unreachable", made, {"node": named})
    if made.kind == "http":
        where = {"status": labels["status"]}
        answered = truth.requests(made.start, made.end, by=("status",))
        return Expected("http_errors", made, where, float(answered[labels["status"]]))
    if made.kind == "dns":
        lookups = truth.lookups(made.start, made.end, by=("rcode", "source"))
        where = {"rcode": labels["rcode"]}
        asked = lookups[labels["rcode"], labels["source"]]
        return Expected("dns_failures", made, where, float(asked))
    seen = shown(told, node)
    simple = {
        "endpoints": ("endpoint_growth", {"node": seen}),
        "not_ready": ("endpoint_not_ready", {"node": seen}),
        "regeneration_failures": ("regeneration_failures", {"node": seen}),
        "agent_errors": ("agent_errors", {"node": seen, "subsystem": labels.get("subsystem", "")}),
        "map_pressure": ("map_pressure", {"node": seen, "map_name": labels.get("map_name", "")}),
        "operator_errors": ("operator_errors", {}),
        "tcp_flags": ("tcp_failures", {}),
        "agent_restart": ("agent_restart", {"node": seen}),
    }
    kind, where = simple[made.kind]
    return Expected(kind, made, where, timed=kind not in ("agent_restart", "map_pressure"))


def shown(told: Scenario, node: str) -> str:
    """Name a node as its own agent's metrics can: by its address where nothing else is there."""
    if told.style == "annotations" and told.version >= (1, 19, 0):
        return f"10.10.0.{10 + told.nodes.index(node)}"
    return node


def main() -> int:
    """Run all combinations; exit 1 if any is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only one combination a version")
    parser.add_argument("--most", type=int, metavar="N", help="so many combinations")
    given = parser.parse_args()
    combinations = (rotation() if given.quick else everything())[: given.most]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for version, kind, style in combinations:
            found = sweep(Path(folder), version, kind, style)
            wrong += bool(found)
    print(f"{len(combinations) - wrong} of {len(combinations)} are right")  # noqa: T201
    return int(wrong > 0)


def sweep(folder: Path, version: tuple[int, int, int], kind: str, style: str) -> list[str]:
    """Run one combination and print what is wrong with it."""
    name = f"{'.'.join(map(str, version))} {kind} {style}"
    began = time.monotonic()
    servers = ClusterServers(folder / "clusters")
    try:
        served = servers(scenario(version, style), kind)
        output = folder / name.replace(" ", "-")
        code, summary, document = run(served, output)
        found = [*problems(code, summary), *mistakes(served, document["findings"])]
    finally:
        servers.stop()
    print(  # noqa: T201
        f"{name}: {'wrong' if found else 'right'}, {time.monotonic() - began:.0f} s",
        *found,
        sep="\n  ",
        flush=True,
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
