"""What replies mean: which are errors, which error, and what a server says beside its data.

Statuses and texts as in Prometheus' web/api/v1/api.go and docs/querying/api.md; those of Thanos,
Mimir, Cortex and VictoriaMetrics differ and are read as well.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import (
    AccessDenied,
    NotPrometheus,
    PrometheusError,
    QueryRejected,
    ServerUnavailable,
)
from cilium_analysis.window import Window, parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Statuses after which trying again may help; everything else stays as it is.
RETRYABLE = frozenset({429, 502, 503, 504})
#: A proxy waited too long; Prometheus since 2.43 where a query was cancelled.
_GIVEN_UP = frozenset({408, 499})
#: Of a text within a message; its end may be the point, so that the middle is left out.
_LONGEST = 300
_LONGEST_WAIT = 30.0
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
#: What Prometheus says when a query would hold more samples than --query.max-samples
#: (promql/engine.go, ErrTooManySamples): those of all steps count, so that fewer steps help.
_MEMORY = "too many samples into memory"
_POINTS = re.compile(r"maximum number of points is (\d+)")
_LENGTH = re.compile(
    r"(?:err-mimir-max-query-length|query time range exceeds the limit).*?"
    r"limit: (?P<limit>[0-9dhmsyw]+)",
    re.DOTALL,
)


def shortened(text: str) -> str:
    """Cut a long query or reply, so that an error stays one line that can be read."""
    line = " ".join(text.split())
    half = _LONGEST // 2
    return line if len(line) <= _LONGEST else f"{line[:half]} … {line[-half:]}"


def reason(document: Mapping[str, Any] | None, body: str) -> str:
    """Give the reason of a failed reply in the server's own words.

    Parameters
    ----------
    document
        The reply as JSON, if it is.
    body
        The reply as text.
    """
    if document is not None and document.get("error"):
        kind = document.get("errorType", "")
        named = f"{kind}: " if kind and not str(kind).isdigit() else ""
        return shortened(f"{named}{document['error']}")
    title = _TITLE.search(body)
    text = re.sub(r"<[^>]*>", " ", title[1] if title else body)
    return shortened(text) or "no reason given"


def retry_after(text: str) -> float:
    """Read how long a server asks to wait [s] (RFC 9110, section 10.2.3); at most 30.

    Parameters
    ----------
    text
        Of the header: seconds, a date, or anything.
    """
    if re.fullmatch(r"[0-9]+", text.strip()):
        return min(float(text), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    # Without a zone, or with -0000, it is UTC all the same.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_WAIT)


def failure(
    status: int, document: Mapping[str, Any] | None, body: str, *, url: str, query: str
) -> PrometheusError:
    """Give the error that a failed reply stands for.

    Parameters
    ----------
    status
        Of HTTP.
    document, body
        As for `reason`.
    url
        Without credentials.
    query
        What was asked; empty if it was no query.
    """
    why = reason(document, body)
    asked = f" (query: {shortened(query)})" if query else ""
    if status in (401, 403):
        hint = "give credentials or a tenant, see cilium_analysis.prometheus.credentials"
        return AccessDenied(f"{url} denies access ({status}): {why}; {hint}{asked}")
    own = status == 500 and document is not None
    if own or status in RETRYABLE | _GIVEN_UP or status > 501:
        hint = "try again later, or ask for less: a longer step, a shorter window"
        return ServerUnavailable(f"{url} cannot answer ({status}): {why}; {hint}{asked}")
    if status in (413, 414):
        return QueryRejected(f"{url} finds the request too long ({status}); shorten it{asked}")
    if document is None and _looks_foreign(status, body):
        hint = "is this the address of a Prometheus, with its path prefix?"
        return NotPrometheus(f"{url} did not answer like Prometheus ({status}: {why}); {hint}")
    refused = QueryRejected(f"{url} rejects the query: {why}; {_advice(why)}{asked}")
    refused.promql, refused.reason = query, str((document or {}).get("error") or body)
    return refused


def _looks_foreign(status: int, body: str) -> bool:
    """Tell a web page, or a wrong path, from a bare message of a proxied server."""
    if status in (200, 404, 405, 500, 501) or body.lstrip().startswith("<"):
        return True
    return "unsupported path requested" in body  # VictoriaMetrics, with status 400


def _advice(why: str) -> str:
    if "too many samples" in why or "max-series" in why or "max-chunks" in why:
        return "ask for less: narrower matchers, an aggregation, a shorter window"
    if "parse error" in why:
        return "mend the PromQL where the server points"
    return "see the server's reason"


def warnings(document: Mapping[str, Any], histograms: int = 0) -> tuple[str, ...]:
    """Collect all that a server says beside its data, and what was left out of it.

    Parameters
    ----------
    document
        A successful reply.
    histograms
        Number of native histogram samples that a label frame cannot hold.
    """
    said = [str(text) for key in ("warnings", "infos") for text in document.get(key) or ()]
    if document.get("isPartial"):
        said.append("partial answer: a part of the server's storage did not answer")
    if histograms:
        said.append(f"{histograms} native histogram samples left out: use histogram_quantile()")
    return tuple(said)


def smaller(message: str, window: Window) -> int | None:
    """Read from a refusal how many points the server would answer at once.

    Parameters
    ----------
    message
        Of the refusal.
    window
        That was refused.

    Returns
    -------
    int or None
        Fewer points than the window has, and at least 3; None if fewer would not help.
    """
    points = None
    if found := _POINTS.search(message):
        points = int(found[1])
    elif found := _LENGTH.search(message):
        points = parse_duration(found["limit"]) // window.step
    elif _MEMORY in message:
        points = window.points // 2
    return points if points is not None and 3 <= points < window.points else None
