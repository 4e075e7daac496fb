"""Messages: what a run amounts to, in a few lines of plain text. Pure.

They go where nobody knows what will show them, and what they say comes from the cluster: so it
is one line, bounded, without control characters, and calls nobody by an ``@``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import CiliumAnalysisError, TimeIsUp
from cilium_analysis.findings import Severity, unknown_lines
from cilium_analysis.report.clock import called, clock
from cilium_analysis.report.verdict import UNKNOWN
from cilium_analysis.source import iso
from cilium_analysis.texts import bare_address, clipped, line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cilium_analysis.objectstore import Address
    from cilium_analysis.report.fleet import Result
    from cilium_analysis.report.run import Run
    from cilium_analysis.window import Window

#: Findings that are told; the page has them all.
SHOWN = 5
#: Title and body together stay below the 2,000 characters that Discord takes.
BODY = 1750
_NAME, _TEXT, _REASON, _ROW = 100, 260, 600, 280


@dataclass(frozen=True)
class Message:
    """What is sent.

    Parameters
    ----------
    title
        One line.
    body
        Plain text of a few lines.
    severity
        Highest one among the findings; None if there is no report, or none that is whole.
    """

    title: str
    body: str
    severity: Severity | None


def about_run(
    run: Run[Path | Address], *, at: Severity | None, unknown: bool = False, page: str
) -> Message | None:
    """Tell of a run.

    Parameters
    ----------
    run
        Also one that failed, which is always worth telling.
    at
        Least severity that is worth telling. Such findings come before the others. None: no
        finding is.
    unknown
        Whether it is worth telling that a run could not be judged.
    page
        Where the run is to be read.

    Returns
    -------
    Message or None
        None if nothing about it is worth telling.
    """
    if not (run.failures or _at_least(run.worst, at) or (unknown and run.unknown)):
        return None
    zone = run.summary["parameters"]["timezone"]
    rows = sorted(run.findings["findings"], key=lambda row: not _at_least(_severity(row), at))
    head = ", ".join(
        [
            *(["failed"] if run.failures else []),
            *([UNKNOWN] if run.unknown else []),
            *([str(run.worst)] if run.worst is not None else []),
        ]
    )
    name = _name(called(run.summary), run.summary["parameters"]["match"])
    window = run.summary["window"]
    return Message(
        f"[{head}] {name}, {_span(window['start'], window['end'], zone)}",
        _body(
            [*_stopped(run.failures), *_not_known(run.findings)],
            [_paragraph(row, zone) for row in rows],
            page,
        ),
        None if run.failures else run.worst,
    )


def about_fleet(
    result: Result, *, at: Severity | None, unknown: bool = False, page: str
) -> Message | None:
    """Tell of a fleet, in one message.

    Parameters
    ----------
    result
        Also one with failures, which are always worth telling.
    at
        Least severity that is worth telling; None: no finding is.
    unknown
        Whether it is worth telling that a cluster could not be judged.
    page
        Where its clusters are compared.

    Returns
    -------
    Message or None
        None if nothing about it is worth telling.
    """
    failures = result.failures
    if not (failures or _at_least(result.worst, at) or (unknown and result.unknown)):
        return None
    head = [
        *(["failed"] if failures else []),
        *([UNKNOWN] if result.unknown else []),
        *([str(result.worst)] if result.worst else []),
    ]
    clusters = _counted(len(result.fleet.clusters), "cluster")
    return Message(
        f"[{', '.join(head)}] fleet {result.fleet.name}, {clusters}",
        _body([*_missing(result), *_unknown_of(result)], _worth_telling(result, at), page),
        None if failures else result.worst,
    )


def _missing(result: Result) -> list[str]:
    """Name the clusters that are down, and those with reports that failed."""
    down = [f"{name} is down: {_plain(error, _TEXT)}" for name, error in result.down.items()]
    others: dict[str, list[str]] = {}
    for outcome in result.failures:
        if not outcome.down:
            others.setdefault(outcome.task.cluster.name, []).append(outcome.error)
    failed = [
        f"{name}: {_counted(len(errors), 'report')} failed, {_plain(errors[0], _TEXT)}"
        for name, errors in others.items()
    ]
    lines = [*down, *failed]
    more = [f"and {len(lines) - SHOWN} more clusters that failed"] if len(lines) > SHOWN else []
    return [clipped(text, _ROW) for text in lines[:SHOWN]] + more


def _unknown_of(result: Result) -> list[str]:
    """Name the clusters that could not be judged."""
    names = list(dict.fromkeys(outcome.task.cluster.name for outcome in result.unknown))
    return [_plain(f"Unknown: {', '.join(names)}", _TEXT)] if names else []


def _not_known(found: Mapping[str, Any]) -> list[str]:
    """Say what could not be judged, and why."""
    lines = [_plain(f"Unknown: {text}", _TEXT) for text in unknown_lines(found.get("unknown", ()))]
    more = [f"and {len(lines) - SHOWN} more unknown"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + more


def _at_least(severity: Severity | None, at: Severity | None) -> bool:
    return severity is not None and at is not None and severity >= at


def _worth_telling(result: Result, at: Severity | None) -> list[str]:
    """Give a paragraph for each cluster that has findings, the worst first."""
    rows: list[tuple[Severity, str]] = []
    for cluster in result.fleet.clusters:
        outcomes = [o for o in result.of(cluster.name) if _at_least(o.worst, at)]
        if not outcomes:
            continue
        worst = max(outcomes, key=lambda o: (o.worst, o.task.column))
        span = _span(
            iso(worst.task.window.start), iso(worst.task.window.end), worst.task.window.timezone
        )
        counts = {s: sum(o.findings.get(str(s), 0) for o in outcomes) for s in Severity}
        told = ", ".join(f"{counts[s]} {s}" for s in sorted(counts, reverse=True) if counts[s])
        text = f"{cluster.name}: {told}\n   {_plain(worst.first, _TEXT)}\n   {span}"
        rows.append((max(s for s in Severity if counts[s]), text))
    return [text for _, text in sorted(rows, key=lambda row: -row[0])]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def about_failure(
    problem: Exception | TimeIsUp,
    *,
    source: str,
    match: str = "",
    window: Window | None = None,
) -> Message:
    """Tell that there is no report.

    Parameters
    ----------
    problem
        Why. Only errors of ours are quoted: they never hold a credential.
    source, match
        What was asked, and for which part of it.
    window
        None if it did not come to that.
    """
    span = f", {_span(iso(window.start), iso(window.end), window.timezone)}" if window else ""
    ours = isinstance(problem, CiliumAnalysisError | TimeIsUp)
    reason = str(problem) if ours else f"unexpected {type(problem).__name__}; its log says more"
    body = f"There is no report: {_plain(reason, _REASON)}"
    return Message(f"[failed] {_name(bare_address(source.split('?')[0]), match)}{span}", body, None)


def _plain(text: str, length: int) -> str:
    # An invisible space keeps a name such as @everyone from calling a whole channel.
    return clipped(line(text), length).replace("@", "@\u200b")


def _name(source: str, match: str) -> str:
    return _plain(f"{source} {{{match}}}" if match else source, _NAME)


def _severity(row: Mapping[str, Any]) -> Severity:
    return Severity[row["severity"].upper()]


def _span(start: str, end: str, zone: str) -> str:
    """Write since when and until when; the day once, if it is one."""
    first, last = clock(start, zone), clock(end, zone)
    return f"{first} to {last[11:] if first[:10] == last[:10] else last} {zone}"


def _stopped(failures: Mapping[str, str]) -> list[str]:
    """Say what is missing, and why the first of it is."""
    if not failures:
        return []
    topics = ", ".join(failures)
    why = _plain(next(iter(failures.values())), _TEXT)
    first = "with" if len(failures) == 1 else "the first with"
    return [f"Not whole: {topics} stopped, {first} {why}"]


def _paragraph(row: Mapping[str, Any], zone: str) -> str:
    lines = [f"{row['rank']}. [{row['severity']}] {_plain(row['title'], _TEXT)}"]
    lines += [f"   {_span(row['start'], row['end'], zone)}"]
    if row["trust_reasons"]:
        lines += [f"   Doubtful: {_plain('; '.join(row['trust_reasons']), _TEXT)}"]
    if row["next_step"]:
        lines += [f"   Next: {_plain(row['next_step'], _TEXT)}"]
    return "\n".join(lines)


def _body(head: Sequence[str], paragraphs: Sequence[str], page: str) -> str:
    """Put in what there is room for: one finding at least, and always where all of them are."""
    last = f"Report: {line(page)}"
    room = BODY - len(last) - sum(map(len, head))
    shown: list[str] = []
    for paragraph in paragraphs[:SHOWN]:
        room -= len(paragraph) + 1
        if shown and room < 0:
            break
        shown.append(paragraph)
    more = len(paragraphs) - len(shown)
    return "\n".join([*head, *shown, *([f"and {more} more"] if more else []), last])
