"""What agents and operators fail to do and log, as counts in window and baseline. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Matcher
from cilium_analysis.topics.health.common import pick
from cilium_analysis.topics.loading import plain

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
    counts, baseline
        Per step in the window and the baseline; 0 where a process was scraped and had none.
    severe, baseline_severe
        The part of the counts that are errors rather than warnings.
    failing, baseline_failing
        Of controllers and modules: how many fail; else empty.
    attempts, baseline_attempts
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
    baseline: pd.DataFrame
    severe: pd.DataFrame
    baseline_severe: pd.DataFrame
    failing: pd.DataFrame = field(default_factory=pd.DataFrame)
    baseline_failing: pd.DataFrame = field(default_factory=pd.DataFrame)
    attempts: pd.DataFrame = field(default_factory=pd.DataFrame)
    baseline_attempts: pd.DataFrame = field(default_factory=pd.DataFrame)
    map_name: str = ""


@dataclass(frozen=True)
class Failures:
    """A counter of failures, as it is declared.

    Parameters
    ----------
    subsystem, what, metric, map_name
        As for `Counts`.
    name
        Of the query.
    label, bad
        Which of its series are failures: those whose label has this value, or such a one.
    attempts
        Name of the query that counts how often it was tried; empty if none does.
    failing
        Name of the query that says how many fail at once; empty if none does.
    matchers
        Label matchers that select the failures, where the server tells them apart.
    """

    subsystem: str
    name: str
    what: str
    metric: str
    label: str = "node"
    bad: str | Callable[[str], bool] = lambda _: True
    attempts: str = ""
    failing: str = ""
    matchers: str = ""
    map_name: str = ""


def _failed(outcome: str) -> bool:
    return outcome not in ("success", "")


def _bad_code(code: str) -> bool:
    """Tell failures of the Kubernetes API: refused, throttled, broken, or without an answer."""
    return not code.startswith(("1", "2", "3")) and code not in ORDINARY_CODES and code != ""


def _bad_cloud_code(code: str) -> bool:
    """Tell failures of a cloud's API: it says OK or 2xx, or the name of an error."""
    return code not in ("", "OK", "Success") and not code.startswith("2")


#: What agents and operators fail to do, and what others refuse them.
FAILURES = (
    Failures(
        "k8s-client",
        "kubernetes_failures",
        "failed calls to the Kubernetes API",
        "cilium_k8s_client_api_calls_total",
        "return_code",
        _bad_code,
        attempts="kubernetes_codes",
    ),
    *(
        Failures(
            f"{cloud}-api",
            f"{cloud}_count",
            f"failed calls to the API of {cloud}",
            f"cilium_operator_{cloud}_api_duration_seconds_count",
            "response_code",
            _bad_cloud_code,
            attempts=f"{cloud}_count",
        )
        for cloud in ("ec2", "azure", "alibabacloud")
    ),
    Failures(
        "controllers",
        "controller_failures",
        "failed runs of controllers",
        "cilium_controllers_runs_total",
        "status",
        "failure",
        attempts="controller_runs",
        failing="controllers_failing",
    ),
    Failures(
        "modules",
        "job_failures",
        "failed runs of modules' jobs",
        "cilium_hive_jobs_runs_failed",
        attempts="job_runs",
        failing="modules_degraded",
    ),
    Failures(
        "policy",
        "policy_failures",
        "changes of policies that could not be taken over",
        "cilium_policy_change_total",
        attempts="policy_changes",
        matchers='outcome!="success"',
    ),
    Failures(
        "rate-limiter",
        "requests_rejected",
        "requests rejected by the rate limits of the agent's API",
        "cilium_api_limiter_processed_requests_total",
        attempts="requests_limited",
        matchers='outcome=~"fail-.+|request-cancelled"',
    ),
    Failures(
        "kvstore",
        "kvstore_count",
        "failed operations on the key-value store",
        "cilium_kvstore_operations_duration_seconds_count",
        "outcome",
        _failed,
        attempts="kvstore_count",
    ),
    Failures(
        "kvstore",
        "kvstore_quorum",
        "quorum errors of the key-value store",
        "cilium_kvstore_quorum_errors_total",
    ),
    Failures(
        "kvstore",
        "kvstore_sync",
        "failed writes of the key-value store",
        "cilium_kvstore_sync_errors_total",
    ),
    Failures(
        "identity-gc",
        "identity_runs",
        "failed garbage collections of identities",
        "cilium_operator_identity_gc_runs",
        "outcome",
        _failed,
    ),
)


def counted(data: Health) -> Iterator[Counts]:
    """Give the counts of everything that can go wrong."""
    yield from _logs(data, "errors", "cilium_errors_warnings_total")
    yield from _logs(data, "operator_errors", "cilium_operator_errors_warnings_total")
    for failures in FAILURES:
        yield from _counts(data, failures)
    # The names of the maps are only in the data.
    for name in _values(data.now["map_failures"], "map_name"):
        what, metric = f"failed updates of the BPF map {name}", "cilium_bpf_map_ops_total"
        of_map = Failures("bpf", "map_failures", what, metric, "map_name", name, map_name=name)
        yield from _counts(data, of_map)


def _kind(metric: str) -> str:
    return "operator_errors" if metric.startswith("cilium_operator_") else "agent_errors"


def _logs(data: Health, name: str, metric: str) -> Iterator[Counts]:
    """Give the counts of errors and warnings in logs, for each subsystem."""
    kind = _kind(metric)
    for subsystem in _values(data.now[name], "subsystem"):
        both = [pick(span[name], "subsystem", subsystem) for span in (data.now, data.baseline)]
        yield Counts(
            kind,
            subsystem,
            "errors and warnings in the log",
            metric,
            str(Matcher("subsystem", "=", subsystem)),
            *_both(data, kind, *both),
            *_both(data, kind, *(pick(each, "level", "warning".__ne__) for each in both)),
        )


def _counts(data: Health, one: Failures) -> Iterator[Counts]:
    """Give the counts of failures, if there is anything to count."""
    now, baseline = (pick(span[one.name], one.label, one.bad) for span in (data.now, data.baseline))
    failing, baseline_failing = (
        span.per_node(one.failing, how="max") if one.failing else pd.DataFrame()
        for span in (data.now, data.baseline)
    )
    if not now.shape[1] and not failing.shape[1]:
        return
    attempts, baseline_attempts = (
        span.per_node(one.attempts) if one.attempts else pd.DataFrame()
        for span in (data.now, data.baseline)
    )
    values = "|".join(re.escape(value) for value in _values(now, one.label))
    matchers = str(Matcher(one.label, "=~", values)) if one.label != "node" and values else ""
    kind = _kind(one.metric)
    counts, before = _both(data, kind, now, baseline, nodes=failing.columns)
    yield Counts(
        kind,
        one.subsystem,
        one.what,
        one.metric,
        matchers or one.matchers,
        *(counts, before, counts, before),
        failing,
        baseline_failing,
        attempts,
        baseline_attempts,
        map_name=one.map_name,
    )


def _both(
    data: Health,
    kind: str,
    now: pd.DataFrame,
    baseline: pd.DataFrame,
    *,
    nodes: Iterable[object] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give counts per node, and the baseline's: 0 where there was none to count."""
    counts, before = (plain(frames.group(each, ["node"])) for each in (now, baseline))
    known = counts.columns.union(pd.Index(list(nodes)))
    if kind == "agent_errors":
        seen = data.baseline.scraped
    else:
        # An operator may run elsewhere than it did, and there is only one that leads.
        known = known.union(before.columns)
        anyone = data.baseline.per_node("operators", how="max").notna().any(axis=1)
        seen = pd.DataFrame(dict.fromkeys(known, anyone), index=anyone.index)
    counts, before = (each.reindex(columns=known.rename("node")) for each in (counts, before))
    seen = seen.reindex(index=before.index, columns=counts.columns, fill_value=False)
    return counts, before.mask(before.isna() & seen.astype(bool), 0.0)


def _values(frame: pd.DataFrame, label: str) -> list[str]:
    return sorted({str(value) for value in frame.columns.get_level_values(label)})
