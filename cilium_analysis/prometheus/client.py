"""The client: PromQL in, labelled frames out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cilium_analysis.errors import NotPrometheus, QueryRejected, shortened
from cilium_analysis.prometheus import catalogue, planning
from cilium_analysis.prometheus.catalogue import Catalogue
from cilium_analysis.prometheus.columns import add_instant, check, check_times, join, with_samples
from cilium_analysis.prometheus.credentials import Credentials, parameters_of, split_url
from cilium_analysis.prometheus.failures import smaller, warnings
from cilium_analysis.prometheus.limits import NEVER, Deadline
from cilium_analysis.prometheus.planning import Plan, number, seconds
from cilium_analysis.prometheus.slots import Slots
from cilium_analysis.prometheus.sums import by_sums
from cilium_analysis.prometheus.transport import Transport
from cilium_analysis.prometheus.upstream import as_upstream, as_upstream_writes, timeout_of
from cilium_analysis.source import Record, note, sums_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    import requests

    from cilium_analysis.prometheus.access import Access
    from cilium_analysis.prometheus.columns import Answer
    from cilium_analysis.prometheus.packing import Compression
    from cilium_analysis.window import Window


class Prometheus(Catalogue):
    """A Prometheus-compatible server: Prometheus, Thanos, Mimir, Cortex, VictoriaMetrics.

    Also a drop-in for ``prometheus_pandas.query.Prometheus``: `query` and `query_range` return
    the same, and errors are also `RuntimeError`.

    Parameters
    ----------
    url
        With a path prefix if there is one. User information in it is used for basic
        authentication and shown nowhere. A query part, such as ``?namespace=x``, is sent along
        with every request.
    http
        A `requests.Session` to use, with its own credentials, proxies and adapters.
    timeout
        For each request with all its tries, and for the server's evaluation [s].
    headers
        To send along with every request.
    credentials
        References to files and environment variables, see `Credentials`.
    max_samples
        A range query that would bring more is refused before it is sent.
    concurrency
        Requests at the same time.
    compression
        ``auto``, ``gzip`` or ``identity``, see `Transport`.
    retries
        How often to try again after 429, 502, 503, 504, a lost connection or a broken body. If
        None, 4 times, and a server that has answered before is waited for as long as `timeout`.
    pause
        Waits so many seconds between two tries.
    progress
        Is told after each request of a query in several: how many are done, and of how many.
    deadline
        For everything: after it each request fails at once, and those under way end.
    max_bytes
        An answer that is larger, unpacked, is refused while it arrives [bytes]. If None, an eighth
        of the memory that is free then, and at most 1 GiB.
    api_url
        What upstream calls `url`.
    access
        The way to it, instead of `credentials`.
    called
        Name of the source, if it is not its address.
    get_only
        Whether POST is not even tried.

    Attributes
    ----------
    found
        How the server was found, in one line; empty if its address was given.
    caveat
        A reason not to trust its answers fully, which each of them gets as a warning.
    beside
        What is closed with it, such as a way to it.

    Raises
    ------
    SourceError
        If the URL is none of a server.
    """

    def __init__(
        self,
        url: str = "",
        http: requests.Session | None = None,
        *,
        timeout: float = 120.0,
        headers: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        max_samples: int = 50_000_000,
        concurrency: int = 4,
        compression: Compression = "auto",
        retries: int | None = None,
        pause: Callable[[float], None] = time.sleep,
        progress: Callable[[int, int], None] = lambda done, total: None,
        deadline: Deadline = NEVER,
        max_bytes: int | None = None,
        api_url: str = "",
        access: Access | None = None,
        called: str = "",
        get_only: bool = False,
    ) -> None:
        base, auth = split_url(url or api_url)
        self.transport = Transport(
            base=base,
            http=http,
            credentials=credentials or Credentials(),
            auth=auth,
            headers=headers or {},
            timeout=timeout,
            retries=retries,
            compression=compression,
            pause=pause,
            parameters=parameters_of(url or api_url),
            deadline=deadline,
            max_bytes=max_bytes,
            concurrency=concurrency,
            way=access,
            get_only=get_only,
        )
        self.called, self.found, self.caveat, self.beside = called, "", "", ExitStack()
        self.max_samples = max_samples
        self.concurrency = concurrency
        self.progress = progress
        self.journal: list[Record] = []
        self._build: dict[str, str] | None = None
        self._widest: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Prometheus({self.name!r})"

    @property
    def api_url(self) -> str:
        """Address without credentials, ending in a slash, as upstream calls it."""
        return self.transport.base

    def close(self) -> None:
        """Close the session, and what was opened beside it."""
        self.transport.close()
        self.beside.close()

    @property
    def server(self) -> Mapping[str, str]:
        """What the server says of itself: ``application``, ``version``, …; empty if nothing."""
        if self._build is None:
            self._build = catalogue.build_of(self.transport)
        return self._build

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Evaluate a query at every point of a window.

        Long windows and large answers are fetched in several requests at the same time; a point
        of a range query does not depend on the others.

        Parameters
        ----------
        promql
            Any expression that gives a vector or a scalar.
        window
            What to ask for. The times of the frame are those of the answer: some servers move
            them.

        Returns
        -------
        pandas.DataFrame
            A label frame.

        Raises
        ------
        BudgetExceeded
            If the answer would hold more samples than `max_samples`.
        PrometheusError
            If the server does not answer.
        """
        sums = sums_for(promql)
        if sums is None:
            frame, record = self._fetched(promql, window)
        else:
            frame, record = by_sums(self._fetched, promql, sums, window)
        self._note(record)
        return frame

    def _fetched(self, promql: str, window: Window) -> tuple[pd.DataFrame, Record]:
        began = time.perf_counter()
        plan = self._affordable(promql, window)
        points = -(-window.points // plan.requests)
        answers = self._pieces(promql, window, max(points, 3))
        said = [text for a in answers for text in warnings(a.envelope, a.histograms)]
        parts = [with_samples(answer, query=promql) for answer in answers]
        samples = sum(part.samples for part in parts)
        frame = join(parts, query=promql)
        if samples > self.max_samples:  # planned with too few series, or not at all
            dense = Plan(frame.shape[1], window.points, plan.requests)
            planning.check(dense, window, budget=self.max_samples, promql=promql)
        check_times(frame, window, query=promql)
        said += catalogue.newest_points(self.transport, window)
        size, took = sum(answer.size for answer in answers), time.perf_counter() - began
        told = tuple(dict.fromkeys(said))
        return frame, Record(promql, window, frame.shape[1], samples, size, took, told)

    def let_go(self) -> None:
        """Let new requests pass those under way, which nobody waits for any more."""
        self.transport.slots = Slots(self.transport.slots.most)

    def is_alive(self) -> bool:
        """Tell whether the server answers the smallest of all queries, at once."""
        return self.transport.is_alive()

    def plan(self, promql: str, window: Window) -> Plan:
        """Estimate what `range` would fetch, by counting series at its ends and its middle.

        Parameters
        ----------
        promql, window
            As for `range`.
        """
        return planning.plan(window, self._counts(promql, window))

    def _counts(self, promql: str, window: Window) -> list[int | None]:
        """Count the series of an expression at the ends and the middle of a window.

        One request counts at all three; but in a long window the server would look at all series
        there between, and VictoriaMetrics counts those of a whole step.
        """
        if window.length <= planning.SHORT and not self.transport.is_victoria:
            half = max(window.length / 2, window.step)
            found = self._count(promql, "api/v1/query_range", _range_of(window, half))
            if found is not None and not self.transport.is_victoria:
                return [found]
        moments = (window.start, window.middle, window.end)
        return [self._count(promql, "api/v1/query", {"time": seconds(each)}) for each in moments]

    def _count(self, promql: str, path: str, when: Mapping[str, str]) -> int | None:
        """Count at one moment, or give the largest number of several, if the server can."""
        try:
            params = {"query": f"count({promql}\n)", **when}
            answer = self._query(path, params, "matrix", "vector", query=promql)
        except QueryRejected:
            return None
        if answer.data["resultType"] == "vector":
            add_instant(answer)
        counts = join([answer.columns], query=promql).to_numpy()
        return int(np.nanmax(counts)) if counts.size else 0

    def _affordable(self, promql: str, window: Window) -> Plan:
        """Plan a fetch, and refuse one over the budget."""
        if not planning.needed(window, budget=self.max_samples, widest=self._widest):
            return Plan(None, window.points, 1)
        found = self.plan(promql, window)
        planning.check(found, window, budget=self.max_samples, promql=promql)
        return found

    def _pieces(self, promql: str, window: Window, points: int) -> list[Answer]:
        """Fetch a window in pieces of so many points, or fewer where the server wants it."""
        pieces = list(window.split(points))
        if len(pieces) == 1:
            return self._piece(promql, window)
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="cilium-analysis")
        try:
            futures = [pool.submit(self._piece, promql, piece) for piece in pieces]
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                self.progress(done, len(pieces))
            return [answer for future in futures for answer in future.result()]
        except KeyboardInterrupt:
            self.let_go()
            raise
        finally:
            # After an error, or Ctrl-C, nothing more is begun, and nobody waits.
            pool.shutdown(wait=False, cancel_futures=True)

    def _piece(self, promql: str, window: Window) -> list[Answer]:
        params = {"query": promql, **_range_of(window, window.step)}
        try:
            return [self._query("api/v1/query_range", params, "matrix", query=promql)]
        except QueryRejected as refusal:
            fewer = smaller(str(refusal), window)
            if fewer is None:
                raise
            return [a for piece in window.split(fewer) for a in self._piece(promql, piece)]

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """Evaluate a query at one moment.

        Parameters
        ----------
        promql
            Any expression that gives a vector, a scalar, or raw samples (``metric[10m]``).
        moment
            Aware.

        Returns
        -------
        pandas.DataFrame
            A label frame: of one row for a vector or a scalar, of all samples for raw ones.

        Raises
        ------
        PrometheusError
            If the server does not answer.
        """
        began = time.perf_counter()
        params = {"query": promql, "time": seconds(moment)}
        answer = self._query("api/v1/query", params, query=promql)
        left_out = add_instant(answer)
        columns = with_samples(answer, query=promql)
        samples = columns.samples
        frame = join([columns], query=promql)
        said = warnings(answer.envelope, answer.histograms + left_out)
        took = time.perf_counter() - began
        self._note(Record(promql, None, frame.shape[1], samples, answer.size, took, said))
        return frame

    def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
        """Fetch the exemplars of the series that a query selects.

        Parameters
        ----------
        promql
            Any expression; its selectors count.
        window
            Its start and end.

        Returns
        -------
        pandas.DataFrame
            One row per exemplar: ``time``, ``value``, the labels of the series, and those of the
            exemplar (such as ``traceID``). Empty if the server keeps none (Prometheus:
            ``--enable-feature=exemplar-storage``).
        """
        began = time.perf_counter()
        params = {"query": promql, "start": seconds(window.start), "end": seconds(window.end)}
        answer = self.transport.ask("api/v1/query_exemplars", params, query=promql)
        with catalogue.expected_of(self.name):
            data = answer.envelope.get("data") or ()
            table = catalogue.exemplars(data)
        said, took = warnings(answer.envelope, 0), time.perf_counter() - began
        self._note(Record(promql, window, len(data), len(table), answer.size, took, said))
        return table

    def query(
        self,
        query: str,
        time: str | float | datetime | None = None,
        timeout: str | timedelta | None = None,
    ) -> Any:
        """Evaluate an instant query, as ``prometheus_pandas.query.Prometheus.query`` does.

        Returns
        -------
        pandas.DataFrame, pandas.Series, numpy.float64 or list
            Exactly what upstream returns; but a scalar is its value, where upstream 0.3.3 gives
            an array of its time and its value.
        """
        params = {"query": query}
        if time is not None:
            params["time"] = as_upstream_writes(time)
        answer = self._query("api/v1/query", params | timeout_of(timeout), query=query)
        check(answer.columns, query=query)
        return as_upstream(answer)

    def query_range(
        self,
        query: str,
        start: str | float | datetime,
        end: str | float | datetime,
        step: str | float | timedelta,
        timeout: str | timedelta | None = None,
    ) -> pd.DataFrame:
        """Evaluate a range query, as ``prometheus_pandas.query.Prometheus.query_range`` does.

        Returns
        -------
        pandas.DataFrame
            Exactly what upstream returns.
        """
        params = {
            "query": query,
            "start": as_upstream_writes(start),
            "end": as_upstream_writes(end),
            "step": as_upstream_writes(step),
        }
        params |= timeout_of(timeout)
        answer = self._query("api/v1/query_range", params, "matrix", query=query)
        check(answer.columns, query=query)
        frame: pd.DataFrame = as_upstream(answer)
        return frame

    def _query(self, path: str, params: Mapping[str, str], *kinds: str, query: str) -> Answer:
        """Ask for a result, of one of these types if any are given."""
        most = min(self.transport.timeout, max(self.transport.deadline.left, 0.001))
        limit = timeout_of(timedelta(seconds=round(most, 3)))
        answer = self.transport.ask(path, limit | dict(params), query=query)
        kind = answer.data.get("resultType")
        if kind is None or (kinds and kind not in kinds):
            found = "no result in it" if kind is None else f"a {kind} instead of a {kinds[0]}"
            text = f"{self.name} did not answer like Prometheus: {found}"
            raise NotPrometheus(f"{text} (query: {shortened(query)})")
        return answer

    def _note(self, record: Record) -> None:
        if self.caveat:
            record = replace(record, warnings=(*record.warnings, self.caveat))
        note(self, record)
        self._widest = max(self._widest or 0, record.series)


def _range_of(window: Window, step: timedelta) -> dict[str, str]:
    return {
        "start": seconds(window.start),
        "end": seconds(window.end),
        "step": number(step.total_seconds()),
    }
