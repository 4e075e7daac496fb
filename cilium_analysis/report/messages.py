"""Messages: a run, or a failure, in a few lines of plain text. Pure.

Nobody knows what will show them, and their text comes from the cluster. So each part is one line,
of limited length, without control characters, and no ``@`` in it notifies a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cilium_analysis.errors import CiliumAnalysisError, TimeIsUp
from cilium_analysis.findings import Severity
from cilium_analysis.report.verdict import UNKNOWN, called, clock
from cilium_analysis.source import iso
from cilium_analysis.texts import bare_address, clipped, line, unknown_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cilium_analysis.report.run import Run
    from cilium_analysis.storage import Address
    from cilium_analysis.window import Window

#: Findings that a message has; the page has them all.
SHOWN = 5
#: Title and body together stay below the 2,000 characters that Discord takes.
BODY = 1750
_NAME, _TEXT, _REASON = 100, 260, 600


@dataclass(frozen=True)
class Message:
    """A message to send.

    Parameters
    ----------
    title
        One line.
    body
        Plain text of a few lines.
    severity
        Highest one among the findings; None if there is no report, or an incomplete one.
    """

    title: str
    body: str
    severity: Severity | None


class Judged(Protocol):
    """A run, or the runs of a fleet."""

    @property
    def failures(self) -> Any:
        """What failed; empty if nothing did."""
        ...

    @property
    def unknown(self) -> Any:
        """Whether anything could not be judged."""
        ...

    @property
    def worst(self) -> Severity | None:
        """Highest severity among all findings; None if there is none."""
        ...


def is_worth_sending(result: Judged, *, at: Severity | None, unknown: bool) -> bool:
    """Tell whether to send a message about a run or a fleet.

    Parameters
    ----------
    result
        Always worth a message if anything of it failed.
    at
        Least severity that is worth a message; None: no finding is.
    unknown
        Whether it is worth a message that something could not be judged.
    """
    seen = is_at_least(result.worst, at)
    return bool(result.failures) or seen or (unknown and bool(result.unknown))


def is_at_least(severity: Severity | None, at: Severity | None) -> bool:
    """Tell whether there is a finding of this severity or a higher one."""
    return severity is not None and at is not None and severity >= at


def head(result: Judged) -> str:
    """Give what the title of a message begins with, as ``failed, unknown, critical``."""
    words = ["failed"] * bool(result.failures) + [UNKNOWN] * bool(result.unknown)
    return ", ".join([*words, *([str(result.worst)] if result.worst is not None else [])])


def about_run(
    run: Run[Path | Address], *, at: Severity | None, unknown: bool = False, page: str
) -> Message | None:
    """Give the message on a run.

    Parameters
    ----------
    run, at, unknown
        As for `is_worth_sending`. Findings of severity ``at`` come before the others.
    page
        Where the run is to be read.

    Returns
    -------
    Message or None
        None if nothing about it is worth sending.
    """
    if not is_worth_sending(run, at=at, unknown=unknown):
        return None
    zone, window = run.summary["parameters"]["timezone"], run.summary["window"]
    name = _name(called(run.summary), run.summary["parameters"]["match"])

    def is_minor(row: Mapping[str, Any]) -> bool:
        return not is_at_least(Severity[row["severity"].upper()], at)

    return Message(
        f"[{head(run)}] {name}, {interval(window['start'], window['end'], zone)}",
        body(
            [*_stopped(run.failures), *_not_known(run.findings)],
            [_paragraph(row, zone) for row in sorted(run.findings["findings"], key=is_minor)],
            page,
        ),
        None if run.failures else run.worst,
    )


def about_failure(
    problem: Exception | TimeIsUp,
    *,
    source: str,
    match: str = "",
    window: Window | None = None,
) -> Message:
    """Give the message that there is no report.

    Parameters
    ----------
    problem
        Why. Only errors of ours are quoted: they never hold a credential.
    source, match
        What was asked, and for which part of it.
    window
        None if it is not known yet.
    """
    when = f", {interval(iso(window.start), iso(window.end), window.timezone)}" if window else ""
    ours = isinstance(problem, CiliumAnalysisError | TimeIsUp)
    reason = str(problem) if ours else f"unexpected {type(problem).__name__}; its log says more"
    name = _name(bare_address(source), match)
    return Message(f"[failed] {name}{when}", f"There is no report: {plain(reason, _REASON)}", None)


def plain(text: str, length: int = _TEXT) -> str:
    """Give a text as one line of limited length that notifies nobody."""
    # An invisible space keeps a name such as @everyone from notifying a whole channel.
    return clipped(line(text), length).replace("@", "@\u200b")


def interval(start: str, end: str, zone: str) -> str:
    """Write an interval; the day once, if it is one."""
    first, last = clock(start, zone), clock(end, zone)
    return f"{first} to {last[11:] if first[:10] == last[:10] else last} {zone}"


def _name(source: str, match: str) -> str:
    return plain(f"{source} {{{match}}}" if match else source, _NAME)


def _stopped(failures: Mapping[str, str]) -> list[str]:
    """Say which notebooks stopped, and why the first one did."""
    if not failures:
        return []
    why = plain(next(iter(failures.values())))
    error = "with" if len(failures) == 1 else "the first with"
    return [f"Not complete: {', '.join(failures)} stopped, {error} {why}"]


def _not_known(found: Mapping[str, Any]) -> list[str]:
    """Say what could not be judged, and why."""
    lines = [plain(f"Unknown: {text}") for text in unknown_lines(found.get("unknown", ()))]
    more = [f"and {len(lines) - SHOWN} more unknown"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + more


def _paragraph(row: Mapping[str, Any], zone: str) -> str:
    lines = [f"{row['rank']}. [{row['severity']}] {plain(row['title'])}"]
    lines += [f"   {interval(row['start'], row['end'], zone)}"]
    if row["trust_reasons"]:
        lines += [f"   Doubtful: {plain('; '.join(row['trust_reasons']))}"]
    if row["next_step"]:
        lines += [f"   Next: {plain(row['next_step'])}"]
    return "\n".join(lines)


def body(first: Sequence[str], paragraphs: Sequence[str], page: str) -> str:
    """Put a message together: one paragraph at least, more while there is room, then the page.

    Parameters
    ----------
    first
        Lines that it always has.
    paragraphs
        In order of importance.
    page
        Where all of them are.
    """
    last = f"Report: {line(page)}"
    room = BODY - len(last) - sum(map(len, first))
    shown: list[str] = []
    for paragraph in paragraphs[:SHOWN]:
        room -= len(paragraph) + 1
        if shown and room < 0:
            break
        shown.append(paragraph)
    more = len(paragraphs) - len(shown)
    return "\n".join([*first, *shown, *([f"and {more} more"] if more else []), last])
