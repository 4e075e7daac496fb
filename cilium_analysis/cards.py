"""Cards: how stories look on a page and in a notebook. Every text in them is escaped. Pure.

Their sentences are from `cilium_analysis.accounts`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from cilium_analysis import accounts
from cilium_analysis.findings import MIME, Severity, anchor
from cilium_analysis.texts import escaped, marked, percent, spoken, unknown_lines
from cilium_analysis.times import clock, zone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cilium_analysis.findings import Finding, Findings

_MARKS: Final = {Severity.CRITICAL: "▲", Severity.WARNING: "◆", Severity.INFO: "●"}
#: The whole that the share of a finding refers to, by kind.
SHARE_OF: Mapping[str, str] = {
    "drop_spike": "of all packets dropped in the window",
    "http_errors": "of the requests there in that time",
    "http_denied": "of the requests there in that time",
    "dns_failures": "of all lookups in that time",
    "regeneration_failures": "of the regenerations there",
    "endpoint_not_ready": "of the endpoints there",
}
_TOPIC = re.compile(r"[a-z][a-z0-9_]*")
#: Size of the drawing of a signal [units of the drawing], and most of its points.
_WIDTH, _HEIGHT, _POINTS = 600.0, 60.0, 300


@dataclass(frozen=True)
class Signal:
    """What a finding was seen in, over the window.

    Parameters
    ----------
    times
        Ends of the steps, in order.
    values
        Of each step [`unit`]; NaN where nothing is known.
    level
        Of the baseline [`unit`]; NaN if unknown.
    unit
        Of the values.
    """

    times: Sequence[datetime]
    values: Sequence[float]
    level: float
    unit: str


@dataclass(frozen=True)
class Stories:
    """Stories to read in a notebook, with the findings as JSON for programs.

    Parameters
    ----------
    findings
        One per story.
    signals
        By the rank of the story, from 1; none of those that cannot be drawn.
    """

    findings: Findings
    signals: Mapping[int, Signal] = field(default_factory=dict)

    def __repr__(self) -> str:
        said = accounts.account(self.findings, self.findings.window.timezone)
        return "\n".join([*said, repr(self.findings)])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        zone = self.findings.window.timezone
        html = told(self.findings, zone) + stories(self.findings, zone, signals=self.signals)
        return {"text/plain": repr(self), "text/html": html, MIME: self.findings.as_json()}


def told(found: Findings, timezone: str) -> str:
    """Give the account of a window as paragraphs.

    Parameters
    ----------
    found
        Stories, or findings.
    timezone
        IANA name.
    """
    texts = "".join(f"<p>{escaped(text)}</p>" for text in accounts.account(found, timezone))
    return f'<div class="ca-account">{texts}</div>'


def stories(found: Findings, timezone: str, *, signals: Mapping[int, Signal] | None = None) -> str:
    """Give the stories as a list of cards, then what was checked and is fine, and what is unknown.

    Parameters
    ----------
    found, timezone
        As for `told`.
    signals
        As of `Stories`.
    """
    drawn = signals or {}
    cards = "".join(
        _card(rank, each, found, timezone, drawn.get(rank)) for rank, each in enumerate(found, 1)
    )
    rows = {}
    if found.checked:
        rows["Checked, nothing unusual"] = ", ".join(map(spoken, found.checked))
    if found.unknown:
        rows["Unknown"] = ". ".join(unknown_lines(each.as_json() for each in found.unknown))
    return (f'<ol class="ca-cards">{cards}</ol>' if cards else "") + (_facts(rows) if rows else "")


def _facts(rows: Mapping[str, str]) -> str:
    inner = "".join(
        f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in rows.items()
    )
    return f'<dl class="ca-facts">{inner}</dl>'


def _card(rank: int, story: Finding, found: Findings, timezone: str, signal: Signal | None) -> str:
    begun, ended = accounts.changes(story)
    evidence = [
        *(("Began with", each) for each in begun),
        *(("Also", each) for each in story.evidence if each.kind != accounts.CHANGE),
        *(("Ended with", each) for each in ended),
    ]
    items = "".join(
        f'<li id="{anchor(each)}"><strong>{word}:</strong> {escaped(each.title)}'
        f' <span class="ca-faint">· {escaped(moment)}</span>{_see(each)}{_explore(each)}</li>'
        for word, each in evidence
        for moment in [accounts.when(each, found.window, timezone, day=False)]
    )
    whole = accounts.whole(story, found.window)
    facts = [accounts.when(whole, found.window, timezone)]
    if own := accounts.own_time(story, whole, timezone):
        facts.append(f"the finding itself {own}")
    share = "" if story.share is None else percent(story.share)
    if share and not re.search(rf"(?<![\d.]){re.escape(share)}", story.title):
        facts.append(f"{share} {SHARE_OF.get(story.kind, 'of the whole')}")
    doubts = escaped("; ".join(story.trust_reasons))
    return "".join(
        (
            f'<li class="ca-card ca-story ca-edge-{story.severity}" id="story-{rank}">',
            f'<h3 id="{anchor(story)}">{_chip(story.severity)} {escaped(story.title)}</h3>',
            f'<p class="ca-when">{escaped(" · ".join(facts))}{_see(story)}{_explore(story)}</p>',
            _drawing(signal, story, timezone) if signal is not None else "",
            f'<ul class="ca-evidence">{items}</ul>' if items else "",
            f"<p><strong>Next:</strong> {marked(story.next_step)}</p>" if story.next_step else "",
            f'<p class="ca-doubt"><strong>Doubtful:</strong> {doubts}</p>' if doubts else "",
            "<details><summary>Query and labels</summary>",
            f"<p><code>{escaped(story.query)}</code></p>",
            _facts(story.labels) if story.labels else "",
            "</details></li>",
        )
    )


def _chip(severity: Severity) -> str:
    return f'<span class="ca-chip ca-{severity}">{_MARKS[severity]} {severity}</span>'


def _see(finding: Finding) -> str:
    """Mark where a page of a run links to the page of the finding's topic."""
    if not _TOPIC.fullmatch(finding.topic):
        return ""
    return f"<!--see {finding.topic} {anchor(finding)}-->"


def _explore(finding: Finding) -> str:
    """Mark where a page of a run links to the query of a finding in Grafana."""
    return f"<!--explore {quote(finding.query, safe='')}-->" if finding.query else ""


def _drawing(signal: Signal, story: Finding, timezone: str) -> str:
    """Draw a signal against its baseline; the time of the finding is shaded.

    It takes the colour of the text, and its words stand below it: it is legible at any width.
    """
    first, last = signal.times[0].timestamp(), signal.times[-1].timestamp()
    known = [value for value in signal.values if not math.isnan(value)]
    if not known or last <= first:
        return ""
    most = max([*known, *([signal.level] if math.isfinite(signal.level) else [])]) or 1.0

    def x(moment: datetime) -> float:
        return _WIDTH * min(max((moment.timestamp() - first) / (last - first), 0.0), 1.0)

    def y(value: float) -> float:
        return _HEIGHT - 2 - (_HEIGHT - 4) * max(value, 0.0) / most

    # Of many steps the highest of each few; the line is broken where nothing is known.
    few, pen, line = max(1, math.ceil(len(signal.values) / _POINTS)), "M", ""
    for place in range(0, len(signal.values), few):
        some = [v for v in signal.values[place : place + few] if not math.isnan(v)]
        line += f"{pen}{x(signal.times[place]):.1f} {y(max(some)):.1f}" if some else ""
        pen = "L" if some else "M"
    start, end = x(story.start), x(story.end)
    # Times are those of the ends of the steps.
    begun = signal.times[0] - (signal.times[1] - signal.times[0])
    still = 'fill="none" stroke="currentColor" vector-effect="non-scaling-stroke"'
    level, base = "unknown", ""
    if math.isfinite(signal.level):
        level = f"{_short(signal.level)} {signal.unit}"
        base = f'<path d="M0 {y(signal.level):.1f}H{_WIDTH:.0f}" stroke-dasharray="4 4" {still}/>'
    ends = (begun, signal.times[-1])
    day = len({moment.astimezone(zone(timezone)).date() for moment in ends}) > 1
    drawn, shaded = (
        " to ".join(clock(moment, timezone, day=day) for moment in both)
        for both in (ends, (story.start, story.end))
    )
    text = escaped(
        f"{drawn} {timezone}: {_short(min(known))} to {_short(max(known))} {signal.unit};"
        f" shaded: {shaded}; dashed: the baseline, {level}"
    )
    return (
        f'<figure class="ca-signal"><svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" width="100%"'
        f' height="{_HEIGHT:.0f}" preserveAspectRatio="none" role="img" aria-label="{text}">'
        f'<rect x="{start:.1f}" width="{max(end - start, 2.0):.1f}" height="{_HEIGHT:.0f}"'
        f' fill="currentColor" fill-opacity=".12"/>{base}'
        f'<path d="{line}" stroke-width="1.5" {still}/></svg>'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
