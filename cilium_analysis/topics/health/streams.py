"""What goes wrong in agents and operators, as counts. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Matcher
from cilium_analysis.topics.health.data import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cilium_analysis.topics.health.data import Health

#: Answers of the Kubernetes API that belong to ordinary life: not found, conflict, gone.
ORDINARY_CODES = frozenset({"404", "409", "410"})


@dataclass(frozen=True)
class Stream:
    """Counts of one kind of trouble, one column per node.

    Parameters
    ----------
    kind
        Of the findings: ``agent_errors`` or ``operator_errors``.
    subsystem
        Where in the process.
    what
        What is counted, in words.
    metric
        Its name.
    matchers
        Label matchers that select it.
    counts, usual
        Per step in the window and the baseline; 0 where a process was scraped and had none.
    severe, usual_severe
        The part of the counts that are errors rather than warnings.
    failing, usual_failing
        Of controllers: how many fail; else empty.
    map_name
        Of failed updates of a map.
    """

    kind: str
    subsystem: str
    what: str
    metric: str
    matchers: str
    counts: pd.DataFrame
    usual: pd.DataFrame
    severe: pd.DataFrame
    usual_severe: pd.DataFrame
    failing: pd.DataFrame = field(default_factory=pd.DataFrame)
    usual_failing: pd.DataFrame = field(default_factory=pd.DataFrame)
    map_name: str = ""


def streams(data: Health) -> Iterator[Stream]:
    """Give everything that is counted when it goes wrong.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.health.load`.
    """
    yield from _logs(data, "agent_errors", "errors", "cilium_errors_warnings_total")
    yield from _logs(
        data, "operator_errors", "operator_errors", "cilium_operator_errors_warnings_total"
    )
    yield from _calls(data)
    yield from _failures(data)


def _logs(data: Health, kind: str, name: str, metric: str) -> Iterator[Stream]:
    for subsystem in _values(data.now[name], "subsystem"):
        now, usual = (
            of_value(span[name], "subsystem", subsystem) for span in (data.now, data.usual)
        )
        severe = tuple(
            pick(part, "level", lambda level: level != "warning") for part in (now, usual)
        )
        yield Stream(
            kind,
            subsystem,
            "errors and warnings in the log",
            metric,
            str(Matcher("subsystem", "=", subsystem)),
            *_both(data, kind, now, usual),
            *_both(data, kind, *severe),
        )


def _calls(data: Health) -> Iterator[Stream]:
    """Give what the APIs refused or failed to do."""
    for kind, subsystem, name, label, what, metric, bad in (
        (
            "agent_errors",
            "k8s-client",
            "kubernetes_failures",
            "return_code",
            "failed calls to the Kubernetes API",
            "cilium_k8s_client_api_calls_total",
            _bad_code,
        ),
        *(
            (
                "operator_errors",
                f"{cloud}-api",
                f"{cloud}_count",
                "response_code",
                f"failed calls to the API of {cloud}",
                f"cilium_operator_{cloud}_api_duration_seconds_count",
                _bad_cloud_code,
            )
            for cloud in ("ec2", "azure", "alibabacloud")
        ),
    ):
        yield from _one(data, kind, subsystem, name, label, what, metric, bad)


def _failures(data: Health) -> Iterator[Stream]:
    """Give what agents and operators failed to do themselves."""
    for row in (*_AGENT_FAILURES, *_OPERATOR_FAILURES):
        yield from _one(data, *row)
    for name in _values(data.now["map_failures"], "map_name"):
        what, metric = f"failed updates of the BPF map {name}", "cilium_bpf_map_ops_total"
        row = ("agent_errors", "bpf", "map_failures", "map_name", what, metric, name.__eq__)
        for stream in _one(data, *row):
            yield replace(stream, map_name=name)


def _failed(outcome: str) -> bool:
    return outcome not in ("success", "")


# kind, subsystem, query, label, what, metric, and which values of the label are bad
_AGENT_FAILURES = (
    (
        "agent_errors",
        "controllers",
        "controller_failures",
        "status",
        "failed runs of controllers",
        "cilium_controllers_runs_total",
        "failure".__eq__,
    ),
    (
        "agent_errors",
        "kvstore",
        "kvstore_count",
        "outcome",
        "failed operations on the key-value store",
        "cilium_kvstore_operations_duration_seconds_count",
        _failed,
    ),
    *(
        (
            "agent_errors",
            "kvstore",
            name,
            "node",
            f"{what} of the key-value store",
            metric,
            lambda _: True,
        )
        for name, what, metric in (
            ("kvstore_quorum", "quorum errors", "cilium_kvstore_quorum_errors_total"),
            ("kvstore_sync", "failed writes", "cilium_kvstore_sync_errors_total"),
        )
    ),
)
_OPERATOR_FAILURES = (
    (
        "operator_errors",
        "identity-gc",
        "identity_runs",
        "outcome",
        "failed garbage collections of identities",
        "cilium_operator_identity_gc_runs",
        _failed,
    ),
)


def _one(
    data: Health,
    kind: str,
    subsystem: str,
    name: str,
    label: str,
    what: str,
    metric: str,
    bad: Callable[[str], bool],
) -> Iterator[Stream]:
    now, usual = (pick(span[name], label, bad) for span in (data.now, data.usual))
    failing, usual_failing = (
        span.per_node("controllers_failing", how="max")
        if subsystem == "controllers"
        else pd.DataFrame()
        for span in (data.now, data.usual)
    )
    if not now.shape[1] and not failing.shape[1]:
        return
    values = "|".join(re.escape(value) for value in _values(now, label))
    matchers = str(Matcher(label, "=~", values)) if label != "node" and values else ""
    counts, before = _both(data, kind, now, usual, nodes=failing.columns)
    both = (counts, before, counts, before)
    yield Stream(kind, subsystem, what, metric, matchers, *both, failing, usual_failing)


def _both(
    data: Health, kind: str, now: pd.DataFrame, usual: pd.DataFrame, *, nodes: Iterable[object] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give counts per node, and the baseline's: 0 where there was none to count."""
    counts = plain(frames.group(now, ["node"]))
    counts = counts.reindex(columns=counts.columns.union(pd.Index(list(nodes))).rename("node"))
    before = plain(frames.group(usual, ["node"])).reindex(columns=counts.columns)
    if kind == "agent_errors":
        seen = data.usual.seen
    else:
        seen = data.usual.per_node("operators", how="max").notna()
        # An operator may run elsewhere than it did, and there is only one that leads.
        anyone = seen.any(axis=1)
        seen = pd.DataFrame(dict.fromkeys(counts.columns, anyone), index=seen.index)
    seen = seen.reindex(index=before.index, columns=counts.columns, fill_value=False)
    return counts, before.mask(before.isna() & seen.astype(bool), 0.0)


def pick(frame: pd.DataFrame, label: str, chosen: Callable[[str], bool]) -> pd.DataFrame:
    """Give the series whose label is chosen.

    Parameters
    ----------
    frame
        Label frame with the label.
    label
        Its name.
    chosen
        Whether a value is.
    """
    values = frame.columns.get_level_values(label)
    return frame.loc[:, [chosen(str(value)) for value in values]]


def of_value(frame: pd.DataFrame, label: str, value: str) -> pd.DataFrame:
    """Give the series whose label has a value."""
    return pick(frame, label, lambda text: text == value)


def _values(frame: pd.DataFrame, label: str) -> list[str]:
    return sorted({str(value) for value in frame.columns.get_level_values(label)})


def _bad_code(code: str) -> bool:
    """Tell failures of the Kubernetes API: refused, throttled, broken, or without an answer."""
    return not code.startswith(("1", "2", "3")) and code not in ORDINARY_CODES and code != ""


def _bad_cloud_code(code: str) -> bool:
    """Tell failures of a cloud's API: it says OK or 2xx, or the name of an error."""
    return code not in ("", "OK", "Success") and not code.startswith("2")
