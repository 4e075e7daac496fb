"""How the tables of a scenario file become dataclasses: what a field means, and what it may be.

Each field carries its meaning, unit and bounds, from which its value is checked and the reference
is written. The kinds of events are in `cilium_simulator.events`, the rest of a scenario is in
`cilium_simulator.scenario`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import datetime
from math import isfinite
from typing import Any, Final

UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
#: so many allowed values are listed in an error
_LISTED: Final = 30
WORKLOAD: Final = 'a workload as "namespace/name"'
_WORKLOAD: Final = re.compile(r"[^/\s]+/[^/\s]+")
_KINDS: Final[dict[str, tuple[Any, str]]] = {
    "str": (str, "text in quotes"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "tuple[str, ...]": (tuple, "a list of texts in quotes"),
    "Mapping[str, float]": (Mapping, 'a table of numbers, such as {"200" = 0.99, "500" = 0.01}'),
}


class ScenarioError(ValueError):
    """A scenario cannot be simulated; the message names the entry and what is allowed."""


@dataclass(frozen=True)
class About:
    """What is known of a field beside its type; `key` is its name in a file, if it differs."""

    meaning: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    key: str = ""
    #: how a file writes it, where its type does not say so
    written: str = ""


def told(
    meaning: str,
    *,
    default: Any = MISSING,
    factory: Any = MISSING,
    unit: str = "",
    choices: Sequence[str] = (),
    least: float | None = None,
    most: float | None = None,
    key: str = "",
    written: str = "",
) -> Any:
    """Return a field of a dataclass that says its meaning."""
    about = About(meaning, unit, tuple(choices), least, most, key, written)
    return field(default=default, default_factory=factory, metadata={"about": about})


def about(one: Field[Any]) -> About:
    """Return what is known of a field."""
    known: About = one.metadata["about"]
    return known


def key(one: Field[Any]) -> str:
    """Return the name of a field in a file."""
    return about(one).key or one.name


def listed(names: Sequence[str]) -> str:
    """Return names for an error, as many as a person reads."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def problems(one: Any) -> Iterator[str]:
    """Yield what is wrong with the values of a dataclass, each with what is allowed."""
    for each in (f for f in fields(one) if f.metadata and str(f.type) in _KINDS):
        value = getattr(one, each.name)
        kind, says = _KINDS[str(each.type)]
        is_truth = isinstance(value, bool) and str(each.type) != "bool"
        if is_truth or not isinstance(value, kind) or not _fits_inside(value):
            yield f"{key(each)} = {shown(value)} is not {says}"
            continue
        known = about(each)
        for text in value if isinstance(value, tuple) else (value,):
            if text == "" == each.default:
                continue
            if known.choices and text not in known.choices:
                yield f"{key(each)} = {shown(text)} is none of {listed(known.choices)}"
            if known.written == WORKLOAD and not _WORKLOAD.fullmatch(text):
                yield f"{key(each)} = {shown(text)} is not {WORKLOAD}"
        numbers = value.values() if isinstance(value, Mapping) else (value,)
        for number in numbers if str(each.type) in ("int", "float", "Mapping[str, float]") else ():
            yield from _bounds(key(each), number, known)


def _fits_inside(value: object) -> bool:
    if isinstance(value, Mapping):
        pairs = value.items()
        return all(isinstance(k, str) and type(v) in (int, float) for k, v in pairs)
    return not isinstance(value, tuple) or all(isinstance(each, str) for each in value)


def _bounds(name: str, number: float, known: About) -> Iterator[str]:
    if not isfinite(number):
        yield f"{name} = {number} is not a number"
    elif known.least is not None and number < known.least:
        yield f"{name} = {number} is less than {known.least}"
    elif known.most is not None and number > known.most:
        yield f"{name} = {number} is more than {known.most}"


def shown(value: object) -> str:
    """Return a value as a file has it, not too long."""
    text = f'"{value}"' if isinstance(value, str) else str(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}…"


def unknown(table: Mapping[str, Any], allowed: Sequence[str]) -> Iterator[str]:
    """Yield a problem if a table has keys that are not allowed."""
    if extra := [name for name in table if name not in allowed]:
        yield f"unknown field {listed(extra)}; there are: {listed(list(allowed))}"


def missing(table: Mapping[str, Any], of: type) -> Iterator[str]:
    """Yield a problem if a table lacks what a dataclass has no default for."""
    needed = [f for f in fields(of) if f.default is MISSING and f.default_factory is MISSING]
    if lacks := [key(f) for f in needed if key(f) not in table]:
        yield f"{listed(lacks)} is missing"


def refuse(where: str, found: Iterator[str]) -> None:
    """Raise the first problem."""
    for problem in found:
        raise ScenarioError(f"{where}{problem}")


def tables(document: Mapping[str, Any], kind: str, where: str) -> list[Mapping[str, Any]]:
    """Return the tables of a kind."""
    found = document.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        heading = "[cluster]" if kind == "cluster" else f"[[{kind}]]"
        raise ScenarioError(f"{where}{kind} is not a table: write {heading} above its fields")
    return found


def numbered(
    where: str, kind: str, entries: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield tables, each with how an error names it."""
    for number, table in enumerate(entries, start=1):
        yield f"{where}{entry(kind, number, len(entries), str(table.get('kind', '')))}", table


def frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table whose lists are tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def entry(what: str, number: int, of: int, kind: str) -> str:
    """Return how an error names an entry."""
    return f"{what} {number} of {of}{f' ({kind})' if kind else ''}: "


def seconds(value: object, start: datetime) -> int:
    """Read a moment or a length of time: a date with its zone, "1h30m", or whole seconds.

    Raises
    ------
    ScenarioError
        If it is none of them.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        return int((value - start).total_seconds())
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    parts = re.findall(r"(\d+)([dhms])", value) if isinstance(value, str) else []
    if not parts or "".join(n + u for n, u in parts) != value:
        raise ScenarioError(
            f'{shown(value)} is not a time: write "1h30m" or "45s", counted from the start, or a'
            " date with its zone, 2026-03-21T09:00:00Z"
        )
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def intervals(pairs: Any, start: datetime) -> tuple[tuple[int, int], ...]:
    """Read pairs of times."""
    if not isinstance(pairs, tuple) or not all(
        isinstance(each, list) and len(each) == 2 for each in pairs
    ):
        raise ScenarioError('records is not a list of pairs of times, such as [["0s", "1h"]]')
    return tuple((seconds(first, start), seconds(last, start)) for first, last in pairs)


def parse_version(text: str) -> tuple[int, int, int]:
    """Read "1.15.2".

    Raises
    ------
    ScenarioError
        If it is no version.
    """
    try:
        major, minor, *patch = (int(x) for x in text.split("."))
    except (AttributeError, ValueError):
        raise ScenarioError(f'version = {shown(text)} is not a version, such as "1.17.3"') from None
    return major, minor, patch[0] if patch else 0


def places(address: str, nodes: Sequence[str]) -> tuple[str, ...]:
    """Turn an address into names of nodes, so that a scenario fits a cluster of any size.

    ``#0`` is the first worker and ``#-1`` the last, ``!#0`` are all other workers, ``30%`` is that
    share of the workers, at least one, from the first on; anything else is a name.

    Raises
    ------
    ScenarioError
        If there is no such node.
    """
    workers = nodes[1:]
    try:
        if address.endswith("%"):
            return tuple(workers[: max(1, round(len(workers) * float(address[:-1]) / 100))])
        if address.startswith("!"):
            out = places(address[1:], nodes)
            return tuple(name for name in workers if name not in out)
        if address.startswith("#"):
            return (workers[int(address[1:])],)
    except (AttributeError, IndexError, OverflowError, ValueError):
        raise ScenarioError(
            f"{shown(address)} is no node: write a name, #0 for the first worker, #-1 for the last,"
            f" !#0 for the others, or 30% of the {len(workers)} workers"
        ) from None
    return (address,)
