"""The explorer on the screen: controls, overview, cards, details, report."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.explorer import scope as scopes
from cilium_analysis.explorer.background import posted
from cilium_analysis.explorer.cards import Card, Details
from cilium_analysis.explorer.controls import Filters, Sources, Times, local, status
from cilium_analysis.explorer.overview import Overview
from cilium_analysis.explorer.panels import key, panel, values
from cilium_analysis.explorer.reporting import Reporting, recipe
from cilium_analysis.explorer.session import Session
from cilium_analysis.explorer.state import (
    TOPICS,
    State,
    context,
    dragged,
    inside,
    read,
    unsaid,
    window_from,
)
from cilium_analysis.show import span
from cilium_analysis.texts import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cilium_analysis.explorer.asking import Progress
    from cilium_analysis.explorer.background import Post
    from cilium_analysis.explorer.scope import Scope
    from cilium_analysis.question import Question


class Explorer:
    """Explore an incident: show this as the last value of a cell.

    Everything is asked in the background; the kernel stays free.

    Parameters
    ----------
    question
        To begin with, as from `cilium_analysis.question.ask`.
    output
        Directory of reports.
    post
        As for `Runner`; the event loop of the kernel if none is given.

    Raises
    ------
    ParameterError
        If the question is narrowed to workloads that nobody knows.
    """

    def __init__(
        self, question: Question, *, output: str = "reports", post: Post | None = None
    ) -> None:
        self._output = output
        self._question = question
        post = post or _poster()
        state = State(question.window, match=question.match)
        back = question.window.start - question.baseline.start
        if question.baseline != question.window.baseline("previous"):
            ends = (question.baseline.start, question.baseline.end)
            text = "/".join(moment.isoformat().replace("+00:00", "Z") for moment in ends)
            state = replace(state, baseline=text) if back else state
        self.session = Session(self, state, post)
        here = partial(posted, post)
        source = question.answers
        self.sources = Sources(scopes.address_of(source), here(self._open))
        self.times = Times(self._typed, here(self._move), post)
        self.overview = Overview(here(self._dragged))
        self.filters = Filters(here(self._filter), here(self._clear), post)
        self.cards = {topic: Card(topic, here(self._group)) for topic in TOPICS}
        self.details = Details(here(self._focus))
        self.reporting = Reporting(post)
        self.stop = widgets.Button(description="Stop", disabled=True, layout={"width": "90px"})
        self.progress = widgets.IntProgress(max=len(TOPICS), layout={"width": "160px"})
        self._status = widgets.HTML()
        self._values: dict[str, tuple[str, ...]] = {}
        self._place = ""
        self.stop.on_click(here(self._halt))
        self.times.again.on_click(here(self._again))
        self.widget = self._laid_out()
        self.session.open(source, window=question.window)

    def _laid_out(self) -> widgets.VBox:
        style = (files(__package__) / "style.css").read_text(encoding="utf-8")
        top = widgets.HBox([self.overview.widget, self.times.widget])
        top.add_class("ca-top")
        bar = widgets.HBox([self.stop, self.progress, self._status, self.times.again])
        bar.add_class("ca-row")
        bar.add_class("ca-status")
        grid = widgets.Box([card.widget for card in self.cards.values()])
        grid.add_class("ca-cards")
        root = widgets.VBox(
            [
                widgets.HTML(f"<style>{style}</style>"),
                self.sources.widget,
                top,
                bar,
                self.filters.widget,
                grid,
                self.details.widget,
                self.reporting.widget,
            ]
        )
        root.add_class("ca-explorer")
        return root

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Show the widgets, or a text where a front end cannot show them."""
        bundle = self.widget._repr_mimebundle_(include=include, exclude=exclude)
        data = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
        text = repr(self)
        return data | {"text/plain": text, "text/html": f"<p>{escaped(text)}</p>"}

    def __repr__(self) -> str:
        return (
            f"An explorer of {self._question.source.name}, {span(self._question.window)}:"
            " open this notebook in JupyterLab and run it to choose windows, groups and filters."
        )

    # What the user chooses

    def _open(self, address: str) -> None:
        self.session.open(address)

    def _typed(self) -> None:
        with self._errors_shown():
            held, before = self._scope(), self.session.state
            chosen, wrong = read(self.times.typed, before, held)
            self.times.accept()
            self.times.reject(wrong)
            if chosen == before and wrong:
                self._say("Nothing new was asked: see what is marked.", wrong=True)
                return
            self._choose(chosen)
            if chosen.match != before.match:
                self.session.look(held.extent)

    def _dragged(self, start: datetime, end: datetime) -> None:
        with self._errors_shown():
            zone = self.session.state.window.timezone
            window = dragged(start, end, self._scope(), step="", timezone=zone)
            self._choose(replace(self.session.state, window=window))

    def _move(self, way: str) -> None:
        with self._errors_shown():
            held, window = self._scope(), self.session.state.window
            half = window.length / 2
            start, end = {
                "earlier": (window.start - half, window.end - half),
                "later": (window.start + half, window.end + half),
                "wider": (window.start - half, window.end + half),
                "closer": (window.start + half / 2, window.end - half / 2),
                "all": (held.extent.start, held.extent.end),
            }[way]
            if held.held:
                moved = inside(start, end, held, timezone=window.timezone)
            else:
                moved = window_from(
                    start.isoformat(), end.isoformat(), held, step="", timezone=window.timezone
                )
            self._choose(replace(self.session.state, window=moved))

    def _group(self, topic: str, dimension: str) -> None:
        if dimension != self.session.state.group(topic):
            self._choose(self.session.state.grouped(topic, dimension))

    def _filter(self, dimension: str, chosen: tuple[str, ...]) -> None:
        self._choose(self.session.state.filtered(dimension, chosen))

    def _clear(self) -> None:
        self._choose(replace(self.session.state, filters=()))

    def _focus(self, topic: str) -> None:
        if topic != self.session.state.topic:
            self._choose(replace(self.session.state, topic=topic))

    def _choose(self, state: State) -> None:
        self.session.choose(state)
        held, window = self.session.scope, self.session.state.window
        if held is None or held.held:
            return
        if window.start < held.extent.start or window.end > held.extent.end:
            self.session.look(context(window))

    def _again(self, _: object) -> None:
        self.session.choose(self.session.state, again=True)

    def _halt(self, _: object) -> None:
        if self.session.stop():
            self._say("Stopped. Topics marked as old belong to an earlier choice.")
        self._rest()

    def _scope(self) -> Scope:
        if self.session.scope is None:
            raise CiliumAnalysisError("no source is open yet: choose one above")
        return self.session.scope

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        """Show an error of a choice in a line, and the choice that still holds."""
        try:
            yield
        except CiliumAnalysisError as problem:
            self.chosen()
            self._say(str(problem), wrong=True)

    # What the session shows

    def opened(self) -> None:
        """Show another source."""
        held, session = self._scope(), self.session
        assert session.overview is not None  # noqa: S101 - it comes with the scope
        self.sources.show(held.address)
        if held.address != self._place:
            self.times.accept()
        self._place = held.address
        self._values = {}
        self.overview.show(session.overview, held.extent, session.state.window)

    def unopened(self, problem: str) -> None:
        """Say why a source was not opened, while what was open stays; empty if it was."""
        self.sources.reject(problem)
        if problem and self.session.scope is None:
            self._say("No source is open.", wrong=True)
            self._rest()
        elif problem:
            self.ended("")

    def chosen(self) -> None:
        """Show the choice, and mark what is not loaded yet."""
        session = self.session
        fixed = session.scope is not None and bool(session.scope.held)
        # Old things are marked before anything new is shown about them.
        self.details.mark(session.state.topic, old=not session.fresh(session.state.topic))
        for topic, card in self.cards.items():
            card.mark(old=not session.fresh(topic))
            card.focus(topic == session.state.topic)
            card.group(session.state.group(topic))
        self.times.show(session.state, fixed=fixed)
        self.overview.mark(session.state.window)
        self.filters.show(session.state, self._values)
        self._busy()
        if session.busy:
            self.progress.value = 0
            self._say("Asking …")
        self._recipe()

    def drawn(self, topic: str) -> None:
        """Draw a topic that was loaded."""
        session = self.session
        loaded = session.loaded[topic]
        card, wanted = self.cards[topic], key(loaded, session.state)
        shown = _words(loaded.asked.window)
        if card.key != wanted:
            seen = panel(loaded, session.state)
            zone = session.state.window.timezone
            card.show(seen, wanted, timezone=zone, shown=shown)
        card.mark(old=False)
        self._offer(values(loaded))
        if topic == session.state.topic:
            left = unsaid(session.state, self._scope())
            self.details.show(loaded, card.panel, narrowed=bool(left), shown=shown)

    def _offer(self, found: dict[str, tuple[str, ...]]) -> None:
        """Offer all values that have occurred, also those that a filter hides now."""
        before = dict(self._values)
        for dimension, names in found.items():
            known = set(self._values.get(dimension, ())) | set(names)
            self._values[dimension] = tuple(sorted(known))
        if self._values != before:
            self.filters.show(self.session.state, self._values)

    def progressed(self, progress: Progress) -> None:
        """Show which topic is being asked."""
        self.progress.value = progress.done
        topics = f"{progress.done + 1} of {len(TOPICS)}"
        self._say(f"Asking about {TOPICS[progress.topic]} ({topics}) …")

    def ended(self, problem: str) -> None:
        """Show that everything is loaded, or the error."""
        if problem:
            self._say(problem, wrong=True)
        elif not self.session.busy:
            scope = self._scope()
            only = f", Hubble's metrics only of {scope.workloads}" if scope.workloads else ""
            self._say(f"{scope.name}, {_words(self.session.state.window)}{only}")
        self._rest()

    def _rest(self) -> None:
        self._busy()
        self._recipe()

    def _busy(self) -> None:
        busy = self.session.busy
        self.stop.disabled = not busy
        self.progress.layout.display = "" if busy else "none"

    def _recipe(self) -> None:
        session = self.session
        if session.scope is None or session.asked is None or not all(map(session.fresh, TOPICS)):
            self.reporting.show(None)
            return
        made = recipe(
            session.state, session.asked, session.scope, session.loaded, output=self._output
        )
        self.reporting.show(made)

    def _say(self, text: str, *, wrong: bool = False) -> None:
        self._status.value = status(text, wrong=wrong)


def _words(window: Any) -> str:
    first, last = (local(moment, window) for moment in (window.start, window.end))
    return f"{first} to {last[11:] if last[:10] == first[:10] else last} {window.timezone}"


def _poster() -> Post:
    """Give the function that calls in the kernel's thread, where widgets and pictures are made."""
    with suppress(RuntimeError):
        loop = asyncio.get_running_loop()
        return lambda call: loop.call_soon_threadsafe(call)
    return lambda call: call()
