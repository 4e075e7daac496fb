"""What agents and operators fail to do and log, as counts in window and baseline. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Matcher
from cilium_analysis.topics.health.common import pick
from cilium_analysis.topics.health.data import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cilium_analysis.topics.health.data import Health

#: Answers of the Kubernetes API that are no failures: not found, conflict, gone.
ORDINARY_CODES = frozenset({"404", "409", "410"})


@dataclass(frozen=True)
class Counts:
    """Counts of one kind of error, one column per node.

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
        Of controllers and modules: how many fail; else empty.
    attempts, usual_attempts
        How often it was tried, failures included, in steps that may be longer; empty if unknown.
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
    attempts: pd.DataFrame = field(default_factory=pd.DataFrame)
    usual_attempts: pd.DataFrame = field(default_factory=pd.DataFrame)
    map_name: str = ""


@dataclass(frozen=True)
class Failures:
    """A counter of failures, as it is declared.

    Parameters
    ----------
    kind, subsystem, what, metric, map_name
        As for `Counts`.
    name
        Of the query.
    label, bad
        Which of its series are failures: those whose label has this value, or such a one.
    attempts
        Name of the query that counts how often it was tried; empty if none does.
    failing
        Name of the query that says how many fail at once; empty if none does.
    """

    kind: str
    subsystem: str
    name: str
    what: str
    metric: str
    label: str = "node"
    bad: str | Callable[[str], bool] = lambda _: True
    attempts: str = ""
    failing: str = ""
    map_name: str = ""


def counted(data: Health) -> Iterator[Counts]:
    """Give the counts of everything that can go wrong.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.health.load`.
    """
    yield from _logs(data, "agent_errors", "errors", "cilium_errors_warnings_total")
    yield from _logs(
        data, "operator_errors", "operator_errors", "cilium_operator_errors_warnings_total"
    )
    for failures in (*FAILURES, *_of_maps(data)):
        yield from _one(data, failures)


def _logs(data: Health, kind: str, name: str, metric: str) -> Iterator[Counts]:
    for subsystem in _values(data.now[name], "subsystem"):
        now, usual = (pick(span[name], "subsystem", subsystem) for span in (data.now, data.usual))
        severe = tuple(pick(part, "level", "warning".__ne__) for part in (now, usual))
        yield Counts(
            kind,
            subsystem,
            "errors and warnings in the log",
            metric,
            str(Matcher("subsystem", "=", subsystem)),
            *_both(data, kind, now, usual),
            *_both(data, kind, *severe),
        )


def _failed(outcome: str) -> bool:
    return outcome not in ("success", "")


def _bad_code(code: str) -> bool:
    """Tell failures of the Kubernetes API: refused, throttled, broken, or without an answer."""
    return not code.startswith(("1", "2", "3")) and code not in ORDINARY_CODES and code != ""


def _bad_cloud_code(code: str) -> bool:
    """Tell failures of a cloud's API: it says OK or 2xx, or the name of an error."""
    return code not in ("", "OK", "Success") and not code.startswith("2")


def _of_maps(data: Health) -> Iterator[Failures]:
    for name in _values(data.now["map_failures"], "map_name"):
        yield Failures(
            "agent_errors",
            "bpf",
            "map_failures",
            f"failed updates of the BPF map {name}",
            "cilium_bpf_map_ops_total",
            label="map_name",
            bad=name,
            map_name=name,
        )


#: What agents and operators fail to do, and what others refuse them.
FAILURES = (
    Failures(
        "agent_errors",
        "k8s-client",
        "kubernetes_failures",
        "failed calls to the Kubernetes API",
        "cilium_k8s_client_api_calls_total",
        label="return_code",
        bad=_bad_code,
        attempts="kubernetes_codes",
    ),
    *(
        Failures(
            "operator_errors",
            f"{cloud}-api",
            f"{cloud}_count",
            f"failed calls to the API of {cloud}",
            f"cilium_operator_{cloud}_api_duration_seconds_count",
            label="response_code",
            bad=_bad_cloud_code,
            attempts=f"{cloud}_count",
        )
        for cloud in ("ec2", "azure", "alibabacloud")
    ),
    Failures(
        "agent_errors",
        "controllers",
        "controller_failures",
        "failed runs of controllers",
        "cilium_controllers_runs_total",
        label="status",
        bad="failure",
        attempts="controller_runs",
        failing="controllers_failing",
    ),
    Failures(
        "agent_errors",
        "modules",
        "job_failures",
        "failed runs of modules' jobs",
        "cilium_hive_jobs_runs_failed",
        attempts="job_runs",
        failing="modules_degraded",
    ),
    Failures(
        "agent_errors",
        "policy",
        "policy_failures",
        "changes of policies that could not be taken over",
        "cilium_policy_change_total",
        attempts="policy_changes",
    ),
    Failures(
        "agent_errors",
        "rate-limiter",
        "requests_rejected",
        "requests rejected by the rate limits of the agent's API",
        "cilium_api_limiter_processed_requests_total",
        attempts="requests_limited",
    ),
    Failures(
        "agent_errors",
        "kvstore",
        "kvstore_count",
        "failed operations on the key-value store",
        "cilium_kvstore_operations_duration_seconds_count",
        label="outcome",
        bad=_failed,
        attempts="kvstore_count",
    ),
    Failures(
        "agent_errors",
        "kvstore",
        "kvstore_quorum",
        "quorum errors of the key-value store",
        "cilium_kvstore_quorum_errors_total",
    ),
    Failures(
        "agent_errors",
        "kvstore",
        "kvstore_sync",
        "failed writes of the key-value store",
        "cilium_kvstore_sync_errors_total",
    ),
    Failures(
        "operator_errors",
        "identity-gc",
        "identity_runs",
        "failed garbage collections of identities",
        "cilium_operator_identity_gc_runs",
        label="outcome",
        bad=_failed,
    ),
)
#: Matchers of the failures that the server tells apart.
_OF_SERVER = {
    "policy_failures": str(Matcher("outcome", "!=", "success")),
    "requests_rejected": str(Matcher("outcome", "=~", "fail-.+|request-cancelled")),
}


def _one(data: Health, one: Failures) -> Iterator[Counts]:
    now, usual = (pick(span[one.name], one.label, one.bad) for span in (data.now, data.usual))
    failing, usual_failing = (
        span.per_node(one.failing, how="max") if one.failing else pd.DataFrame()
        for span in (data.now, data.usual)
    )
    if not now.shape[1] and not failing.shape[1]:
        return
    attempts, usual_attempts = (
        span.per_node(one.attempts) if one.attempts else pd.DataFrame()
        for span in (data.now, data.usual)
    )
    values = "|".join(re.escape(value) for value in _values(now, one.label))
    matchers = str(Matcher(one.label, "=~", values)) if one.label != "node" and values else ""
    counts, before = _both(data, one.kind, now, usual, nodes=failing.columns)
    yield Counts(
        one.kind,
        one.subsystem,
        one.what,
        one.metric,
        matchers or _OF_SERVER.get(one.name, ""),
        *(counts, before, counts, before),
        failing,
        usual_failing,
        attempts,
        usual_attempts,
        map_name=one.map_name,
    )


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


def _values(frame: pd.DataFrame, label: str) -> list[str]:
    return sorted({str(value) for value in frame.columns.get_level_values(label)})
