"""All errors of this package.

::

    CiliumAnalysisError
    ├── UsageError (also ValueError)      the caller can correct what was asked for
    │   ├── WindowError                   times, steps, time zones, baselines
    │   ├── ParameterError                unknown topics, parameters, matchers
    │   │   └── RunDamaged                a run with files that no run writes
    │   ├── SourceError                   no such server, directory or sample
    │   ├── BundleError                   damaged, of another schema, or without this answer
    │   ├── OutputError                   a directory or file that cannot be written
    │   └── StoreRefused                  no such bucket or object, or no right to it
    ├── PrometheusError (also RuntimeError)
    │   ├── QueryRejected                 the server does not accept or cannot run the query
    │   ├── AccessDenied                  credentials missing or not enough
    │   ├── NotPrometheus                 something answered, but not the Prometheus API
    │   ├── BudgetExceeded                the answer would be larger than allowed
    │   ├── AnswerIncomplete              the answer broke off or was cut, after retries
    │   ├── AnswerContradictory           two values at one time, or of another time
    │   ├── DeadlinePassed                the time for the whole run is over
    │   └── ServerUnavailable             unreachable, overloaded or too slow, after retries
    ├── StoreUnavailable (also RuntimeError)       no object store answers, or it was lost
    ├── KubernetesUnavailable (also RuntimeError)  no Kubernetes API server can be reached
    └── FleetUnavailable (also RuntimeError)       no scheduler or worker for a fleet's reports

A message names the query and the server's reason, and says what to do. `exit_code` is that of the
command line. No message ever holds a credential.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Most characters of a query or a reply within a message.
_LONGEST = 300


class CiliumAnalysisError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code = 1


class UsageError(CiliumAnalysisError, ValueError):
    """The caller asked for something that cannot be done, and can correct it."""

    exit_code = 2


class WindowError(UsageError):
    """A time, step, time zone, window or baseline that is not valid."""


class ParameterError(UsageError):
    """An unknown topic, notebook parameter, label matcher or option value."""


class RunDamaged(ParameterError):
    """A run, to resume or to compare with, that has files which no run writes."""


class SourceError(UsageError):
    """Neither a server's URL, nor a bundle's directory, nor the sample."""


class BundleError(UsageError):
    """A bundle that is damaged, of another schema, or does not hold the answer."""


class OutputError(UsageError):
    """A directory or file that cannot be written."""


class StoreRefused(UsageError):
    """An object store has no such bucket or object, or denies access to it."""


class StoreUnavailable(CiliumAnalysisError, RuntimeError):
    """An object store cannot be reached, or was lost while it was written to, after retries."""


class PrometheusError(CiliumAnalysisError, RuntimeError):
    """A Prometheus-compatible server did not give the answer.

    Also a `RuntimeError`, which is what users of prometheus-pandas catch.
    """

    reason = ""

    @property
    def why(self) -> str:
        """The reason, without the query."""
        return self.reason or str(self).partition(" (query: ")[0]


class QueryRejected(PrometheusError):
    """The server does not accept the query, or cannot run it within its limits.

    `promql` is the query as it was sent and `reason` what the server said, both whole; empty if
    nothing was sent.
    """

    promql = ""


class NamesNoWorkload(QueryRejected):
    """A question about some workloads asks a metric that does not name any."""


class AccessDenied(PrometheusError):
    """The server asks for credentials, a tenant, or more rights."""


class NotPrometheus(PrometheusError):
    """Something answered at this address, but not with the Prometheus HTTP API."""


class BudgetExceeded(PrometheusError):
    """The answer would hold more samples, or more bytes, than the caller allows."""


class AnswerIncomplete(PrometheusError):
    """The answer broke off, or is not whole, and trying again did not help."""


class AnswerContradictory(PrometheusError):
    """The answer has two values of one series at one time, or is about another time."""


class DeadlinePassed(PrometheusError):
    """The time for the whole run is over: no request is sent or waited for any more."""


class ServerUnavailable(PrometheusError):
    """The server cannot be reached, is overloaded or too slow, even after retries."""


class KubernetesUnavailable(CiliumAnalysisError, RuntimeError):
    """The Kubernetes API server cannot be reached, is too slow, or is none, even after retries."""


class Interrupted(KeyboardInterrupt):
    """The user stopped the command; the message says what is left of it."""


class TimeIsUp(Interrupted):
    """The time for the whole command is over."""


class OutOfMemory(CiliumAnalysisError, MemoryError):
    """No more memory, on the machine or within the limit of the process."""

    def __init__(
        self,
        message: str = "there is not enough memory: ask for a shorter window, for fewer topics, or"
        " for one notebook at a time (--jobs 1)",
    ) -> None:
        super().__init__(message)


class FleetUnavailable(CiliumAnalysisError, RuntimeError):
    """The scheduler for the reports of a fleet cannot be reached, or has no worker."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest name, or all names."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}"


def shortened(text: str) -> str:
    """Cut a long query or reply, so that an error stays one line that can be read."""
    line = " ".join(text.split())
    # Its end may be the point, so that the middle is left out.
    half = _LONGEST // 2
    return line if len(line) <= _LONGEST else f"{line[:half]} … {line[-half:]}"


def of_query(query: str) -> str:
    """Return the end of a message that names the query; empty if there was none."""
    return f" (query: {shortened(query)})" if query else ""
