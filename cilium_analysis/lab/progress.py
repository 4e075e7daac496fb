"""Bars for what takes longer than a second."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from cilium_analysis.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.source import Source

#: What is done by then shows no bar [s].
DELAY = 1.0
_PERIOD = 0.5


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
    before, ended = source.progress, Event()
    with _bars()(total=1, desc=source.name, unit="request", delay=DELAY, leave=False) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        def tick() -> None:
            wait = DELAY
            while not ended.wait(wait):
                wait = _PERIOD
                bar.refresh()

        ticking = Thread(target=tick, daemon=True)
        source.progress = tell
        try:
            ticking.start()
            yield
        finally:
            source.progress = before
            ended.set()
            ticking.join()


def _bars() -> Any:
    """Give the bars of the front end; those with widgets warn where there are none."""
    if find_spec("ipywidgets") is None:
        from tqdm.std import tqdm as plain

        return plain
    from tqdm.auto import tqdm

    return tqdm
