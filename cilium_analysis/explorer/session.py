"""A session: what was chosen, what is known, and what has to be asked for it. Without widgets."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.explorer import asking, place, surroundings
from cilium_analysis.explorer.job import Runner
from cilium_analysis.explorer.state import TOPICS, State, asked, context
from cilium_analysis.memory import SETTLING, Remembering
from cilium_analysis.texts import line

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from cilium_analysis.explorer.asking import Loaded, Progress
    from cilium_analysis.explorer.job import Job, Post
    from cilium_analysis.explorer.place import Place
    from cilium_analysis.explorer.state import Asked
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: Questions whose answers are kept as they were loaded, to go back to.
KEPT = 8


class View(Protocol):
    """What shows a session; all is called in one thread."""

    def opened(self) -> None:
        """Another place, or another stretch of it, is looked at; its overview is there."""

    def chosen(self) -> None:
        """Something else was chosen: controls show it, and what is old is marked as old."""

    def drawn(self, topic: str) -> None:
        """Show a topic, which is there as it was chosen."""

    def progressed(self, progress: Progress) -> None:
        """Show how far a question is."""

    def ended(self, problem: str) -> None:
        """Nothing is under way any more; why not, if it did not end well."""


@dataclass(frozen=True)
class _Opened:
    """A place with all that is needed to look at it."""

    source: Source
    place: Place
    window: Window
    overview: pd.DataFrame


class Session:
    """What somebody looks at.

    Parameters
    ----------
    view
        Shows it.
    state
        To begin with.
    post
        As for `Runner`.
    """

    def __init__(self, view: View, state: State, post: Post) -> None:
        self.view = view
        self.state = state
        self.place: Place | None = None
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
        """Tell whether what is known of a topic answers what was asked last."""
        return topic in self.loaded and self.loaded[topic].asked == self.asked

    def open(self, source: Source | str, *, window: Window | None = None) -> None:
        """Look at a source, or at another stretch of the one that is open.

        Parameters
        ----------
        source
            Or its address, to be connected in the background; once, if it is being connected.
        window
            To look at; a recording's own if none is given.
        """
        if isinstance(source, str) and source == self._opening and self._opener.busy:
            return
        self._opening = source if isinstance(source, str) else None

        def work(job: Job) -> Iterator[_Opened]:
            found = place.opened(source) if isinstance(source, str) else source
            typed = source.strip() if isinstance(source, str) else place.address_of(found)
            yield self._look(found, typed, window or self.state.window, window is None, job)

        self._open(work)

    def look(self, extent: Window) -> None:
        """Show another stretch of the server that is open in the overview."""
        held, memory = self.place, self._memory
        if held is None or memory is None or held.held:
            return
        source = place.plain(memory)
        self._opening = None

        def work(job: Job) -> Iterator[_Opened]:
            watched = place.for_job(Remembering(source), job)
            shown = surroundings.load(watched, extent, match=self.state.match)
            yield _Opened(source, replace(held, extent=extent), self.state.window, shown)

        self._open(work)

    def _open(self, work: object) -> None:
        self._opener.start(work, show=self._opened, end=self._end)  # type: ignore[arg-type]
        self.view.chosen()

    def _look(self, source: Source, address: str, window: Window, whole: bool, job: Job) -> _Opened:
        """Get to know a place, in the background."""
        watched = place.for_job(Remembering(place.plain(source)), job)
        found = place.of(source, address, context(window))
        if found.held:
            inside = found.extent.start <= window.start and window.end <= found.extent.end
            in_step = window.step == found.extent.step
            window = window if inside and in_step and not whole else found.extent
        found = place.with_labels(found, watched, match=self.state.match)
        overview = surroundings.load(watched, found.extent, match=self.state.match)
        return _Opened(source, found, window, overview)

    def _opened(self, opened: _Opened) -> None:
        known = self.place is not None and opened.place.address == self.place.address
        self.place, self.overview = opened.place, opened.overview
        if not known or self._memory is None:
            bare = place.plain(opened.source)
            self._memory = Remembering(bare)
            self._kept.clear()
            # What the other place answers is no answer of this one, also to the same question.
            self._runner.stop()
            self.asked, self.loaded = None, {}
            self.state = replace(self.state, filters=())
        self.view.opened()
        self.choose(replace(self.state, window=opened.window))

    def choose(self, state: State, *, again: bool = False) -> None:
        """Look at something else; what is known already is shown at once.

        Parameters
        ----------
        state
            What is wanted now.
        again
            Whether to ask even what was answered before.
        """
        before, self.state = self.state, state
        if self.place is None or self._memory is None:
            self.view.chosen()
            return
        try:
            wanted = asked(state, self.place)
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
        """Give up all that is under way; tells whether anything was."""
        stopped = [runner.stop() for runner in (self._runner, self._opener)]
        return any(stopped)

    def _ask(self, wanted: Asked) -> None:
        held, memory, first = self.place, self._memory, self.state.topic
        assert held is not None and memory is not None  # noqa: S101, PT018 - `choose` has looked

        def work(job: Job) -> Iterator[Progress | Loaded]:
            source = place.for_job(memory, job)
            assert isinstance(source, asking.Watched)  # noqa: S101
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

    def _end(self, problem: Exception | None) -> None:
        if problem is None:
            if not self.busy:
                self.view.ended("")
            return
        said = line(str(problem)) or type(problem).__name__
        self.view.ended(said if isinstance(problem, CiliumAnalysisError) else f"Unexpected: {said}")
