"""Bars for what takes longer than a second: a query in several requests, a topic's many queries."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from cilium_analysis.prometheus import Prometheus
from cilium_analysis.source import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from cilium_analysis.source import Source

#: What is done by then shows no bar [s].
DELAY = 1.0
PERIOD = 0.5


@contextmanager
def progress(source: Source) -> Iterator[None]:
    """Show a bar, and how long it has taken, while a server answers a query.

    Parameters
    ----------
    source
        Of the queries that are asked meanwhile; only servers are ever slow.
    """
    if not isinstance(source, Prometheus):
        yield
        return
    before = source.progress
    with _bar(source.name, unit="request", total=1) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        source.progress = tell
        try:
            yield
        finally:
            source.progress = before


@contextmanager
def watched(source: Source) -> Iterator[Source]:
    """Show how many queries were answered, and how long it has taken.

    Parameters
    ----------
    source
        What really answers.

    Examples
    --------
    >>> from cilium_analysis.question import ask
    >>> from cilium_analysis.topics import drops
    >>> question = ask(source="sample")
    >>> with watched(question.source) as source:
    ...     data = drops.load(source, question.window, question.baseline)
    """
    with _bar(source.name, unit="query", total=None) as bar:
        yield _Watched(source, bar)


class _Watched(Relay):
    """Counts the answers."""

    def __init__(self, source: Source, bar: Any) -> None:
        super().__init__(source)
        self._bar = bar

    def passed(self, ask: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        answer = ask()
        self._bar.update()
        return answer


@contextmanager
def _bar(title: str, *, unit: str, total: int | None) -> Iterator[Any]:
    """Show a bar that is gone when its block ends, and whose clock goes on between updates."""
    ended = Event()
    with _bars()(desc=title, unit=unit, total=total, delay=DELAY, leave=False) as bar:

        def tick() -> None:
            wait = DELAY
            while not ended.wait(wait):
                wait = PERIOD
                bar.refresh()

        ticking = Thread(target=tick, daemon=True)
        try:
            ticking.start()
            yield bar
        finally:
            ended.set()
            ticking.join()


def _bars() -> Any:
    """Give the bars of JupyterLab, which tells its kernels of their notebook; elsewhere text."""
    if "JPY_SESSION_NAME" in os.environ and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm as widget

        return widget
    from tqdm.std import tqdm

    return tqdm
