"""Findings: what a topic concludes, ranked, as JSON for machines and as a table for people."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, overload

from cilium_analysis.source import iso, window_as_json
from cilium_analysis.texts import escaped, line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from cilium_analysis.window import Window

SCHEMA = "cilium-analysis/findings/1"
#: JupyterLab sets all cells to the right.
_LEFT = ' style="text-align: left"'
MIME = "application/vnd.cilium-analysis.findings.v1+json"


#: Of what the share of a finding is, by its kind.
SHARE_OF: Mapping[str, str] = {
    "drop_spike": "of all packets dropped in the window",
    "http_errors": "of the requests there meanwhile",
    "http_denied": "of the requests there meanwhile",
    "dns_failures": "of all lookups meanwhile",
    "regeneration_failures": "of the regenerations there",
    "endpoint_not_ready": "of the endpoints there",
}


class Severity(IntEnum):
    """How much a finding matters; comparable."""

    INFO = 0
    WARNING = 10
    CRITICAL = 20

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing worth acting on.

    Parameters
    ----------
    kind
        Such as ``drop_spike``.
    severity
        How much it matters.
    title
        One sentence that a person can act on.
    start, end
        When it began and ended, or the window's end while it lasts.
    labels
        Where: only labels that single it out.
    value, baseline_value
        Level during the finding, and the level to compare it with [`unit`].
    unit
        Of the two levels.
    total
        Amount between start and end; None where a sum makes no sense.
    share
        Of the whole that this finding explains, 0 to 1; None where there is no whole.
    trust_reasons
        What makes the numbers doubtful; none if they are good.
    query
        PromQL that shows it.
    next_step
        What to look at.
    evidence
        Findings that tell of the same thing, if this one leads a story.
    """

    kind: str
    severity: Severity
    title: str
    start: datetime
    end: datetime
    value: float
    baseline_value: float
    unit: str
    query: str
    next_step: str
    labels: Mapping[str, str] = field(default_factory=dict)
    total: float | None = None
    share: float | None = None
    trust_reasons: tuple[str, ...] = ()
    evidence: tuple[Finding, ...] = ()

    @property
    def trust(self) -> str:
        """``good``, or ``doubtful`` if anything speaks against the numbers."""
        return "doubtful" if self.trust_reasons else "good"

    def key(self) -> str:
        """Name what and where, without when: equal in two runs that saw the same thing."""
        where = json.dumps([self.kind, sorted(self.labels.items())], ensure_ascii=False)
        return hashlib.sha256(where.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Unknown:
    """A question that cannot be answered in a window: that is neither good news nor bad.

    Parameters
    ----------
    topic
        Name of its notebook.
    reasons
        Why, each in a few words without a full stop.
    """

    topic: str
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Give it as ``findings.json`` holds it."""
        return {"topic": self.topic, "reasons": list(self.reasons)}


def spoken(topic: str) -> str:
    """Write the name of a topic's notebook as people do."""
    return topic.replace("_", " ").replace("http", "HTTP").replace("dns", "DNS")


def unknown_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write what is unknown, one line for all topics with the same reasons.

    Parameters
    ----------
    rows
        As ``findings.json`` holds them under ``unknown``.
    """
    topics: dict[tuple[str, ...], list[str]] = {}
    every = list(rows)
    # The question that puts the others together says no more than they do.
    for row in [row for row in every if row["topic"] != "incident"] or every:
        topics.setdefault(tuple(row["reasons"]), []).append(spoken(row["topic"]))
    return [f"{', '.join(names)}: {'; '.join(reasons)}" for reasons, names in topics.items()]


def without_unknown(notes: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Leave out of notes what is said by what is unknown, and what is there twice.

    Parameters
    ----------
    notes
        Sentences.
    rows
        As for `unknown_lines`.
    """
    reasons = tuple(reason.lower() for row in rows for reason in row["reasons"])
    return [n for n in dict.fromkeys(notes) if not n.lower().startswith(reasons)]


@dataclass(frozen=True)
class Findings(Sequence[Finding]):
    """All findings of a window, the one most worth acting on first.

    Parameters
    ----------
    source
        Name of the source, without credentials.
    window, baseline
        What was looked at, and what it was compared with.
    items
        In any order; kept by severity, then by how far the value is above its baseline's.
    ranked
        Whether the items come in order, and stay so.
    topic
        Name of the notebook whose question they answer.
    unknown
        Questions that cannot be answered: `topic` itself, or some of those that it puts together.
    """

    source: str
    window: Window
    baseline: Window | None
    items: tuple[Finding, ...] = ()
    ranked: bool = False
    topic: str = ""
    unknown: tuple[Unknown, ...] = ()

    def __post_init__(self) -> None:
        if not self.ranked:
            object.__setattr__(self, "items", tuple(sorted(self.items, key=_order)))

    @overload
    def __getitem__(self, index: int) -> Finding: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Finding]: ...

    def __getitem__(self, index: int | slice) -> Finding | Sequence[Finding]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def worst(self) -> Severity | None:
        """Highest severity; None if there is no finding."""
        return max((finding.severity for finding in self.items), default=None)

    @property
    def is_unknown(self) -> bool:
        """Whether the question itself cannot be answered, whatever was found."""
        return any(each.topic == self.topic for each in self.unknown)

    @property
    def verdict(self) -> str:
        """What it amounts to, in a sentence or two, where nothing was found or not all is known."""
        if self.is_unknown:
            reasons = [r for each in self.unknown if each.topic == self.topic for r in each.reasons]
            return f"Unknown: {'; '.join(reasons)}."
        said = [] if self.items else ["Nothing unusual."]
        if self.unknown:
            said = [] if self.items else ["Nothing unusual in what can be judged."]
            lines = unknown_lines(each.as_json() for each in self.unknown)
            said.insert(0, f"Unknown: {'. '.join(lines)}.")
        return " ".join(said)

    def with_items(self, items: Iterable[Finding]) -> Findings:
        """Give the same frame of reference with other findings."""
        return replace(self, items=tuple(items))

    def as_json(self) -> dict[str, Any]:
        """Give the document that ``findings.json`` holds."""
        seen: Counter[str] = Counter()
        rows = []
        for rank, finding in enumerate(self.items, start=1):
            row = _as_json(finding, seen) | {"rank": rank}
            if finding.evidence:
                row["evidence"] = [_as_json(each, seen) for each in finding.evidence]
            rows.append(row)
        return {
            "schema": SCHEMA,
            "source": self.source,
            "window": window_as_json(self.window),
            "baseline": window_as_json(self.baseline) if self.baseline else None,
            "unknown": [each.as_json() for each in self.unknown],
            "findings": rows,
        }

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Show a table in a notebook, and hand the findings to whoever reads the notebook."""
        return {"text/plain": repr(self), "text/html": self.to_html(), MIME: self.as_json()}

    def __repr__(self) -> str:
        rows = (
            f"{rank}. [{finding.severity}] {line(finding.title)}"
            for rank, finding in enumerate(self.items, start=1)
        )
        return "\n".join([*([line(self.verdict)] if self.verdict else []), *rows])

    def to_html(self) -> str:
        """Give a table for people; every text in it is escaped."""
        look = "ca-unknown" if self.unknown else "ca-quiet"
        verdict = escaped(self.verdict)
        told = f'<p class="{look}">{verdict}</p>' if verdict else ""
        if not self.items:
            return told
        body = "".join(_row(rank, finding) for rank, finding in enumerate(self.items, start=1))
        head = "".join(
            f"<th{_LEFT}>{name}</th>" for name in ("#", "Severity", "What", "Next", "Trust")
        )
        return (
            f'{told}<table class="ca-findings"><thead><tr>'
            f"{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def merge(
    empty: Findings,
    documents: Iterable[Mapping[str, Any]],
    *,
    stories: Iterable[Mapping[str, Any]] = (),
    incomplete: Sequence[str] = (),
) -> dict[str, Any]:
    """Make the documents of several topics into the one of a run, ranked anew.

    A document that tells stories comes first, in its own order; what the others say about the
    same things is not said twice. What any of them cannot tell is listed once, by topic.

    Parameters
    ----------
    empty
        Source, window and baseline of the run.
    documents
        As `Findings.as_json` gives them.
    stories
        Those of the question about incidents, likewise.
    incomplete
        Topics that stopped with an error, so that their findings are missing; named in the
        document, because their absence is no good news.
    """
    documents, stories = list(documents), list(stories)
    told = [row for document in stories for row in document["findings"]]
    known = {_what(each) for row in told for each in (row, *row.get("evidence", ()))}
    rows = [
        row
        for document in documents
        for row in document["findings"]
        # That a topic has no metrics is said by what is unknown, and by the stories.
        if not (stories and document.get("unknown") and row["kind"] == "missing_metrics")
    ]
    others = sorted((row for row in rows if _what(row) not in known), key=_order_of_row)
    merged = empty.as_json()
    ranked = enumerate([*told, *others], start=1)
    merged["findings"] = [row | {"rank": rank} for rank, row in ranked]
    merged["unknown"] = _unknown([*documents, *stories])
    if incomplete:
        merged["incomplete"] = list(incomplete)
    return merged


def _unknown(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put together what is unknown, one row per topic; of two the first."""
    rows: dict[str, dict[str, Any]] = {}
    for document in documents:
        for row in document.get("unknown", ()):
            rows.setdefault(row["topic"], row)
    return list(rows.values())


def _what(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Tell what a stored finding is about, and when."""
    labels = json.dumps(row["labels"], sort_keys=True)
    return (f"{row['kind']}{labels}", row["start"], row["end"])


def _order_of_row(row: Mapping[str, Any]) -> tuple[float, float, str]:
    """Rank stored findings as `_order` ranks those in memory."""
    amount = row["value"] if row["total"] is None else row["total"]
    return (-Severity[row["severity"].upper()], -(amount or 0.0), row["title"])


def _order(finding: Finding) -> tuple[float, float, str]:
    """Most severe first, then the largest amount; the title breaks ties for good."""
    amount = finding.total if finding.total is not None else finding.value
    return (-finding.severity, -amount if math.isfinite(amount) else 0.0, finding.title)


def _as_json(finding: Finding, seen: Counter[str]) -> dict[str, Any]:
    """Give one finding; of several with the same key the later ones are numbered."""
    key = finding.key()
    seen[key] += 1
    return {
        "id": f"{key}-{seen[key]}" if seen[key] > 1 else key,
        "kind": finding.kind,
        "severity": str(finding.severity),
        "title": finding.title,
        "start": iso(finding.start),
        "end": iso(finding.end),
        "labels": dict(finding.labels),
        "value": _number(finding.value),
        "baseline_value": _number(finding.baseline_value),
        "unit": finding.unit,
        "total": _number(finding.total),
        "share": _number(finding.share),
        "trust": finding.trust,
        "trust_reasons": list(finding.trust_reasons),
        "query": finding.query,
        "next_step": finding.next_step,
    }


def _number(value: float | None) -> float | None:
    """JSON knows no NaN and no infinity."""
    return float(value) if value is not None and math.isfinite(value) else None


def _row(rank: int, finding: Finding) -> str:
    doubts = "; ".join(finding.trust_reasons)
    trust = f"{finding.trust}: {doubts}" if doubts else finding.trust
    what = escaped(finding.title) + _evidence(finding)
    texts = (str(rank), str(finding.severity), None, finding.next_step, trust)
    cells = (what if text is None else escaped(text) for text in texts)
    inner = "".join(f"<td{_LEFT}>{cell}</td>" for cell in cells)
    return f'<tr class="ca-{finding.severity}">{inner}</tr>'


def _evidence(finding: Finding) -> str:
    """List what else tells of the same thing."""
    items = "".join(f"<li>{escaped(each.title)}</li>" for each in finding.evidence)
    return f'<ul class="ca-evidence">{items}</ul>' if items else ""
