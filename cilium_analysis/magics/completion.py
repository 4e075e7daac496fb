"""Completion inside the magics: names from the source, in the list that Tab shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from IPython.core.completer import SimpleCompletion, context_matcher

from cilium_analysis.bundle import Bundle
from cilium_analysis.connection import SAMPLES
from cilium_analysis.errors import UsageError
from cilium_analysis.magics import syntax
from cilium_analysis.magics.commands import ALONE, WITH_VALUE, choice_of, options
from cilium_analysis.magics.session import SOURCES, Choice, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from cilium_analysis.magics.session import Vocabulary

#: Names the matcher among those of IPython.
IDENTIFIER = "cilium_analysis.promql"
_MAGIC = re.compile(r"^\s*(?:[\w, ]+=\s*)?%(?P<cell>%?)promql(?=\s)(?P<rest>.*)", re.DOTALL)
_METRIC = re.compile(r"^\s*(?:[\w, ]+=\s*)?%metric\s+(?P<typed>[\w:]*)$")
_LAST_OPTION = re.compile(
    r"(?:^|\s)(?P<name>--[a-z]+)(?:\s+|=)(?P<typed>\"[^\"]*|'[^']*|[^\s\"']*)$"
)
_NAME_BEGINS = re.compile(r"(?:^|\s)(?P<typed>--[a-z]*)$")
_TIMES = ("-1h", "-2h", "-6h", "-1d", "now")
#: Completions that are offered at most.
_MOST = 500


@dataclass(frozen=True)
class Offer:
    """Completions of what was typed, each with its kind."""

    typed: str
    texts: tuple[tuple[str, str], ...]


def offer(before: str, after: str, session: Session, names: Mapping[str, Any]) -> Offer | None:
    """Give the completions at the cursor of a cell; None if it is in no magic of ours.

    Parameters
    ----------
    before, after
        The cell up to the cursor, and from there on.
    session
        That the magics share.
    names
        The user's variables.
    """
    line = before.rpartition("\n")[2]
    if found := _METRIC.match(line):
        words = session.vocabulary(session.choice, names)
        return _starting(found["typed"], _kind("metric", words.metrics()))
    if found := _MAGIC.match(before if before.lstrip().startswith("%%") else line):
        if not found["cell"]:
            after = after.partition("\n")[0]
        return _in_magic(found["rest"], after, session, names)
    return None


def _in_magic(rest: str, after: str, session: Session, names: Mapping[str, Any]) -> Offer | None:
    head, _, cell = rest.partition("\n")
    if "\n" not in rest and (found := _in_options(head, names)):
        return found
    try:
        given, first = options(head)
    except UsageError:
        return None
    choice = choice_of(given).over(session.choice)
    if "\n" in rest:
        query = "\n".join(filter(None, (first, cell)))
    else:
        # The space after the last word counts.
        query = head[len(head.rstrip()) - len(first) :] if first else ""
    words = session.vocabulary(choice, names)
    held = _recorded(query, session, choice, names)
    return _merged(held, _in_query(query, after, words))


def _in_options(head: str, names: Mapping[str, Any]) -> Offer | None:
    """Complete an option or its value, as long as no query has begun."""
    if found := _NAME_BEGINS.search(head):
        if _is_query(head[: found.start()]):
            return None
        return _starting(found["typed"], _kind("option", (*WITH_VALUE, *ALONE)))
    found = _LAST_OPTION.search(head)
    if found is None or found["name"] not in WITH_VALUE or _is_query(head[: found.start()]):
        return None
    values: Mapping[str, Callable[[], Iterable[str]]] = {
        "--source": lambda: [
            *sorted(n for n, v in names.items() if isinstance(v, SOURCES) and n[:1] != "_"),
            *SAMPLES,
        ],
        "--start": lambda: _TIMES[:-1],
        "--end": lambda: reversed(_TIMES),
        "--step": lambda: ("30s", *syntax.DURATIONS),
        "--timezone": lambda: sorted(available_timezones()),
    }
    ask = values.get(found["name"], list)
    return _starting(found["typed"], _kind("value", ask()))


def _is_query(head: str) -> bool:
    try:
        return bool(options(head)[1])
    except UsageError:
        return False


def _in_query(query: str, after: str, words: Vocabulary) -> Offer | None:
    cursor = syntax.cursor(query, after)
    typed = cursor.typed
    texts: Iterable[tuple[str, str]] = ()
    if cursor.kind == "value":
        # Of a pattern such as ``a|b`` the last part is completed.
        typed = typed.rpartition("|")[2] if cursor.pattern else typed
        values = words.values(cursor.label, cursor.metric)
        written = (syntax.written(value, cursor) for value in values)
        texts = _kind("value", (text for text in written if text))
    elif cursor.kind == "expression":
        calls = [*_kind("function", syntax.FUNCTIONS), *_kind("function", syntax.AGGREGATIONS)]
        texts = [*_kind("metric", words.metrics()), *calls]
    elif cursor.kind == "label":
        texts = _kind("label", words.labels(cursor.metric))
    elif cursor.kind == "duration":
        texts = _kind("duration", syntax.DURATIONS)
    elif cursor.kind == "keyword":
        texts = _kind("keyword", syntax.KEYWORDS)
    return _starting(typed, texts)


def _recorded(query: str, session: Session, choice: Choice, names: Mapping[str, Any]) -> Offer:
    """Offer the whole queries that a bundle holds: it answers no others."""
    try:
        source = session.source(choice.source, names).source
    except UsageError:
        return Offer("", ())
    if not isinstance(source, Bundle) or "\n" in query:
        return Offer("", ())
    lines = [text for text in source.queries if "\n" not in text]
    return _starting(query, _kind("query", lines))


def _merged(first: Offer, second: Offer | None) -> Offer | None:
    """Offer both; the second begins later, so that its texts get what stands before it."""
    if second is None or not first.texts:
        return second or None
    before = first.typed[: len(first.typed) - len(second.typed)]
    more = tuple((before + text, kind) for text, kind in second.texts)
    return Offer(first.typed, (first.texts + more)[:_MOST])


def _kind(kind: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    return [(text, kind) for text in texts]


def _starting(typed: str, texts: Iterable[tuple[str, str]]) -> Offer:
    """Keep the texts that begin with what was typed, then those that have it elsewhere."""
    known = list(dict.fromkeys(texts))
    begins = [one for one in known if one[0].startswith(typed)]
    inside = [one for one in known if typed.lower() in one[0].lower() and one not in begins]
    return Offer(typed, tuple((begins + (inside if len(typed) > 1 else []))[:_MOST]))


def matcher(session: Session, names: Mapping[str, Any]) -> Callable[..., SimpleMatcherResult]:
    """Make the matcher that IPython's completer asks.

    Parameters
    ----------
    session, names
        As for `offer`.
    """

    @context_matcher(identifier=IDENTIFIER, priority=200)  # type: ignore[untyped-decorator]
    def promql(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")
        row, column = context.cursor_line, context.cursor_position
        before = "\n".join([*lines[:row], lines[row][:column]])
        after = "\n".join([lines[row][column:], *lines[row + 1 :]])
        found = offer(before, after, session, names)
        texts = found.texts if found else ()
        result: SimpleMatcherResult = {
            "completions": [SimpleCompletion(text=text, type=kind) for text, kind in texts],
            "matched_fragment": found.typed if found else "",
            "suppress": bool(texts),
            "ordered": True,
        }
        return result

    made: Callable[..., SimpleMatcherResult] = promql
    return made
