"""Options and query of a magic, told apart without touching the query. Pure.

IPython's own splitting takes quotes away, and its expansion of ``{name}`` and ``$name`` would take
the braces of PromQL for Python.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from cilium_analysis.errors import ParameterError, suggest
from cilium_analysis.lab.session import Choice

#: Options that take a value, and those that take none.
WITH_VALUE = ("--source", "--start", "--end", "--step", "--timezone", "--as")
ALONE = ("--plot",)
_OPTION = re.compile(r"\s*(?P<name>--[a-z]+)(?:(?:\s*=\s*|\s+)(?P<value>\"[^\"]*\"|'[^']*'|\S+))?")
_STRING_OR_COMMENT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`|\#[^\n]*")


@dataclass(frozen=True)
class Arguments:
    """What somebody wrote after the name of the magic.

    Parameters
    ----------
    choice
        Where and when.
    query
        As it was written.
    name
        Of the variable that gets the frame; empty for none.
    plot
        Whether to draw the answer.
    """

    choice: Choice
    query: str
    name: str = ""
    plot: bool = False


def parse(line: str, cell: str | None = None) -> Arguments:
    """Read options and query.

    Parameters
    ----------
    line
        After the name of the magic: options, then the query.
    cell
        The query, if it has a cell of its own.

    Raises
    ------
    ParameterError
        If an option is unknown, lacks its value, or comes after the query.
    """
    given, rest = options(line)
    query = "\n".join(text for text in (rest, cell) if text and text.strip())
    query = re.sub(r";\s*$", "", query).strip("\n")
    _refuse_late(query)
    name = given.pop("--as", "")
    if name and (not name.isidentifier() or keyword.iskeyword(name)):
        raise ParameterError(f"--as {name}: the result needs a name that Python can use")
    plot = "--plot" in given
    chosen = {o.removeprefix("--"): text for o, text in given.items() if o != "--plot"}
    return Arguments(Choice(**chosen), query if query.strip() else "", name, plot)


def options(line: str) -> tuple[dict[str, str], str]:
    """Take the options off the beginning of a line: their values by name, and what is left.

    Raises
    ------
    ParameterError
        As of `parse`.
    """
    given: dict[str, str] = {}
    while found := _OPTION.match(line):
        name, value = found["name"], found["value"]
        if name in ALONE:
            given[name], line = "", line[found.end("name") :]
            continue
        if name not in WITH_VALUE:
            known = suggest(name, (*WITH_VALUE, *ALONE))
            raise ParameterError(f"unknown option {name}: {known}")
        if value is None or value.startswith("--"):
            raise ParameterError(f"{name} needs a value, as in {name} {_EXAMPLES[name]}")
        given[name], line = value.strip("\"'"), line[found.end() :]
    return given, line.strip()


_EXAMPLES = {
    "--source": "http://prometheus:9090",
    "--start": '-6h, or "2026-03-21 08:00"',
    "--end": "now",
    "--step": "30s",
    "--timezone": "Europe/Berlin",
    "--as": "drops",
}


def _refuse_late(query: str) -> None:
    """Refuse an option after the query: PromQL would subtract a metric of that name."""
    bare = _STRING_OR_COMMENT.sub("", query)
    names = "|".join(option.removeprefix("--") for option in (*WITH_VALUE, *ALONE))
    if late := re.search(rf"(?:^|\s)--(?:{names})\b", bare):
        raise ParameterError(f"{late[0].strip()} stands after the query: options come first")
