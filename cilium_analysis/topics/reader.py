"""How topics read their declared metrics in one window: levels of gauges, increases of counters."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import counters, frames, targets
from cilium_analysis.queries import parse_matchers
from cilium_analysis.source import Sums, at_once, summed
from cilium_analysis.together import together
from cilium_analysis.topics import loading, versions
from cilium_analysis.topics.buckets import as_stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cilium_analysis.queries import Query
    from cilium_analysis.source import Source
    from cilium_analysis.targets import Targets
    from cilium_analysis.targets.stored import Component
    from cilium_analysis.topics.metric import Metric
    from cilium_analysis.window import Window

#: Steps after which it is asked whether any counter vanished or began again.
BLOCK = 10
#: By component, the attribute that holds its scrapes.
_SCRAPES = {"agent": "agents", "hubble": "hubble", "operator": "operators"}


@dataclass(frozen=True)
class Reader:
    """Reads metrics of one window.

    Parameters
    ----------
    source, window, match
        As for a topic's ``load``.
    """

    source: Source
    window: Window
    match: str

    @cached_property
    def targets(self) -> Targets:
        """The scrape targets, as far as they are known for the window."""
        return targets.of(self.source, self.window, match=self.match)

    @cached_property
    def agents(self) -> loading.Scrapes:
        """When agents were scraped, and started."""
        return self._scrapes("agent")

    @cached_property
    def hubble(self) -> loading.Scrapes:
        """When Hubble was scraped, and its agent started."""
        return self._scrapes("hubble")

    @cached_property
    def operators(self) -> loading.Scrapes:
        """When operators were scraped, and started."""
        return self._scrapes("operator")

    @cached_property
    def versions(self) -> tuple[str, ...]:
        """Versions of Cilium that ran in the window; none if nothing tells."""
        return versions.ask(self.source, self.window, match=self.match)

    @property
    def scraped(self) -> dict[str, pd.DataFrame]:
        """Whether each target was scraped in each step, by component, if that was asked."""
        return {
            component: getattr(self, name).scraped(self.window)
            for component, name in _SCRAPES.items()
            if name in vars(self)
        }

    @property
    def nodes(self) -> int:
        """Number of nodes whose agent, or else whose Hubble, was scraped."""
        return self.agents.starts.shape[1] or self.hubble.starts.shape[1]

    @property
    def crowded(self) -> bool:
        """Whether Hubble's counters are added up over the nodes by the server."""
        return loading.crowded(self.hubble.starts)

    @property
    def crowd_note(self) -> tuple[str, ...]:
        """What it means for the answers that there are so many nodes; empty if there are not."""
        return loading.crowd_note(self.hubble.starts)

    def every(self, metric: Metric) -> int:
        """Give how many steps of the window one step of the answer takes."""
        if metric.use == "searched":
            return 1
        most = loading.SLOW if metric.use == "slow" else loading.AT_REST
        return loading.every(self.window, nodes=self.nodes, most=most)

    def values(self, query: Query, *, every: int = 1, strict: bool = False) -> pd.DataFrame:
        """Ask a query from before the window on; arguments and answer as of `loading.fetch`."""
        return loading.fetch(
            self.source, query, self.window, match=self.match, every=every, strict=strict
        )

    def read(self, metric: Metric, *, strict: bool = False) -> pd.DataFrame:
        """Read the levels of a gauge, or what a counter gained per step of the window.

        Parameters
        ----------
        metric
            What to read.
        strict
            As for `loading.fetch`.

        Returns
        -------
        pandas.DataFrame
            Label frame with ``node`` and the labels of the metric; a row per step, but of what
            is counted rarely, see `Metric.use`.

        Raises
        ------
        BudgetExceeded, QueryRejected
            If it is refused, and `strict`.
        """
        return self.answer(metric, self.asked(metric, strict=strict))

    def asked(self, metric: Metric, *, strict: bool = False) -> pd.DataFrame:
        """Ask for all that `answer` reads a metric from; arguments as for `read`."""
        with self._by_sums(metric):
            values = self.values(metric, every=self.every(metric), strict=strict)
        return frames.with_levels(values, ["node", *metric.labels, *map(str, values.columns.names)])

    @contextmanager
    def _by_sums(self, metric: Metric) -> Iterator[None]:
        """Of many nodes, let the server be asked for sums of the counters: that gives the same."""
        known, scrapes = self.targets, self._of(metric)
        stored_so = as_stored(metric, known.native).promql == metric.promql
        if not (metric.total and stored_so and scrapes and self.nodes > loading.CROWD):
            yield
            return
        step, match = self.every(metric) * self.window.step, parse_matchers(self.match)

        def written(text: str, steps: int = 1) -> str:
            return known.render(replace(metric, promql=text), match=match, step=steps * step)

        there = scrapes.starts.notna()
        # Two reports of one start may differ by what was rounded.
        again = scrapes.starts.diff().abs() > 1
        moved = np.asarray(((there != there.shift(fill_value=False)) | again).any(axis=1))
        sums = Sums(
            promql=written(metric.promql),
            total=written(metric.total),
            broken=written(metric.broken, BLOCK),
            steps=BLOCK,
            unsteady=pd.DatetimeIndex(scrapes.starts.index[moved]),
        )
        with summed(sums):
            yield

    def asked_together(self, metrics: Mapping[str, Metric]) -> dict[str, pd.DataFrame]:
        """Ask for several metrics, as `asked`, at the same time; by their names."""
        self.nodes  # noqa: B018 - all would ask for it first
        found = dict(
            together(metrics, lambda name: self.asked(metrics[name]), number=at_once(self.source))
        )
        return {name: found[name] for name in metrics}

    def answer(self, metric: Metric, values: pd.DataFrame) -> pd.DataFrame:
        """Read a metric from what was `asked`."""
        if metric.kind == "gained":
            return loading.inside(values, self.window)
        if metric.kind != "gauge":
            return loading.inside(self.count(metric, values).increase, self.window)
        every, scrapes = self.every(metric), self._of(metric)
        if every > 1:
            values = loading.spread(values, self.window)
        held = loading.held(values, scraped=scrapes.raw if scrapes else None, every=every)
        return loading.inside(held, self.window)

    def count(self, metric: Metric, values: pd.DataFrame) -> counters.Reading:
        """Read what a counter gained, from before the window on, and what that rests on."""
        scrapes = self._of(metric)
        started = scrapes.starts if scrapes else None
        return counters.read(values, scraped=started, pinned=metric.kind == "pinned")

    def _of(self, metric: Metric) -> loading.Scrapes | None:
        """Give the scrapes of the process that a metric is of; None if nothing tells of them."""
        of = _SCRAPES.get(metric.process)
        scrapes: loading.Scrapes | None = getattr(self, of) if of else None
        return scrapes if scrapes and scrapes.starts.shape[1] else None

    def _scrapes(self, component: Component) -> loading.Scrapes:
        return loading.scrapes(self.source, self.window, component, match=self.match)
