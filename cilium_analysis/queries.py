"""Queries as data: PromQL templates, and the label matchers a user narrows them with."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.errors import ParameterError
from cilium_analysis.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MATCHER = re.compile(
    r"""\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<operator>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*""",
    re.DOTALL,
)
#: The words and signs of PromQL; a text that is still open goes to the end.
TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*\n)
      | (?P<comment>\#[^\n]*$)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
      | (?P<open>["'`].*$)
      | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<number>[0-9.][0-9a-zA-Z_.]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|.)""",
    re.DOTALL | re.VERBOSE,
)
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTED = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*\{")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
#: Escapes of PromQL in double quotes (util/strutil/quote.go, UnquoteChar).
_ESCAPE = re.compile(
    rb"""\\(?:(?P<char>[abfnrtv\\"])|(?P<octal>[0-3][0-7]{2})|x(?P<byte>[0-9a-fA-F]{2})"""
    rb"""|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))"""
)
_MEANT = dict(zip('abfnrtv\\"', '\a\b\f\n\r\t\v\\"', strict=True))


@dataclass(frozen=True)
class Matcher:
    """One label matcher of PromQL, such as ``namespace="shop"``.

    Parameters
    ----------
    label, operator, value
        The value unescaped; `str` of a matcher escapes it, so that no value can leave its quotes.
    """

    label: str
    operator: str
    value: str

    @property
    def needs_label(self) -> bool:
        """Whether a series without the label does not match; to PromQL its value is ``""``."""
        try:
            alike = (
                self.value == "" if "~" not in self.operator else bool(re.fullmatch(self.value, ""))
            )
        except re.error:  # RE2 reads some that Python does not
            return True
        return alike == self.operator.startswith("!")

    def or_without(self) -> Matcher | None:
        """Return a matcher that also takes series without the label; None if none can say so."""
        if not self.needs_label:
            return self
        if self.operator == "=":
            return any_of(self.label, (self.value, ""))
        return replace(self, value=f"(?:{self.value})|") if self.operator == "=~" else None

    def __str__(self) -> str:
        return f"{self.label}{self.operator}{quote(self.value)}"


def quote(value: str) -> str:
    """Write any text as a PromQL string literal."""
    return '"' + "".join(_ESCAPES.get(char, char) for char in value) + '"'


def any_of(label: str, values: Iterable[str]) -> Matcher:
    """Return the matcher of a label that has one of these values, whatever is in them."""
    escaped = (re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value) for value in values)
    return Matcher(label, "=~", "|".join(escaped))


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    r"""Read matchers as they are written inside the braces of a selector.

    Parameters
    ----------
    text
        Such as ``cluster="prod",node=~"worker-.*"``; braces around it and a comma at its end
        are allowed; empty means none. A value stands in double quotes as in PromQL; but a
        backslash that PromQL refuses, as of ``"worker-\d+"``, is kept as it was typed.

    Raises
    ------
    ParameterError
        If the text is anything else.

    Examples
    --------
    >>> for matcher in parse_matchers('cluster="prod",node=~"worker-.*"'):
    ...     print(matcher)
    cluster="prod"
    node=~"worker-.*"
    """
    rest = text.strip().removeprefix("{").removesuffix("}").strip()
    found: list[Matcher] = []
    while rest:
        match = _MATCHER.match(rest)
        rest = rest[match.end() :] if match else rest
        if not match or (rest and not rest.startswith(",")):
            hint = 'write it as label="value",other=~"a|b"'
            raise ParameterError(f"cannot read the label matchers {text!r}: {hint}")
        found.append(Matcher(match["label"], match["operator"], unescaped(match["value"])))
        rest = rest.removeprefix(",")
    return tuple(found)


def unescaped(text: str) -> str:
    """Read the text between quotes; a backslash that begins no escape is kept."""
    try:
        # Bytes, since \\xc3\\xa9 is one character.
        return _ESCAPE.sub(_meant, text.encode()).decode()
    except (OverflowError, ValueError):
        raise ParameterError(f"the value {text!r} of a label matcher is not UTF-8") from None


def check_pattern(matcher: Matcher) -> None:
    """Refuse a pattern that servers refuse: they read it by RE2, as pyarrow does.

    Raises
    ------
    ParameterError
        With the reason of RE2.
    """
    if matcher.operator in ("=", "!="):
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), matcher.value)
    except ValueError as problem:
        reason = str(problem).removeprefix("Invalid regular expression: ")
        raise ParameterError(f"cannot read the pattern of {matcher}: {reason}") from None


def _meant(escape: re.Match[bytes]) -> bytes:
    if escape["char"]:
        return _MEANT[escape["char"].decode()].encode()
    if escape["octal"] or escape["byte"]:
        return bytes([int(escape["octal"], 8) if escape["octal"] else int(escape["byte"], 16)])
    return chr(int(escape["short"] or escape["long"], 16)).encode()


def selected(promql: str) -> frozenset[str]:
    """List the metrics that a query selects; ``""`` for a selector that names no metric."""
    return frozenset(_SELECTED.findall(_TEXT.sub('""', promql)))


def count_each(metrics: Iterable[str], matchers: Sequence[str] = ("",)) -> str:
    """Write PromQL that counts series by ``metric``; some servers match names only exactly."""
    return " or ".join(
        f'label_replace(count({metric}{{{each}<match>}}), "metric", "{metric}", "", "")'
        for metric in metrics
        for each in matchers
    )


@dataclass(frozen=True)
class Query:
    """A query of a topic.

    Parameters
    ----------
    promql
        PromQL with placeholders: ``<match>`` for the user's matchers inside a selector's braces,
        ``<single>`` for these and matchers that select each target once (for sums by the server),
        ``<range>`` for the duration of one step, ``<recent>`` for a time in which every target
        is scraped at least once, ``<target>`` for the labels that tell the scrape targets apart,
        and ``<cluster>`` for those that tell clusters apart.
    unit
        Of the values.
    about
        Meaning of the values, for people.
    spare
        Whether its topic can be judged without it.
    """

    promql: str
    unit: str
    about: str
    spare: bool = False

    def render(
        self,
        *,
        match: Sequence[Matcher] = (),
        step: timedelta,
        target: Sequence[str] = ("cluster", "instance", "node"),
        cluster: Sequence[str] = ("cluster",),
        recent: timedelta = timedelta(seconds=90),
        single: Sequence[Matcher] = (),
    ) -> str:
        """Return the query with all placeholders filled in.

        Parameters
        ----------
        match
            Label matchers for every selector.
        step
            Step of the window.
        target, cluster
            Labels that tell targets, and clusters, apart.
        recent
            Time in which every target is scraped at least once.
        single
            Label matchers that select each target once.
        """
        filled = self.promql.replace("<range>", format_duration(step))
        filled = filled.replace("<recent>", format_duration(recent))
        for place, names in (("<target>", target), ("<cluster>", cluster)):
            # Without any label, the comma after it is left out too.
            listed = ", ".join(names)
            filled = filled.replace(f"{place}, ", listed + ", " * bool(names))
            filled = filled.replace(place, listed)
        # Last, so that no matcher's value is taken for a placeholder.
        parts = {
            "match": ",".join(map(str, match)),
            "single": ",".join(map(str, (*match, *single))),
        }
        return re.sub(
            r"(,?)<(match|single)>", lambda p: p[1] * bool(parts[p[2]]) + parts[p[2]], filled
        )
