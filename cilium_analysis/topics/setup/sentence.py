"""The setup in one sentence, for who has just pointed the program at a server. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.queries import parse_matchers
from cilium_analysis.texts import counted, listed
from cilium_analysis.times import clock, format_duration, interval
from cilium_analysis.topics import verdict
from cilium_analysis.topics.setup.checks import CHECKS
from cilium_analysis.topics.setup.kubernetes import objects_of
from cilium_analysis.topics.setup.newest import FAR, REACHES
from cilium_analysis.topics.setup.objects import not_scraped, some, without_agent
from cilium_analysis.topics.setup.tables import gaps, left_out, there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.setup.checks import Check
    from cilium_analysis.topics.setup.data import Setup
    from cilium_analysis.topics.setup.newest import Newest
    from cilium_analysis.window import Window

#: A window that ended so long ago at most is one of the last hours.
_JUST_NOW = timedelta(minutes=5)
#: Of several targets of an operator, those are there that were scraped so shortly before the end.
_LATE = timedelta(minutes=30)
_WHOLE = ("agent", "operator", "Hubble")
#: Kinds of Hubble's metrics; of the others, only their number is written.
_MOST_NAMED = 5
_ACRONYMS = ("tcp", "icmp", "dns", "http")


def sentence(data: Setup) -> str:
    """Say what is scraped, and what is missing.

    Parameters
    ----------
    data
        As from `load`; it has some target or metric of Cilium, otherwise see `nothing`.
    """
    if verdict.refused(data.remarks):
        return "What is scraped is not known, as the server refused to tell."
    scraped = {name: _scraped(data, name) for name in _WHOLE}
    if not any(scraped.values()):
        return _unanswered(data)
    lost = sorted(_agents_lost(data))
    lacking = _lacking(data)
    clauses = [_who(data, scraped, lost), *lacking, *_more(data), *data.remarks.silenced.said]
    if len(clauses) == 1 and all(scraped.values()) and not lost and not _is_nameless(data):
        who = listed([_counted(name, count) for name, count in scraped.items()])
        return f"Everything that the reports need is scraped from {who}{_clusters(data)}."
    return f"{'; '.join(clauses)}."


def nothing(
    window: Window, found: Newest, *, match: str, recorded: bool, now: datetime | None = None
) -> str:
    """Say that a window has no metrics of Cilium, and when there are some.

    Parameters
    ----------
    window
        Without any.
    found
        When there are some.
    match
        Label matchers of the user.
    recorded
        Whether the source is a bundle.
    now
        The clock if not given.
    """
    when = _when(window, now or datetime.now(UTC))
    matchers = "{" + ",".join(map(str, parse_matchers(match))) + "}" if match.strip() else ""
    if recorded:
        matching = f" match {matchers}" if matchers else ""
        return f"No Cilium metrics{matching} {when}; this bundle knows of nothing else."
    if found.unmatched:
        return f"No Cilium metrics match {matchers} {when}; without these matchers there are some."
    said = f"No Cilium metrics {when}{f', with or without {matchers}' if matchers else ''}"
    if found.refused:
        return f"{said}; whether there are any at other times is not known: the server refused."
    if found.time is None:
        days = REACHES[-1].days
        return f"{said}, nor in the {days} days before, as far as the server keeps them."
    minute = found.time.replace(second=0, microsecond=0)
    at = f"{clock(minute, window.timezone, day=True)} {window.timezone}"
    if found.time > window.start:
        return f"{said}, nor before; there are some later, at {at}."
    far = window.start - found.time > 2 * FAR
    return f"{said}; the newest {'that were found ' if far else ''}are of {at}."


def _when(window: Window, now: datetime) -> str:
    if now - window.end <= _JUST_NOW:
        return f"in the last {_rounded(window.length)}"
    return f"from {interval(window.start, window.end, window.timezone)}"


def _rounded(length: timedelta) -> str:
    """Write a length with a blank between number and unit, such as ``2 h``."""
    minutes = max(round(length / timedelta(minutes=1)), 1)
    text = format_duration(timedelta(minutes=minutes))
    parts = "".join(f" {c}" if c.isalpha() else c for c in text)
    return " ".join(parts.replace("m", "min").replace("d", "d ").replace("h", "h ").split())


def _scraped(data: Setup, name: str) -> int:
    """Count nodes whose agent or Hubble answers, or operators; 0 if none of its metrics is there.

    An agent that was replaced in the window is one, as its node is.
    """
    table = data.now.targets
    mine = table[(table["component"] == name) & (table["up"] != 0)]
    if name == "operator":
        stored = data.now.scraping.table
        stored = stored[(stored["component"] == name) & (stored["replica_of"] < 0)]
        stored = stored[stored["last"] > pd.Timestamp(data.window.start)]
        late = stored["last"] >= stored["last"].max() - _LATE
        return min(int(late.sum()), len(mine)) or int(_shown(data, name))
    nodes = mine["node"].astype(str)
    return int(nodes[nodes != ""].nunique()) or int(len(mine) > 0 or _shown(data, name))


def _shown(data: Setup, name: str) -> bool:
    """Tell whether metrics show a component of which no target is known."""
    return any(each.name == name and there(data, each) for each in CHECKS)


def _counted(name: str, count: int) -> str:
    return "Hubble" if name == "Hubble" else counted(count, name)


def _agents_lost(data: Setup) -> set[str]:
    """Name the nodes whose agent is known, but not scraped at all."""
    table = data.now.targets
    mine = table[table["component"] == "agent"]
    lost = set(mine.loc[mine["up"] == 0, "node"]) - set(mine.loc[mine["up"] != 0, "node"])
    objects = objects_of(data)
    if objects is not None:
        lost |= {*without_agent(data, objects), *not_scraped(data, objects)}
    return {str(node) for node in lost}


def _who(data: Setup, scraped: dict[str, int], lost: Sequence[str]) -> str:
    """Say who is scraped."""
    agents = scraped["agent"]
    one, are = ("was", "were") if _ended(data) else ("is", "are")
    others = [_counted(name, scraped[name]) for name in ("operator", "Hubble") if scraped[name]]
    if agents and lost:
        whole = agents + len(lost)
        beside = f", beside {listed(others)}" if others else ""
        return (
            f"Agents {are} scraped on {agents} of {whole} nodes (not on {some(list(lost), 3)})"
            f"{beside}{_clusters(data)}"
        )
    names = [counted(agents, "agent"), *others] if agents else others
    verb = one if len(names) == 1 and agents <= 1 else are
    if agents and _is_nameless(data):
        names, verb = ["Agents", *others], are
    apart = ", but no label tells the agents apart" if agents and _is_nameless(data) else ""
    return f"{listed(names)} {verb} scraped{_clusters(data)}{apart}"


def _is_nameless(data: Setup) -> bool:
    """Tell whether agents have no label that tells one from another."""
    table = data.now.targets
    mine = table[(table["component"] == "agent") & (table["up"] != 0)]
    return bool(len(mine)) and bool((mine[["node", "instance"]] == "").all(axis=None))


def _lacking(data: Setup) -> list[str]:
    """Say what is missing: whole components first, of the others what the reports would show."""
    absent = [c for c in CHECKS if not there(data, c) and not left_out(data, c)]
    gone = {check.name for check in absent}
    whole = [_nothing_of(check.name) for check in absent if check.name in _WHOLE]
    part = [check for check in absent if check.name not in _WHOLE and check.of not in gone]
    said = [f"there are no metrics of {listed(whole, word='or')}"] if whole else []
    for late, state in ((False, "missing"), (True, "missing, or nothing happened that they count")):
        names = _metrics_of([check for check in part if check.born_late == late])
        said += [f"{listed(names)} are {state}"] if names else []
    return said


def _nothing_of(name: str) -> str:
    return {"agent": "agents", "operator": "operators"}.get(name, name)


def _metrics_of(checks: Sequence[Check]) -> list[str]:
    """Name the metrics of checks: those of agents, and Hubble's."""
    own = [check.name.replace(" counters", "s") for check in checks if check.of != "Hubble"]
    hubble = [check.name.removeprefix("Hubble ") for check in checks if check.of == "Hubble"]
    named = [name.upper() if name in _ACRONYMS else name for name in hubble]
    more = len(named) - _MOST_NAMED
    named = [*named[:_MOST_NAMED], f"{more} other"] if more > 1 else named
    said = [f"metrics of {listed(own)}"] if own else []
    return said + ([f"Hubble's {listed(named)} metrics"] if named else [])


def _more(data: Setup) -> list[str]:
    """Say what else keeps the setup from being whole."""
    some_missing = gaps(data)
    count = int((some_missing["up"] > 0).sum())
    said = [f"scrapes of {counted(count, 'target')} failed at times"] if count else []
    nodes = data.now.targets
    hubble = {*nodes.loc[(nodes["component"] == "Hubble") & (nodes["up"] != 0), "node"]} - {""}
    agents = {*nodes.loc[(nodes["component"] == "agent") & (nodes["up"] != 0), "node"]} - {""}
    if hubble and agents and agents - hubble:
        said.append(f"Hubble is not scraped on {some(sorted(map(str, agents - hubble)), 3)}")
    return said + _ended(data)


def _ended(data: Setup) -> list[str]:
    """Say who was scraped in the window, but not to its end; that is known to a few minutes."""
    table, timezone = data.now.scraping.table, data.window.timezone
    table = table[table["last"] > pd.Timestamp(data.window.start)]
    last = table.groupby("component")["last"].max()
    names = {"agent": "agents", "hubble": "Hubble", "operator": "operators"}
    return [
        f"nothing of {names[str(component)]} was scraped after"
        f" {clock(moment.floor('min'), timezone)}"
        for component, moment in last.items()
        if moment < pd.Timestamp(data.window.end)
    ]


def _unanswered(data: Setup) -> str:
    """Say that all scrapes fail, or that nothing of Cilium itself is there."""
    table = data.now.targets
    known = table[table["component"].isin(_WHOLE)]
    if not len(known):
        return "No metrics of agents, operators or Hubble; only others of Cilium are there."
    sizes = known.groupby("component").size()
    names = [f"{_nothing_of(name)} ({sizes[name]})" for name in _WHOLE if name in sizes]
    return f"All scrapes of Cilium's targets fail: {listed(names)}."


def _clusters(data: Setup) -> str:
    """Say of how many clusters the targets are, if there are several."""
    names = set(data.now.scraping.table["cluster"]) - {""}
    return f", in {len(names)} clusters" if len(names) > 1 else ""
