"""The metrics that Cilium exports: their labels and versions.

The table was read from Cilium's source at v1.13.0 to the branch point of 1.20.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Version = tuple[int, int]

#: The versions that the table is about.
VERSIONS: tuple[Version, ...] = tuple((1, minor) for minor in range(13, 21))
#: Stands in `Metric.labels` for the context labels that Hubble is configured to add.
CONTEXT = "[context]"
#: The labels that Hubble's options sourceContext, destinationContext and labelsContext add
#: (pkg/hubble/metrics/api/context.go).
CONTEXT_LABELS = (
    "source",
    "source_namespace",
    "source_workload",
    "source_workload_kind",
    "source_app",
    "source_pod",
    "source_ip",
    "destination",
    "destination_namespace",
    "destination_workload",
    "destination_workload_kind",
    "destination_app",
    "destination_pod",
    "destination_ip",
    "traffic_direction",
)
_GONE = re.compile(r"(?:^|, |; |^deprecated \d+\.\d+, )(?:removed|renamed) (\d+)\.(\d+)")
_ONLY = re.compile(r"^(\d+)\.(\d+) only")
#: Endings of the series of a histogram.
HISTOGRAM_SERIES = ("_bucket", "_sum", "_count")


@dataclass(frozen=True)
class Metric:
    """A metric of Cilium.

    Parameters
    ----------
    name
        Without the endings of a histogram's series.
    kind
        ``counter``, ``gauge`` or ``histogram``.
    labels
        Its metric labels, in any version.
    component
        Component that exports it: ``agent``, ``operator``, ``hubble``, …
    enabled
        Whether it is on by default, and else how to switch it on.
    since, until
        The first version with it, and the first without it again; None if there is none.
    meaning, remark
        In words.
    """

    name: str
    kind: str
    labels: frozenset[str]
    component: str
    enabled: str
    since: Version
    until: Version | None
    meaning: str
    remark: str

    def exists(self, version: Version) -> bool:
        """Return whether a version of Cilium has it."""
        return self.since <= version and (self.until is None or version < self.until)


@cache
def known() -> Mapping[str, Metric]:
    """Return all metrics that are known, by name."""
    text = files("cilium_analysis.metrics").joinpath("metrics.csv").read_text(encoding="utf-8")
    return {row["name"]: _metric(row) for row in csv.DictReader(text.splitlines())}


def find(name: str) -> Metric | None:
    """Return the metric that a series belongs to; None if it is not known.

    Examples
    --------
    >>> find("hubble_http_request_duration_seconds_bucket").name
    'hubble_http_request_duration_seconds'
    """
    endings = ("", *HISTOGRAM_SERIES)
    bases = [name.removesuffix(ending) for ending in endings if name.endswith(ending)]
    return next((known()[base] for base in bases if base in known()), None)


def _metric(row: Mapping[str, str]) -> Metric:
    # "query (if query option)" is the label query.
    words = (part.split(" (")[0].strip() for part in row["labels"].split(";"))
    return Metric(
        name=row["name"],
        kind=row["type"],
        labels=frozenset(filter(None, words)),
        component=row["component"],
        enabled=row["enabled_by_default"],
        since=_since(row["since"]),
        until=_until(row["deprecated_or_removed"]),
        meaning=row["meaning"],
        remark=row["deprecated_or_removed"],
    )


def _since(text: str) -> Version:
    """Read ``<=1.13``, ``1.16 (backported …)``; without a version it counts as old."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else VERSIONS[0]


def _until(text: str) -> Version | None:
    only = _ONLY.match(text)
    if only:
        return int(only[1]), int(only[2]) + 1
    gone = _GONE.search(text)
    return (int(gone[1]), int(gone[2])) if gone else None
