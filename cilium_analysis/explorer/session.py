"""A session of the explorer: what was chosen, and what is loaded for it. Without widgets."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.explorer import asking
from cilium_analysis.explorer import scope as scopes
from cilium_analysis.explorer.background import Runner, describe
from cilium_analysis.explorer.state import TOPICS, State, asked, context, fits
from cilium_analysis.memory import SETTLING, Remembering
from cilium_analysis.texts import line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from cilium_analysis.explorer.asking import Loaded, Progress
    from cilium_analysis.explorer.background import Job, Post
    from cilium_analysis.explorer.scope import Scope
    from cilium_analysis.explorer.state import Asked
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: Number of questions whose loaded topics are kept, to go back to.
KEPT = 8


class View(Protocol):
    """What shows a session; all of it is called in one thread."""

    def opened(self) -> None:
        """Show another source, or another part of it; its overview is there."""

    def unopened(self, problem: str) -> None:
        """Show why a source was not opened, while what was open stays; empty if it was."""

    def chosen(self) -> None:
        """Show another choice, and mark as old what belongs to an earlier one."""

    def drawn(self, topic: str) -> None:
        """Show a topic that was loaded for the present choice."""

    def progressed(self, progress: Progress) -> None:
        """Show the progress of a question."""

    def ended(self, problem: str) -> None:
        """Show that no work is under way any more, and the error that ended it, if any."""


@dataclass(frozen=True)
class _Opened:
    """A source that was opened, with its overview."""

    source: Source
    scope: Scope
    window: Window
    overview: pd.DataFrame


class Session:
    """What the user has chosen, and what is loaded for it."""

    def __init__(self, view: View, state: State, post: Post) -> None:
        self.view = view
        self.state = state
        self.scope: Scope | None = None
        self.overview: pd.DataFrame | None = None
        self.asked: Asked | None = None
        self.loaded: dict[str, Loaded] = {}
        self._runner, self._opener = Runner(post), Runner(post)
        self._opening: str | None = None
        self._memory: Remembering | None = None
        self._kept: OrderedDict[Asked, dict[str, Loaded]] = OrderedDict()

    @property
    def busy(self) -> bool:
        """Whether anything is being asked."""
        return self._runner.busy or self._opener.busy

    def fresh(self, topic: str) -> bool:
        """Tell whether what is loaded of a topic answers the last question."""
        return topic in self.loaded and self.loaded[topic].asked == self.asked

    def open(self, source: Source | str, *, window: Window | None = None) -> None:
        """Open a source, or the one at an address, which is connected in the background.

        If no window is given, it is that of a recording; of another server it is one in which
        there are metrics, with a step that fits. An address that is being opened is not opened
        twice.
        """
        if isinstance(source, str) and source == self._opening and self._opener.busy:
            return
        self._opening = source if isinstance(source, str) else None

        def work(job: Job) -> Iterator[_Opened]:
            found = scopes.opened(source) if isinstance(source, str) else source
            typed = source.strip() if isinstance(source, str) else scopes.address_of(found)
            yield self._look(found, typed, window or self.state.window, window is None, job)

        self._open(work, end=self._unopened)

    def look(self, extent: Window) -> None:
        """Show another part of the open server in the overview."""
        held, memory = self.scope, self._memory
        if held is None or memory is None or held.held:
            return
        source = scopes.plain(memory)
        self._opening = None

        def work(job: Job) -> Iterator[_Opened]:
            watched = scopes.for_job(Remembering(source), job)
            shown = asking.overview(watched, extent, match=self.state.match)
            yield _Opened(source, replace(held, extent=extent), self.state.window, shown)

        self._open(work, end=self._end)

    def _open(self, work: object, *, end: Callable[[Exception | None], None]) -> None:
        self._opener.start(work, show=self._opened, end=end)  # type: ignore[arg-type]
        self.view.chosen()

    def _look(self, source: Source, address: str, window: Window, whole: bool, job: Job) -> _Opened:
        """Find out what a source can be asked, in the background."""
        watched = scopes.for_job(Remembering(scopes.plain(source)), job)
        found, match = scopes.of(source, address, context(window)), self.state.match
        if found.held:
            inside = found.extent.start <= window.start and window.end <= found.extent.end
            in_step = window.step == found.extent.step
            window = window if inside and in_step and not whole else found.extent
            match = found.match
        elif whole and not (self.scope is not None and self.scope.address == address):
            window = scopes.there(watched, window, match=match)
            found = replace(found, extent=context(window))
        found = scopes.with_labels(found, watched, match=match)
        overview = asking.overview(watched, found.extent, match=match)
        return _Opened(source, found, window, overview)

    def _opened(self, opened: _Opened) -> None:
        if self._opening is not None:
            self.view.unopened("")
        held, new = self.scope, opened.scope
        known = held is not None and (new.address, new.workloads) == (held.address, held.workloads)
        self.scope, self.overview = opened.scope, opened.overview
        if not known or self._memory is None:
            bare = scopes.plain(opened.source)
            self._memory = Remembering(bare)
            self._kept.clear()
            # Answers of the other source do not count here, also to the same question.
            self._runner.stop()
            self.asked, self.loaded = None, {}
            self.state = replace(self.state, filters=())
        state = replace(self.state, window=opened.window)
        if opened.scope.held:
            state = replace(state, match=opened.scope.match)
        if not fits(state.baseline, state.window):
            # Of the source before.
            state = replace(state, baseline="previous")
        self.state = state
        self.view.opened()
        self.choose(state)

    def choose(self, state: State, *, again: bool = False) -> None:
        """Choose something else; what is loaded already is shown at once, or asked `again`."""
        before, self.state = self.state, state
        if self.scope is None or self._memory is None:
            self.view.chosen()
            return
        try:
            wanted = asked(state, self.scope)
        except CiliumAnalysisError as problem:
            self.state = before
            self.view.chosen()
            self.view.ended(line(str(problem)))
            return
        if again:
            self._memory.forget()
            self._kept.clear()
        running = wanted == self.asked and self._runner.busy and not again
        self.asked = wanted
        self.loaded = {} if again else self.loaded | self._kept.get(wanted, {})
        if all(self.fresh(topic) for topic in TOPICS):
            self._runner.stop()
        elif not running:
            self._ask(wanted)
        self.view.chosen()
        for topic in sorted(self.loaded, key=lambda topic: topic != state.topic):
            if self.fresh(topic):
                self.view.drawn(topic)
        if not self.busy:
            self.view.ended("")

    def stop(self) -> bool:
        """Stop all work; tells whether there was any."""
        asking, opening = self._runner.stop(), self._opener.stop()
        return asking or opening

    def _ask(self, wanted: Asked) -> None:
        held, memory, first = self.scope, self._memory, self.state.topic
        assert held is not None and memory is not None  # noqa: S101, PT018 - `choose` has checked

        def work(job: Job) -> Iterator[Progress | Loaded]:
            source = scopes.for_job(memory, job)
            yield from asking.answers(source, wanted, held, first=first)

        self._runner.start(work, show=self._got, end=self._end)

    def _got(self, piece: Progress | Loaded) -> None:
        if isinstance(piece, asking.Progress):
            self.view.progressed(piece)
            return
        self.loaded[piece.topic] = piece
        fresh = {topic: one for topic, one in self.loaded.items() if one.asked == piece.asked}
        settled = piece.asked.window.end + SETTLING <= datetime.now(UTC)
        if len(fresh) == len(TOPICS) and settled:
            self._kept[piece.asked] = fresh
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self.view.drawn(piece.topic)

    def _unopened(self, problem: Exception | None) -> None:
        if problem is not None:
            self.view.unopened(describe(problem))
        else:
            self._end(None)

    def _end(self, problem: Exception | None) -> None:
        if problem is not None:
            self.view.ended(describe(problem))
        elif not self.busy:
            self.view.ended("")
