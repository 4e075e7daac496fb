"""Accounts: what happened, in sentences for a chat, a ticket or the head of a page. Pure.

How a story looks on a page is in `cilium_analysis.cards`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import ABOUT_MONITORING, Severity
from cilium_analysis.texts import clipped, counted, lasting, line, parted, spoken, unknown_lines
from cilium_analysis.times import clock, interval, zone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cilium_analysis.findings import Finding, Findings
    from cilium_analysis.window import Window

#: Stories that an account tells; the page has them all.
TOLD = 3
#: Characters of one sentence at most: names of workloads are not ours.
_LONGEST = 400
#: What is shorter is over, without saying so.
_MOMENT = timedelta(minutes=2)
#: What changes of policies before a story, and at its end, are evidence of.
CHANGE = "policy_change"
#: First words of clauses that are no names, and therefore small within a sentence.
_PLAIN = frozenset(
    (
        *("A", "Agents", "All", "Endpoints", "Forwarded", "Latency", "Links", "Map", "Maps"),
        *("New", "No", "Nodes", "Policies", "Requests", "Rollout:", "The"),
    )
)


def when(finding: Finding, window: Window, timezone: str, *, day: bool = True) -> str:
    """Write when something was, how long it lasted, and whether it is over.

    Parameters
    ----------
    finding
        What was found.
    window
        That it was found in: what reaches its edges may be longer.
    timezone
        IANA name.
    day
        Whether to write the date.
    """
    start, end = (each.astimezone(zone(timezone)) for each in (finding.start, finding.end))
    lasted = lasting(end - start)
    begun, ongoing = finding.had_begun(window), finding.goes_on(window)
    first = clock(start, timezone, day=day)
    if ongoing:
        since = f"since {'before ' if begun else ''}{first} {timezone}"
        until = finding.known_until
        at = f" when the data end at {clock(until, timezone)}" if until else ""
        return f"{since} ({'more than ' if begun else ''}{lasted}, ongoing{at})"
    last = clock(end, timezone, day=start.date() != end.date())
    if begun:
        return f"before {first} to {last} {timezone} (more than {lasted}, over)"
    if lasted == lasting(timedelta()):
        return f"{first} {timezone}"
    if finding.kind == CHANGE:
        return f"between {first} and {last} {timezone}"
    over = ", over" if end - start >= _MOMENT else ""
    return f"{first}–{last} {timezone} ({lasted}{over})"


def brief(finding: Finding) -> str:
    """Say what was found in one clause, without a full stop."""
    return clipped(line(finding.brief or finding.title), _LONGEST)


def told(story: Finding, window: Window, timezone: str) -> str:
    """Tell a story: when, what, how much, between whom, and what began and ended it.

    Parameters
    ----------
    story
        The lead of a story, with its evidence.
    window, timezone
        As for `when`.
    """
    others, all_of_it = _signs(story), whole(story, window)

    def timed(clause: str, finding: Finding) -> str:
        own = own_time(finding, all_of_it, timezone)
        return f"{clause}, {own}" if own else clause

    clauses = [
        timed(brief(story), story),
        *(timed(_small(brief(each)), each) for each in others[:TOLD]),
    ]
    if len(others) > TOLD:
        clauses.append(f"and {counted(len(others) - TOLD, 'more sign')}")
    text = f"{when(all_of_it, window, timezone)}: {'; '.join(clauses)}."
    return " ".join([text, *_changed(story, timezone)])


def _signs(story: Finding) -> list[Finding]:
    """Give what a story was seen by, beside its lead."""
    return [each for each in story.evidence if each.severity >= Severity.WARNING]


def whole(story: Finding, window: Window) -> Finding:
    """Give the lead of a story with the time of the story, which lasts as long as its signs."""
    members = [story, *_signs(story)]
    going = [each for each in members if each.goes_on(window)]
    return replace(
        story,
        start=min(each.start for each in members),
        end=max(each.end for each in members),
        begun_before=any(each.had_begun(window) for each in members),
        ongoing=bool(going),
        known_until=next((each.known_until for each in going if each.known_until), None),
    )


def _small(clause: str) -> str:
    """Write a clause as it stands within a sentence."""
    plain = clause.partition(" ")[0] in _PLAIN
    return clause[0].lower() + clause[1:] if plain else clause


def own_time(finding: Finding, story: Finding, timezone: str) -> str:
    """Write when a finding was, if that is not when the whole story was."""
    ends = zip((finding.start, finding.end), (story.start, story.end), strict=True)
    if max(abs(mine - other) for mine, other in ends) < _MOMENT:
        return ""
    return f"{clock(finding.start, timezone)}–{clock(finding.end, timezone)}"


def changes(story: Finding) -> tuple[list[Finding], list[Finding]]:
    """Give the changes of policies that a story began with, and those that it ended with."""
    middle = story.start + (story.end - story.start) / 2
    every = [each for each in story.evidence if each.kind == CHANGE]
    return [e for e in every if e.start <= middle], [e for e in every if e.start > middle]


def _changed(story: Finding, timezone: str) -> list[str]:
    """Say which changes of policies began and ended a story, as far as their times tell."""
    begun, ended = (
        " and ".join(clock(each.start, timezone) for each in some[:TOLD]) for some in changes(story)
    )
    if begun and ended:
        return [f"It began with a change of policies ({begun}), and ended with one ({ended})."]
    how, at = ("began", begun) if begun else ("ended", ended)
    return [f"It {how} with a change of policies ({at})."] if at else []


def account(found: Findings, timezone: str) -> list[str]:
    """Tell what happened in a window, in one sentence or two per story, the worst first.

    Parameters
    ----------
    found
        Stories, or findings.
    timezone
        IANA name.

    Returns
    -------
    list of str
        Never empty. What is unknown comes last, and instead of all else if nothing is known.
    """
    serious = [each for each in found if each.severity >= Severity.WARNING]
    # The answer to a question about two workloads holds what was found.
    texts = [told(each, found.window, timezone) for each in serious[:TOLD]]
    texts = [line(found.answer)] if found.answer else texts
    more = len(serious) - TOLD
    if more > 0:
        texts.append(f"{counted(more, 'more finding')} below.")
    unknown = [f"Unknown: {text}." for text in unknown_lines(e.as_json() for e in found.unknown)]
    if found.incomplete:
        names = ", ".join(spoken(name) for name in found.incomplete)
        texts.append(f"Not complete: {names} stopped with an error.")
    judged = set(found.checked) - ABOUT_MONITORING or len(found) or not found.unknown
    if not serious and not found.incomplete and judged:
        rest = " in what can be judged" if unknown else ""
        notes = len(found) - len(serious)
        minor = f"; {counted(notes, 'note')} below" if notes else ""
        looked = interval(found.window.start, found.window.end, timezone)
        texts.append(f"{looked}: nothing unusual{rest}{minor}.")
    return [*texts, *map(line, unknown)]


def markdown(found: Findings, timezone: str, *, name: str, page: str = "") -> str:
    """Write the account and a table of the findings as GitHub, GitLab and Mattermost read it.

    Parameters
    ----------
    found, timezone
        As for `account`.
    name
        Of the cluster.
    page
        Where the report is; nothing is said of it if empty.
    """
    lines = [f"**{_markdown(name)}**: {_markdown(' '.join(account(found, timezone)))}"]
    rows = [f"| {' | '.join(map(_markdown, row))} |" for row in _rows(found, timezone)]
    head = ["", "| # | Severity | When | What | Next |", "|---|---|---|---|---|"] if rows else []
    return "\n".join([*lines, *head, *rows, *(["", _markdown(page)] if page else [])])


def slack(found: Findings, timezone: str, *, name: str, page: str = "") -> str:
    """Write the same as Slack reads it, which has no tables.

    Parameters
    ----------
    found, timezone, name, page
        As for `markdown`.
    """
    lines = [f"*{_slack(name)}*: {_slack(' '.join(account(found, timezone)))}"]
    for rank, severity, *texts in _rows(found, timezone):
        time, what, following = map(_slack, texts)
        lines += [f"{rank}. *{severity}* {time}: {what}", f"    {following}"]
    return "\n".join([*lines, *([_slack(page)] if page else [])])


def jira(found: Findings, timezone: str, *, name: str, page: str = "") -> str:
    """Write the same in Jira's own notation.

    Parameters
    ----------
    found, timezone, name, page
        As for `markdown`.
    """
    lines = [f"*{_jira(name)}*: {_jira(' '.join(account(found, timezone)))}"]
    rows = [f"|{'|'.join(map(_jira, row))}|" for row in _rows(found, timezone)]
    head = ["", "||#||Severity||When||What||Next||"] if rows else []
    return "\n".join([*lines, *head, *rows, *(["", _jira(page)] if page else [])])


#: How an account is written, by the name of its notation.
FORMATS: Mapping[str, Callable[..., str]] = {"markdown": markdown, "slack": slack, "jira": jira}
#: Characters that notations give a meaning, and the @ that notifies people.
_IN_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\*_[]<>|#~"} | {"@": "@\u200b"})
_IN_JIRA = str.maketrans({c: f"\\{c}" for c in "{}[]|*_^~!?+-"} | {"\\": "&#92;", "@": "@\u200b"})
_IN_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "*": "∗", "@": "@\u200b"})


def _rows(found: Findings, timezone: str) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            str(rank),
            str(each.severity),
            when(whole(each, found.window), found.window, timezone),
            each.title,
            each.next_step,
        )
        for rank, each in enumerate(found, start=1)
    ]


def _markdown(text: str) -> str:
    """Give a text of others as one line that GitHub shows as it is."""
    return "".join(
        f"`{part.replace('|', chr(92) + '|')}`" if code else part.translate(_IN_MARKDOWN)
        for code, part in parted(text)
    )


def _jira(text: str) -> str:
    """Give a text of others without macros, links and names of people."""
    return "".join(
        f"{{{{{part.translate(_IN_JIRA)}}}}}" if code else part.translate(_IN_JIRA)
        for code, part in parted(text)
    )


def _slack(text: str) -> str:
    """Give a text of others so that it makes no link and notifies nobody (docs.slack.dev)."""
    return line(text).translate(_IN_SLACK)
