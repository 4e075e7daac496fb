"""What the magics of a session share: source, window, memory, and the names to complete."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.bundle import Bundle
from cilium_analysis.config import SOURCE_VARIABLE, read_config
from cilium_analysis.connection import connect
from cilium_analysis.errors import SourceError, UsageError
from cilium_analysis.lab.memory import Remembering
from cilium_analysis.lab.vocabulary import Lists, Vocabulary
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.window import Window, format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.source import Source

#: What Python gives a name to and the magics may be told by it.
SOURCES = (Prometheus, Bundle, Remembering)


@dataclass(frozen=True)
class Choice:
    """Where and when a query is asked; empty where nothing is said.

    Parameters
    ----------
    source
        An address as of `cilium_analysis.connect`, or the name of a variable that holds a source.
    start, end, step, timezone
        As of `Window.parse`.
    """

    source: str = ""
    start: str = ""
    end: str = ""
    step: str = ""
    timezone: str = ""

    def over(self, other: Choice) -> Choice:
        """Give this choice, and the other's where this says nothing.

        A start of one's own brings its own end, as the other's would be of another window.
        """
        base = replace(other, end="", step="") if self.start and not self.end else other
        own = {name: text for name, text in vars(self).items() if text}
        return replace(base, **own)


@dataclass
class Session:
    """What stays between two queries."""

    choice: Choice = field(default_factory=Choice)
    _sources: dict[str, Remembering] = field(default_factory=dict)
    _vocabularies: dict[tuple[int, Choice], Vocabulary] = field(default_factory=dict)

    def source(self, address: str, names: Mapping[str, Any]) -> Remembering:
        """Give a source that remembers its answers.

        Parameters
        ----------
        address
            As of `Choice`; if empty, the environment variable ``CILIUM_ANALYSIS_SOURCE`` tells, or
            the file ``cilium-analysis.toml`` beside the notebook.
        names
            The user's variables.

        Raises
        ------
        SourceError
            If there is no such source, or none is named.
        """
        held = names.get(address)
        if isinstance(held, SOURCES):
            return self._remembering(f"variable {id(held)}", held)
        address = address or _configured()
        if not address:
            hint = "%promql --source http://prometheus:9090 (or a bundle's directory, or sample)"
            raise SourceError(f"no source is chosen: begin with {hint}")
        if address not in self._sources:
            return self._remembering(address, connect(address))
        return self._sources[address]

    def _remembering(self, key: str, source: Source) -> Remembering:
        if key not in self._sources:
            own = source if isinstance(source, Remembering) else Remembering(source)
            self._sources[key] = own
        return self._sources[key]

    def vocabulary(self, choice: Choice, names: Mapping[str, Any]) -> Vocabulary:
        """Give the names to complete; without a source those that are known of Cilium.

        Parameters
        ----------
        choice
            Where and when the query is asked.
        names
            The user's variables.
        """
        try:
            source = self.source(choice.source, names).source
        except UsageError:
            return Vocabulary(None)
        key = (id(source), choice)
        if key not in self._vocabularies:
            lists = source if isinstance(source, Lists) else None
            self._vocabularies[key] = Vocabulary(lists, lambda: _window_or_none(choice, source))
        return self._vocabularies[key]


def _configured() -> str:
    """Give the source that is configured; never the sample for want of another."""
    config = read_config(Path())
    return os.environ.get(SOURCE_VARIABLE, "") or (config.source if config else "")


def _window_or_none(choice: Choice, source: Source) -> Window | None:
    try:
        return window(choice, source)
    except UsageError:
        return None


def window(choice: Choice, source: Source) -> Window:
    """Give the window of a choice; of none, that of a bundle, or the last two hours.

    Raises
    ------
    WindowError
        If anything in it cannot be.
    """
    inner = source.source if isinstance(source, Remembering) else source
    timezone = choice.timezone
    if isinstance(inner, Bundle) and not choice.start:
        held = inner.window
        start, end = held.start.isoformat(), held.end.isoformat()
        return Window.parse(
            start,
            choice.end or end,
            step=choice.step or format_duration(held.step),
            timezone=timezone or held.timezone,
        )
    return Window.parse(
        choice.start or "-2h", choice.end or "now", step=choice.step, timezone=timezone or "UTC"
    )
