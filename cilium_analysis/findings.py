"""Findings: what a topic concludes, ranked, as JSON for programs and as a table for people."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any, overload

from cilium_analysis.source import iso, window_as_json
from cilium_analysis.texts import escaped, lasting, line, marked, unknown_lines
from cilium_analysis.times import interval
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMA = "cilium-analysis/findings/1"
#: JupyterLab sets all cells to the right.
_LEFT = ' style="text-align: left"'
MIME = "application/vnd.cilium-analysis.findings.v1+json"


#: Topics that can be judged where nothing is measured: they say so.
ABOUT_MONITORING = frozenset({"setup_check"})


class Severity(IntEnum):
    """How much a finding matters; comparable."""

    INFO = 0
    WARNING = 10
    CRITICAL = 20

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A statement about the cluster that someone may act on.

    Parameters
    ----------
    kind
        Such as ``drop_spike``.
    severity
        How much it matters.
    title
        One sentence that a person can act on.
    start, end
        When it began and ended; the end of the window if it lasts beyond it.
    labels
        Where: only the labels that tell it from the rest.
    value, baseline_value
        Level during the finding, and the level to compare it with [`unit`].
    unit
        Of the two levels.
    total
        Amount between start and end; None where a sum makes no sense.
    share
        Part of the whole that this finding explains, 0 to 1; None where there is no whole.
    trust_reasons
        Caveats: reasons not to trust the numbers fully; none if they are good.
    query
        PromQL that shows it.
    next_step
        What to look at; commands stand in backticks.
    evidence
        Findings of the same event, if this one leads a story.
    brief
        One clause for an account: how much, of what whole, between whom; the title if empty.
    topic
        Name of the notebook that it is from.
    begun_before, ongoing
        Whether it may have begun before anything is known, and may go on after; None where only
        the window tells.
    known_until
        Until when anything is known where it was seen; None where that is the end of the window.
    nodes
        Where most of it was seen, if that is more than a label tells. Not written anywhere.
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
    brief: str = ""
    topic: str = ""
    begun_before: bool | None = None
    ongoing: bool | None = None
    known_until: datetime | None = None
    nodes: tuple[str, ...] = field(default=(), compare=False)

    def had_begun(self, window: Window) -> bool:
        """Tell whether it may have begun before anything is known of it."""
        return self.start <= window.start or bool(self.begun_before)

    def goes_on(self, window: Window) -> bool:
        """Tell whether it reaches as far as anything is known, so that it may not be over."""
        return self.end >= window.end or bool(self.ongoing)

    @property
    def trust(self) -> str:
        """``good``, or ``doubtful`` if there is any caveat."""
        return "doubtful" if self.trust_reasons else "good"

    def key(self) -> str:
        """Give a hash of what and where, without when: equal in two runs that find the same."""
        where = json.dumps([self.kind, sorted(self.labels.items())], ensure_ascii=False)
        return hashlib.sha256(where.encode()).hexdigest()[:12]

    def as_json(self, seen: Counter[str]) -> dict[str, Any]:
        """Give a row of ``findings.json``, without its evidence and rank.

        Parameters
        ----------
        seen
            Counts the keys so far: of several findings with the same key the later are numbered.
        """
        key = self.key()
        seen[key] += 1
        return {
            "id": f"{key}-{seen[key]}" if seen[key] > 1 else key,
            "kind": self.kind,
            "severity": str(self.severity),
            "title": self.title,
            "start": iso(self.start),
            "end": iso(self.end),
            "labels": dict(self.labels),
            "value": _number(self.value),
            "baseline_value": _number(self.baseline_value),
            "unit": self.unit,
            "total": _number(self.total),
            "share": _number(self.share),
            "trust": self.trust,
            "trust_reasons": list(self.trust_reasons),
            "query": self.query,
            "next_step": self.next_step,
            "brief": self.brief,
            "topic": self.topic,
            "begun_before": self.begun_before,
            "ongoing": self.ongoing,
            "known_until": iso(self.known_until) if self.known_until else None,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Finding:
        """Read a row of ``findings.json``, with its evidence; a value that is unknown is NaN."""
        same = ("kind", "title", "unit", "query", "next_step", "labels", "total", "share")
        later = {name: row[name] for name in ("brief", "topic") if name in row}
        later |= {name: row.get(name) for name in ("begun_before", "ongoing")}
        if row.get("known_until"):
            later["known_until"] = datetime.fromisoformat(row["known_until"])
        value, before = (
            math.nan if row[name] is None else float(row[name])
            for name in ("value", "baseline_value")
        )
        return cls(
            **{name: row[name] for name in same},
            **later,
            start=datetime.fromisoformat(row["start"]),
            end=datetime.fromisoformat(row["end"]),
            value=value,
            baseline_value=before,
            severity=Severity[row["severity"].upper()],
            trust_reasons=tuple(row["trust_reasons"]),
            evidence=tuple(cls.from_json(each) for each in row.get("evidence", ())),
        )


@dataclass(frozen=True)
class Unknown:
    """A question that cannot be answered in a window, which is neither good nor bad.

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


@dataclass(frozen=True)
class Findings(Sequence[Finding]):
    """All findings of a window, the one most worth acting on first.

    Parameters
    ----------
    source
        Name of the source, without credentials.
    window, baseline
        Under analysis, and to compare it with.
    items
        In any order; kept by severity, then by their amount.
    ranked
        Whether the items come in order, and stay so.
    topic
        Name of the notebook whose question they answer.
    unknown
        Questions that cannot be answered: `topic` itself, or some of those that it puts together.
    incomplete
        Topics that stopped with an error, so that their findings are missing.
    checked
        Topics that could be judged and have no findings, of those that are put together.
    answer
        To the question of a run about two workloads, in a sentence or two.
    """

    source: str
    window: Window
    baseline: Window | None
    items: tuple[Finding, ...] = ()
    ranked: bool = False
    topic: str = ""
    unknown: tuple[Unknown, ...] = ()
    incomplete: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    answer: str = ""

    def __post_init__(self) -> None:
        if not self.ranked:
            object.__setattr__(self, "items", tuple(sorted(self.items, key=_order)))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Findings:
        """Read the document of ``findings.json``; it keeps its order."""
        return cls(
            document["source"],
            Window.from_json(document["window"]),
            Window.from_json(document["baseline"]) if document["baseline"] else None,
            tuple(Finding.from_json(row) for row in document["findings"]),
            ranked=True,
            unknown=tuple(
                Unknown(row["topic"], tuple(row["reasons"])) for row in document.get("unknown", ())
            ),
            incomplete=tuple(document.get("incomplete", ())),
            checked=tuple(document.get("checked", ())),
            answer=document.get("answer", ""),
        )

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
        """One or two sentences, if nothing was found or not everything is known."""
        if self.is_unknown:
            reasons = [r for each in self.unknown if each.topic == self.topic for r in each.reasons]
            return f"Unknown: {'; '.join(reasons)}."
        if not self.unknown:
            return "" if self.items else "Nothing unusual."
        lines = ". ".join(unknown_lines(each.as_json() for each in self.unknown))
        return f"Unknown: {lines}." + (
            "" if self.items else " Nothing unusual in what can be judged."
        )

    def as_json(self) -> dict[str, Any]:
        """Give the document that ``findings.json`` holds."""
        seen: Counter[str] = Counter()
        rows = []
        for rank, finding in enumerate(self.items, start=1):
            row = finding.as_json(seen) | {"rank": rank}
            if finding.evidence:
                row["evidence"] = [each.as_json(seen) for each in finding.evidence]
            rows.append(row)
        document = {
            "schema": SCHEMA,
            "source": self.source,
            "window": window_as_json(self.window),
            "baseline": window_as_json(self.baseline) if self.baseline else None,
            "unknown": [each.as_json() for each in self.unknown],
            "findings": rows,
        }
        more = {"incomplete": self.incomplete, "checked": self.checked}
        answer = {"answer": self.answer} if self.answer else {}
        return document | {n: list(topics) for n, topics in more.items() if topics} | answer

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Show a table in a notebook, with the findings as JSON for programs that read it."""
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
        before = f'<p class="{look}">{verdict}</p>' if verdict else ""
        if not self.items:
            return before
        body = "".join(
            _row(rank, finding, self.window) for rank, finding in enumerate(self.items, start=1)
        )
        head = "".join(
            f"<th{_LEFT}>{name}</th>" for name in ("#", "Severity", "What", "Next", "Trust")
        )
        return (
            f'{before}<table class="ca-findings"><thead><tr>'
            f"{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def merge(
    empty: Findings, found: Iterable[Findings], *, stories: Iterable[Findings] = ()
) -> Findings:
    """Put the findings of several topics together to those of a run, ranked anew.

    The findings of stories come first, in their own order; the other findings do not
    repeat them. Of each topic that is unknown the first reasons are kept.

    Parameters
    ----------
    empty
        Source, window and baseline of the run, and its topics that are incomplete.
    found
        Of each topic.
    stories
        Of the incident.
    """
    found, stories = list(found), list(stories)
    checked = [
        each.topic
        for each in found
        if each.topic and not (each.unknown or len(each) or any(each is one for one in stories))
    ]
    first = [finding for each in stories for finding in each]
    known = {_what(each) for finding in first for each in (finding, *finding.evidence)}
    others = [
        finding
        for each in found
        for finding in each
        # The stories and `unknown` already say that a topic has no metrics.
        if _what(finding) not in known
        and not (stories and each.unknown and finding.kind == "missing_metrics")
    ]
    unknown: dict[str, Unknown] = {}
    for each in [*found, *stories]:
        for one in each.unknown:
            unknown.setdefault(one.topic, one)
    return replace(
        empty,
        items=(*first, *sorted(others, key=_order)),
        ranked=True,
        unknown=tuple(unknown.values()),
        checked=tuple(dict.fromkeys(checked)),
        answer=next((each.answer for each in stories if each.answer), ""),
    )


def _what(finding: Finding) -> tuple[str, datetime, datetime]:
    """Give what a finding is about, and when: equal if two say the same thing."""
    return finding.key(), finding.start, finding.end


def anchor(finding: Finding) -> str:
    """Give the id of a finding on a page: the same on the page of its topic and of its story."""
    return f"finding-{finding.key()}-{round(finding.start.timestamp())}"


def _order(finding: Finding) -> tuple[float, float, str]:
    """Most severe first, then the largest amount; the title breaks ties."""
    amount = finding.total if finding.total is not None else finding.value
    return (-finding.severity, -amount if math.isfinite(amount) else 0.0, finding.title)


def _number(value: float | None) -> float | None:
    """Replace NaN and infinity, which JSON does not have."""
    return float(value) if value is not None and math.isfinite(value) else None


def _when(finding: Finding, window: Window) -> str:
    """Write when it was, for how long, and whether it is known to be over."""
    seconds = (finding.end - finding.start).total_seconds()
    if seconds < 1:
        return window.told(finding.start)
    lasted = lasting(finding.end - finding.start)
    over = ", ongoing" if finding.goes_on(window) else ""
    return f"{interval(finding.start, finding.end, window.timezone)}, {lasted}{over}"


def _row(rank: int, finding: Finding, window: Window) -> str:
    reasons = "; ".join(finding.trust_reasons)
    trust = f"{finding.trust}: {reasons}" if reasons else finding.trust
    items = "".join(f"<li>{escaped(each.title)}</li>" for each in finding.evidence)
    evidence = f'<ul class="ca-evidence">{items}</ul>' if items else ""
    texts = (str(rank), str(finding.severity), finding.title, finding.next_step, trust)
    cells = [escaped(text) for text in texts]
    cells[3] = marked(finding.next_step)
    # A page of a run links from here to the story that the finding belongs to.
    when = f'<br><span class="ca-when">{escaped(_when(finding, window))}</span>'
    cells[2] += f"{when}{evidence}<!--story {anchor(finding)}-->"
    inner = "".join(f"<td{_LEFT}>{cell}</td>" for cell in cells)
    return f'<tr class="ca-{finding.severity}" id="{anchor(finding)}">{inner}</tr>'
