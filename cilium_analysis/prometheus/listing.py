"""What a server lists: its metrics, their labels and values, its series."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from cilium_analysis.metrics import Exported, Help, help_on, search
from cilium_analysis.prometheus import catalogue
from cilium_analysis.prometheus.masking import shown_parameters
from cilium_analysis.prometheus.parameters import between, escaped
from cilium_analysis.window import Window

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.prometheus.transport import Transport


class Listing:
    """The part of `cilium_analysis.Prometheus` that asks what there is, not what it was."""

    transport: Transport

    @property
    def name(self) -> str:
        """Address without credentials."""
        return self.transport.base.rstrip("/") + shown_parameters(self.transport.parameters)

    def metadata(self) -> pd.DataFrame:
        """List what the scraped targets say of their metrics.

        Returns
        -------
        pandas.DataFrame
            ``metric``, ``type``, ``help``, ``unit``; more than one row for a metric on which
            targets disagree.
        """
        answer = self.transport.ask("api/v1/metadata", {}, form=False)
        with catalogue.expected_of(self.name):
            return catalogue.metadata(answer.envelope.get("data") or {})

    def label_values(
        self, name: str, *, match: str = "", window: Window | None = None
    ) -> list[str]:
        """List the values of a label.

        Parameters
        ----------
        name
            Of the label; any UTF-8.
        match
            A selector that narrows the series, such as ``cilium_endpoint``.
        window
            That narrows the time, roughly.
        """
        params = between(window) | ({"match[]": match} if match else {})
        path = f"api/v1/label/{quote(escaped(name), safe='')}/values"
        answer = self.transport.ask(path, params, form=False)
        with catalogue.expected_of(self.name):
            return catalogue.names(answer.envelope.get("data") or [])

    def label_names(self, *, match: str = "", window: Window | None = None) -> list[str]:
        """List the names of labels; parameters as of `label_values`."""
        params = between(window) | ({"match[]": match} if match else {})
        answer = self.transport.ask("api/v1/labels", params, form=False)
        with catalogue.expected_of(self.name):
            return catalogue.names(answer.envelope.get("data") or [])

    def metrics(self, about: str = "") -> pd.DataFrame:
        """Find metrics by name or by meaning; as of `cilium_analysis.metrics.search`.

        Parameters
        ----------
        about
            Part of a name, or words such as ``dropped packets``; empty for all there are.
        """
        there = dict.fromkeys(self._metric_names(), Exported())
        table = self.metadata()
        for name, kind, text in zip(table["metric"], table["type"], table["help"], strict=True):
            if name in there:
                there[name] = Exported(kind, text)
        return search(about, there=there)

    def metric(self, name: str) -> Help:
        """Tell what is known of a metric of Cilium; as of `cilium_analysis.metrics.help_on`."""
        return help_on(name, there=self._metric_names())

    def _metric_names(self) -> list[str]:
        """List what there ever was: left to itself, VictoriaMetrics lists the last day only.

        Which it also does where the start is 0.
        """
        ever = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC), timedelta(days=1))
        return self.label_values("__name__", window=ever)

    def series(self, match: str, *, window: Window | None = None) -> pd.DataFrame:
        """List the series that a selector matches: one row each, one column per label."""
        params = between(window) | {"match[]": match}
        answer = self.transport.ask("api/v1/series", params, query=match)
        with catalogue.expected_of(self.name):
            return catalogue.series(answer.envelope.get("data") or [])
