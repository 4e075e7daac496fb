"""Errors of requests, in words for people: what failed on the way, and what a reply means.

The words are not those of the libraries in between, whose messages name their own classes, and may
quote the address of a proxy with its password. Statuses and texts of replies are those of
Prometheus' web/api/v1/api.go and docs/querying/api.md; those of Thanos, Mimir, Cortex and
VictoriaMetrics differ and are read as well.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import urllib3

from cilium_analysis.errors import (
    AccessDenied,
    AnswerIncomplete,
    BudgetExceeded,
    NotPrometheus,
    PrometheusError,
    QueryRejected,
    ServerUnavailable,
    of_query,
    shortened,
)
from cilium_analysis.prometheus.credentials import masked
from cilium_analysis.prometheus.decode import BrokenBodyError, OddBodyError, TooLargeError
from cilium_analysis.retry import RETRYABLE
from cilium_analysis.source import iso
from cilium_analysis.times import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cilium_analysis.window import Window

#: Errors of the libraries on the way to a server and back.
RAISED = (OSError, ValueError, MemoryError, RecursionError, urllib3.exceptions.HTTPError)
_BROKEN_OFF = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    BrokenBodyError,
)
#: Reasons of OpenSSL for an answer that is not TLS.
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_OWN_CERTIFICATE = re.compile("CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|PEM|KEY")
#: Texts that are meant for programmers: ``SomeError(…)``, ``<… object at 0x…>``, ``module.Name``.
_INTERNAL = re.compile(r"[A-Za-z]\w*\(|object at 0x|\b(urllib3|requests|http|ssl|socket)\.|Errno")
_LOST = (requests.ConnectionError, urllib3.exceptions.HTTPError)
_WAITING = (TimeoutError, requests.Timeout, urllib3.exceptions.ReadTimeoutError)
_THERE = "is it running, and reachable from here?"
_NOT_HTTP = "what it sends is not HTTP"
_WHERE = "is this the address of a Prometheus, with its path prefix?"
_LESS = "ask for less: a longer step, a shorter window"
#: A proxy waited too long; Prometheus since 2.43 where a query was cancelled.
_GIVEN_UP = frozenset({408, 499})
#: Replies of servers that speak TLS to plain HTTP (Go's net/http, nginx, Apache).
_WANTS_TLS = re.compile(
    r"HTTP request (was sent )?to (an )?HTTPS|speaking plain HTTP to an SSL", re.I
)
#: Replies of gateways that want a certificate, or another one (nginx).
_WANTS_CERTIFICATE = re.compile(r"SSL certificate (was sent|error)", re.I)
_GRAFANA = re.compile(r'grafana|"traceID"|"accessErrorId"', re.IGNORECASE)
_SIGN_IN = re.compile(r"(log|sign).?in|oauth|openid|\bsso\b|\bsaml\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
#: Prometheus says so when a query would hold more samples than --query.max-samples
#: (promql/engine.go, ErrTooManySamples): those of all steps count, so that fewer steps help.
_MEMORY = "too many samples into memory"
_POINTS = re.compile(r"maximum number of points is (\d+)")
_LENGTH = re.compile(
    r"(?:err-mimir-max-query-length|query time range exceeds the limit).*?"
    r"limit: (?P<limit>[0-9dhmsyw]+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Broken:
    """Turns an exception of the libraries into an error of this package.

    Parameters
    ----------
    server
        Address of the server, for people.
    timeout
        Of a request [s].
    headers
        Names of headers that the caller gave.
    secrets
        Texts that no message shows.
    """

    server: str
    timeout: float
    headers: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    def error(self, problem: BaseException, asked: str) -> tuple[PrometheusError, float | None]:
        """Return the error, and how long to wait before another try [s]; None if none helps.

        Parameters
        ----------
        problem
            One of `RAISED`.
        asked
            End of the message, which names the query.
        """
        if isinstance(problem, TooLargeError | MemoryError):
            allowed = f" ({problem})" if isinstance(problem, TooLargeError) else ""
            text = f"the answer of {self.server} is larger than the memory allowed for it{allowed}"
            return BudgetExceeded(f"{text}; {_LESS}, or allow more (max_bytes){asked}"), None
        if isinstance(problem, OddBodyError | RecursionError):
            why = str(problem) if isinstance(problem, OddBodyError) else "nested too deeply"
            return self._foreign(shortened(masked(why, self.secrets)) + asked), None
        chain = list(_chain(problem))
        if isinstance(problem, requests.ConnectTimeout):
            why = f"no connection within {self.timeout:g} s; {_THERE}"
            return ServerUnavailable(f"cannot reach {self.server}: {why}{asked}"), 0.0
        if any(isinstance(each, _WAITING) for each in chain):
            return self.late(asked), 0.0
        if isinstance(problem, _BROKEN_OFF):
            text = f"the answer of {self.server} broke off ({self._cause(chain)})"
            return AnswerIncomplete(f"{text}; try again, or {_LESS}{asked}"), 0.0
        if isinstance(problem, requests.exceptions.SSLError):
            return ServerUnavailable(f"no TLS with {self.server}: {self._tls(chain)}{asked}"), None
        if isinstance(problem, _LOST) or isinstance(chain[-1], urllib3.exceptions.InvalidHeader):
            if _cause(chain) == _NOT_HTTP and not _is_tls(chain):
                return self._foreign(f"{_NOT_HTTP}; {_WHERE}{asked}"), 0.0
            through = " through the proxy" * isinstance(problem, requests.exceptions.ProxyError)
            why = self._unreached(chain, through)
            return ServerUnavailable(f"cannot reach {self.server}{through}: {why}{asked}"), 0.0
        return self._unsent(problem, chain, asked), None

    def _foreign(self, why: str) -> NotPrometheus:
        return NotPrometheus(f"{self.server} did not answer like Prometheus: {why}")

    def late(self, asked: str) -> ServerUnavailable:
        """Return the error for an answer that does not come in time."""
        why = f"no whole answer within {self.timeout:g} s"
        hint = f"ask for less, or allow more than the timeout of {self.timeout:g} s"
        return ServerUnavailable(f"{self.server} is too slow: {why}; {hint}{asked}")

    def _cause(self, chain: list[BaseException]) -> str:
        return shortened(masked(_cause(chain), self.secrets))

    def _tls(self, chain: list[BaseException]) -> str:
        known = next((each for each in chain if isinstance(each, ssl.SSLError)), None)
        why = str(getattr(known, "reason", None) or "")
        if why in _PLAIN:
            plain = self.server.replace("https://", "http://", 1)
            return f"it answers without TLS; write {plain} if that is meant"
        hint = "check the certificate, or name its authority (ca_file) in CILIUM_ANALYSIS_CA_FILE"
        if _OWN_CERTIFICATE.search(why):
            own = "CILIUM_ANALYSIS_CLIENT_CERT and CILIUM_ANALYSIS_CLIENT_KEY"
            hint = f"look at your own certificate, in {own}"
        return f"{self._cause(chain)}; {hint}"

    def _unreached(self, chain: list[BaseException], through: str) -> str:
        kinds = tuple(type(each) for each in chain)
        if any(issubclass(kind, socket.gaierror) for kind in kinds):
            host = "its name" if through else f"the name {urlsplit(self.server).hostname}"
            return f"{host} does not resolve; is it spelt right, and known to the DNS here?"
        closed = any(issubclass(kind, ConnectionResetError | BrokenPipeError) for kind in kinds)
        hint = _THERE
        if self.server.startswith("http://") and (_is_tls(chain) or closed):
            hint += f" If it speaks TLS, write {self.server.replace('http', 'https', 1)}"
        return f"{self._cause(chain)}; {hint}"

    def _unsent(
        self, problem: BaseException, chain: list[BaseException], asked: str
    ) -> PrometheusError:
        invalid = (requests.exceptions.InvalidHeader, UnicodeError)
        if isinstance(problem, invalid) or "header" in str(chain[-1]).lower():
            # Not the cause: it quotes the value, which may be a secret.
            names = ", ".join([*self.headers, "X-Scope-OrgID"])
            hint = f"a header holds what HTTP does not allow; look at {names}"
            return AccessDenied(f"cannot ask {self.server}: {hint}")
        if not isinstance(problem, requests.RequestException | ValueError):
            hint = "mend CILIUM_ANALYSIS_CA_FILE, …_CLIENT_CERT or …_CLIENT_KEY"
            return AccessDenied(f"cannot ask {self.server}: {self._cause(chain)}; {hint}")
        return ServerUnavailable(f"cannot ask {self.server}: {self._cause(chain)}{asked}")


def _chain(problem: BaseException) -> Iterator[BaseException]:
    """Return a problem and its causes, the innermost last; libraries wrap them in several ways."""
    seen: list[BaseException] = []
    found: BaseException | None = problem
    while found is not None and found not in seen:
        seen.append(found)
        yield found
        inner = (*found.args, getattr(found, "reason", None), found.__cause__, found.__context__)
        found = next((each for each in inner if isinstance(each, BaseException)), None)


def _is_tls(chain: list[BaseException]) -> bool:
    """Tell whether the server sent an alert of TLS in place of HTTP."""
    return any("\x15\x03" in str(each) for each in chain)


def _cause(chain: list[BaseException]) -> str:
    """Name a cause as the system does, or else in words of our own."""
    for each in reversed(chain):
        if isinstance(each, BrokenBodyError):
            return str(each)
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, ssl.SSLError):
            return str(each.reason or "the handshake failed").replace("_", " ").lower()
        if isinstance(each, http.client.RemoteDisconnected):
            return "it closed the connection without an answer"
        if isinstance(each, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
            return "less came than was announced"
        if isinstance(each, urllib3.exceptions.DecodeError):
            return "it is not packed as it says"
        if isinstance(each, http.client.HTTPException):
            return _NOT_HTTP
        if isinstance(each, OSError) and each.strerror:
            return str(each.strerror)
    text = " ".join(str(chain[-1]).split())
    return text if text and not _INTERNAL.search(text) else _NOT_HTTP


def parsed(text: str) -> Mapping[str, Any] | None:
    """Parse a failed reply, if it is JSON as Prometheus writes it."""
    document = as_json(text)
    return spoken(document) if isinstance(document, dict) else None


def spoken(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a document if Prometheus wrote it, and not a gateway before it."""
    return document if document.get("status") in ("success", "error") else None


def as_json(text: str) -> object:
    """Parse a document; None if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reason(document: Mapping[str, Any] | None, body: str) -> str:
    """Return the reason of a failed reply in the words of the server, or of a gateway before it."""
    if document is not None and document.get("error"):
        kind = _written(document.get("errorType") or "")
        named = f"{kind}: " if kind and not kind.isdigit() else ""
        return shortened(f"{named}{_written(document['error'])}")
    # A gateway's JSON, such as a Status of Kubernetes.
    gateway = as_json(body)
    message = gateway.get("message") if isinstance(gateway, dict) else None
    if message and isinstance(message, str):
        return shortened(message)
    title = _TITLE.search(body)
    text = re.sub(r"<[^>]*>", " ", title[1] if title else body)
    return shortened(text) or "no reason given"


def _written(value: object) -> str:
    """Write a value of a reply: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


#: 431 is Go's for what nginx answers with 414.
TOO_LONG = (413, 414, 431)


def failure(
    status: int,
    document: Mapping[str, Any] | None,
    body: str,
    *,
    url: str,
    query: str,
    again: float = 0.0,
) -> PrometheusError:
    """Return the error that a failed reply stands for.

    Parameters
    ----------
    status
        Of HTTP.
    document
        The reply as JSON, if Prometheus wrote it.
    body
        The reply as text.
    url
        Without credentials.
    query
        What was asked; empty if it was no query.
    again
        How long the server asks to wait [s]; 0 if it does not say.
    """
    why, asked = _reason(document, body), of_query(query)
    if status in (401, 403):
        hint = (
            "give credentials or a tenant, see the variables CILIUM_ANALYSIS_BEARER_TOKEN_FILE,"
            " …_BEARER_TOKEN_COMMAND, …_USERNAME, …_HTTP_CONFIG and …_TENANT"
        )
        return AccessDenied(f"{url} denies access ({status}): {why}; {hint}{asked}")
    if document is None and _WANTS_CERTIFICATE.search(body):
        hint = "name yours in CILIUM_ANALYSIS_CLIENT_CERT and …_CLIENT_KEY, or in tls_config"
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
    if status in TOO_LONG:
        hint = "have it, or the gateway before it, take POST, or larger requests"
        return QueryRejected(f"{url} finds the request too long ({status}): {hint}{asked}")
    part = 200 < status < 300 and status != 203
    if part or (document is None and _looks_foreign(status, body)):
        hint = _where_it_is(body)
        return NotPrometheus(f"{url} did not answer like Prometheus ({status}: {why}); {hint}")
    refused = QueryRejected(f"{url} rejects the query: {why}; {_advice(why)}{asked}")
    refused.promql, refused.reason = query, _written((document or {}).get("error") or body)
    return refused


def _looks_foreign(status: int, body: str) -> bool:
    """Tell whether a reply is a web page, or of a wrong path, and no bare message of a server."""
    if status < 300 or status in (404, 405, 500, 501) or body.lstrip().startswith("<"):
        return True
    return "unsupported path requested" in body  # VictoriaMetrics, with status 400


def _where_it_is(body: str) -> str:
    """Suggest where the Prometheus may be, by the page that was answered."""
    if _GRAFANA.search(body):
        return (
            "this looks like Grafana: give the address of the Prometheus behind it, or Grafana's"
            " own way to it, …/api/datasources/proxy/uid/UID"
        )
    return f"{_WHERE}{sign_in(body)}"


def sign_in(text: str) -> str:
    """Return a hint if a page, or the address of one, looks as if it is there to sign in."""
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
    """Return warnings and infos of a server, and a warning of what was left out of its data.

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
        said += [_written(each) for each in (found if isinstance(found, list) else [found])]
    if document.get("isPartial"):
        said.append("partial answer: a part of the server's storage did not answer")
    if histograms:
        said.append(f"{histograms} native histogram samples left out: use histogram_quantile()")
    return tuple(said)


def smaller(message: str, window: Window) -> int | None:
    """Return how many points the server would answer at once, by its refusal.

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
