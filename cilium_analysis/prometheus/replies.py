"""What replies mean: which are errors, which error, and what a server says beside its data.

Statuses and texts as in Prometheus' web/api/v1/api.go and docs/querying/api.md; those of Thanos,
Mimir, Cortex and VictoriaMetrics differ and are read as well.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import (
    AccessDenied,
    NotPrometheus,
    PrometheusError,
    QueryRejected,
    ServerUnavailable,
)
from cilium_analysis.source import iso
from cilium_analysis.window import Window, format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Statuses after which trying again may help; everything else stays as it is.
RETRYABLE = frozenset({429, 502, 503, 504})
#: A proxy waited too long; Prometheus since 2.43 where a query was cancelled.
_GIVEN_UP = frozenset({408, 499})
#: Of a text within a message; its end may be the point, so that the middle is left out.
_LONGEST = 300
#: A hundred years, so that it is a date [s].
_LONGEST_WAIT = 36500 * 86400.0
#: What servers that speak TLS say to plain HTTP (Go's net/http, nginx, Apache).
_WANTS_TLS = re.compile(
    r"HTTP request (was sent )?to (an )?HTTPS|speaking plain HTTP to an SSL", re.I
)
_GRAFANA = re.compile(r'grafana|"traceID"|"accessErrorId"', re.IGNORECASE)
_SIGN_IN = re.compile(r"(log|sign).?in|oauth|openid|\bsso\b|\bsaml\b", re.IGNORECASE)
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


def parsed(text: str) -> Mapping[str, Any] | None:
    """Parse a failed reply, if it is JSON as Prometheus writes it."""
    document = _json(text)
    return spoken(document) if isinstance(document, dict) else None


def spoken(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give a document if Prometheus wrote it, and not a gateway before it."""
    return document if document.get("status") in ("success", "error") else None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def reason(document: Mapping[str, Any] | None, body: str) -> str:
    """Give the reason of a failed reply in the server's own words, or those of what is before it.

    Parameters
    ----------
    document
        The reply as JSON, if it is.
    body
        The reply as text.
    """
    if document is not None and document.get("error"):
        kind = written(document.get("errorType") or "")
        named = f"{kind}: " if kind and not kind.isdigit() else ""
        return shortened(f"{named}{written(document['error'])}")
    if message := _message(body):
        return shortened(message)
    title = _TITLE.search(body)
    text = re.sub(r"<[^>]*>", " ", title[1] if title else body)
    return shortened(text) or "no reason given"


def written(value: object) -> str:
    """Write what a server says; if it is no text, as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _message(body: str) -> str:
    """Give the message of a gateway's JSON, such as a Status of Kubernetes."""
    document = _json(body)
    message = document.get("message") if isinstance(document, dict) else None
    return message if isinstance(message, str) else ""


def retry_after(text: str) -> float:
    """Read how long a server asks to wait [s] (RFC 9110, section 10.2.3).

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
    status: int,
    document: Mapping[str, Any] | None,
    body: str,
    *,
    url: str,
    query: str,
    again: float = 0.0,
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
    again
        How long the server asks to wait [s]; 0 if it does not say.
    """
    why = reason(document, body)
    asked = f" (query: {shortened(query)})" if query else ""
    if status in (401, 403):
        hint = (
            "give credentials or a tenant, see the variables CILIUM_ANALYSIS_BEARER_TOKEN_FILE,"
            " …_USERNAME and …_TENANT"
        )
        return AccessDenied(f"{url} denies access ({status}): {why}; {hint}{asked}")
    if document is None and _WANTS_TLS.search(body):
        hint = f"it speaks TLS; write {url.replace('http://', 'https://', 1)}"
        return NotPrometheus(f"{url} did not answer like Prometheus ({status}: {why}); {hint}")
    own = status == 500 and document is not None
    if own or status in RETRYABLE | _GIVEN_UP or status > 501:
        hint = "try again later, or ask for less: a longer step, a shorter window"
        if again:
            when = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=round(again))
            waits = format_duration(timedelta(seconds=round(again)))
            hint = f"it asks to be asked again in {waits}, at {iso(when)}"
        return ServerUnavailable(f"{url} cannot answer ({status}): {why}; {hint}{asked}")
    if status in (413, 414):
        return QueryRejected(f"{url} finds the request too long ({status}); shorten it{asked}")
    part = 200 < status < 300 and status != 203
    if part or (document is None and _looks_foreign(status, body)):
        hint = _where_it_is(body)
        return NotPrometheus(f"{url} did not answer like Prometheus ({status}: {why}); {hint}")
    refused = QueryRejected(f"{url} rejects the query: {why}; {_advice(why)}{asked}")
    refused.promql, refused.reason = query, written((document or {}).get("error") or body)
    return refused


def _looks_foreign(status: int, body: str) -> bool:
    """Tell a web page, or a wrong path, from a bare message of a proxied server."""
    if status < 300 or status in (404, 405, 500, 501) or body.lstrip().startswith("<"):
        return True
    return "unsupported path requested" in body  # VictoriaMetrics, with status 400


def _where_it_is(body: str) -> str:
    """Say where a Prometheus may be instead, as far as what answers tells."""
    if _GRAFANA.search(body):
        return (
            "this looks like Grafana: give the address of the Prometheus behind it, or Grafana's"
            " own way to it, …/api/datasources/proxy/uid/UID"
        )
    return f"is this the address of a Prometheus, with its path prefix?{sign_in(body)}"


def sign_in(text: str) -> str:
    """Say that something wants people to sign in, if a page or an address looks like it."""
    if not _SIGN_IN.search(text):
        return ""
    return (
        " This looks like a page to sign in: give the address behind it, or a token in"
        " CILIUM_ANALYSIS_BEARER_TOKEN_FILE"
    )


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
    said = []
    for key in ("warnings", "infos", "error"):
        found = document.get(key) or []
        said += [written(each) for each in (found if isinstance(found, list) else [found])]
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
