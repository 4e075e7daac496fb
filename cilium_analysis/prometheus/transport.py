"""Requests over HTTP: sent, signed, retried, and read piece by piece."""

from __future__ import annotations

import ipaddress
import random
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

import requests

from cilium_analysis.errors import (
    AccessDenied,
    AnswerIncomplete,
    NotPrometheus,
    ServerUnavailable,
    SourceError,
)
from cilium_analysis.prometheus.abandon import AbandonableAdapter
from cilium_analysis.prometheus.credentials import Anonymous, Credentials, basic
from cilium_analysis.prometheus.decode import Answer, BrokenBodyError, Decoder, ForeignBodyError
from cilium_analysis.prometheus.masking import masked, masked_document, of_proxies, sent
from cilium_analysis.prometheus.replies import RETRYABLE, failure, retry_after, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests.auth import AuthBase

Compression = Literal["auto", "gzip", "identity"]

_PIECE = 1 << 18
#: Prometheus packs about 14 MB of JSON per second: packed replies that come about as fast wait
#: for the packing, and plain ones that come slower wait for the link [bytes/s].
_PACKING = 8e6
_SLOW = 10e6
#: Replies smaller than this say nothing about speed [bytes].
_ENOUGH = 1 << 22
_BROKEN_OFF = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    BrokenBodyError,
)


def split_url(url: str) -> tuple[str, AuthBase | None]:
    """Take the user information out of a URL.

    Returns
    -------
    tuple
        The URL without it, ending in a slash, and what signs requests with it, if there is any.

    Raises
    ------
    SourceError
        If this is no http(s) URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SourceError("not a URL of a server: write http://host:9090") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SourceError("not a URL of a server: write http://host:9090")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    clean = urlunsplit(
        (parts.scheme, host + (f":{port}" if port else ""), parts.path.rstrip("/") + "/", "", "")
    )
    if parts.username is None:
        return clean, None
    return clean, basic(unquote(parts.username), unquote(parts.password or ""))


@dataclass
class Transport:
    """Send requests to one server, and to no other.

    Parameters
    ----------
    base
        URL without credentials, ending in a slash.
    http
        The session; one of its own if None.
    credentials
        References to credentials.
    auth
        What signs requests, before `credentials` and before the session's own.
    headers
        To send along.
    timeout
        For a connection and for each pause within a reply [s]; also the server's for a query.
    retries
        How often to try again.
    compression
        ``gzip``, ``identity``, or ``auto``: plain where the server is on this machine; else
        packed, until large replies show that the link is faster than the server's packing.
    pause
        Waits so many seconds between two tries.
    """

    base: str
    http: requests.Session | None = None
    credentials: Credentials = field(default_factory=Credentials)
    auth: AuthBase | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 60.0
    retries: int = 4
    compression: Compression = "auto"
    pause: Callable[[float], None] = time.sleep
    #: Whether replies came with a header that VictoriaMetrics alone sends (lib/httpserver).
    is_victoria: bool = False
    _get_only: bool = False
    _packed: bool = True
    _settled: bool = False

    def __post_init__(self) -> None:
        self._owned = self.http is None
        self.session = self.http or requests.Session()
        if self._owned:
            adapter = AbandonableAdapter(pool_maxsize=16)
            self.session.mount("http://", adapter)
            self.session.mount("https://", adapter)
        self._packed = self.compression == "gzip" or (
            self.compression == "auto" and not _is_near(self.base)
        )

    def close(self) -> None:
        """Close the session, as a `with` over upstream's client does."""
        self.session.close()

    def abandon(self) -> None:
        """Give up the requests that are under way, and later ones: the server seems to have gone.

        Not those of a session that was brought along.
        """
        for adapter in self.session.adapters.values():
            if isinstance(adapter, AbandonableAdapter):
                adapter.abandon()

    def ask(
        self, path: str, params: Mapping[str, str], *, query: str = "", form: bool = True
    ) -> Answer:
        """Send one request and decode its reply, trying again where that may help.

        Parameters
        ----------
        path
            Below the base, such as ``api/v1/query``.
        params
            Sent as a form by POST, or else in the URL.
        query
            For messages.
        form
            Whether the endpoint takes POST.

        Raises
        ------
        PrometheusError
            If the server does not give the answer.
        """
        for attempt in range(self.retries + 1):
            problem, wait = self._attempt(path, params, query=query, form=form)
            if isinstance(problem, Answer):
                return problem
            if wait is None or attempt == self.retries:
                raise problem
            backoff = min(0.25 * 2**attempt, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311
            self.pause(max(wait, backoff))
        raise AssertionError("unreachable")

    def _attempt(
        self, path: str, params: Mapping[str, str], *, query: str, form: bool
    ) -> tuple[Answer | Exception, float | None]:
        """Try once: an answer, or an error and how long to wait [s]; None if it is for good."""
        asked = f" (query: {shortened(query)})" if query else ""
        posted = form and not self._get_only
        try:
            with self._send(path, params, form=posted) as reply:
                if reply.status_code == 405 and posted:
                    self._get_only = True
                    return self._attempt(path, params, query=query, form=False)
                return self._read(reply, query=query)
        except (OSError, ValueError) as problem:
            return self._broken(problem, asked)

    def _broken(self, problem: Exception, asked: str) -> tuple[Exception, float | None]:
        """Say what went wrong on the way, and whether trying again may help."""
        http = requests.exceptions
        # A proxy's address that cannot be read is quoted, with the password in it.
        cause = shortened(masked(_cause(problem), of_proxies(self.session.proxies)))
        if isinstance(problem, _BROKEN_OFF):
            hint = "try again, or ask for less: a longer step, a shorter window"
            return AnswerIncomplete(
                f"the answer of {self.base} broke off ({cause}); {hint}{asked}"
            ), 0.0
        if isinstance(problem, http.SSLError):
            hint = "check the certificate, or name its authority (ca_file)"
            return ServerUnavailable(f"no TLS with {self.base}: {cause}; {hint}{asked}"), None
        if "Read timed out" in cause:
            hint = f"ask for less, or allow more than the timeout of {self.timeout:g} s"
            return ServerUnavailable(f"{self.base} is too slow: {cause}; {hint}{asked}"), 0.0
        if isinstance(problem, (http.ConnectionError, http.Timeout)):
            hint = "is it running, and reachable from here?"
            through = " through the proxy" if isinstance(problem, http.ProxyError) else ""
            where = f"{self.base}{through}"
            return ServerUnavailable(f"cannot reach {where}: {cause}; {hint}{asked}"), 0.0
        if isinstance(problem, (http.InvalidHeader, UnicodeError)) or "header" in cause:
            # Not the cause: it quotes the value, which may be a secret.
            names = ", ".join([*self.headers, "X-Scope-OrgID"])
            hint = f"a header holds what HTTP does not allow; look at {names}"
            return AccessDenied(f"cannot ask {self.base}: {hint}"), None
        if not isinstance(problem, (http.RequestException, ValueError)):
            hint = "mend ca_file, client_cert or client_key"
            return AccessDenied(f"cannot ask {self.base}: {cause}; {hint}"), None
        return ServerUnavailable(f"cannot ask {self.base}: {cause}{asked}"), None

    def _send(self, path: str, params: Mapping[str, str], *, form: bool) -> requests.Response:
        """Send; redirects are not followed, so that nothing reaches another host."""
        headers = {"Accept": "application/json", **self.headers}
        headers["Accept-Encoding"] = "gzip" if self._packed else "identity"
        if self.credentials.tenant:
            headers["X-Scope-OrgID"] = self.credentials.tenant
        request = requests.Request(
            "POST" if form else "GET",
            self.base + path,
            data=dict(params) if form else None,
            params=None if form else dict(params),
            headers=headers,
            auth=self.auth or self.credentials.auth() or self.session.auth or Anonymous(),
        )
        prepared = self.session.prepare_request(request)
        settings = self._settings if self._owned else self._environment()
        return self.session.send(prepared, timeout=self.timeout, allow_redirects=False, **settings)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """Those of our own session, which nobody changes: to read them takes a millisecond."""
        return self._environment()

    def _environment(self) -> dict[str, Any]:
        """Give what session and environment say of proxies and certificates."""
        ca_file, cert = self.credentials.ca_file or None, self.credentials.cert
        return dict(self.session.merge_environment_settings(self.base, {}, True, ca_file, cert))

    def _read(
        self, reply: requests.Response, *, query: str
    ) -> tuple[Answer | Exception, float | None]:
        self.is_victoria |= "X-Server-Hostname" in reply.headers
        if reply.status_code == 204:
            return Answer({"status": "success"}, Decoder().columns), None
        if 300 <= reply.status_code < 400:
            return self._redirected(reply), None
        decoder, began = Decoder(), time.perf_counter()
        if reply.status_code == 200 and not _is_page(reply):
            for piece in reply.iter_content(_PIECE):
                decoder.feed(piece)
            self._adapt(reply, decoder.size, time.perf_counter() - began)
            try:
                answer = decoder.finish()
            except ForeignBodyError as problem:
                return self._failed(reply, None, str(problem), query=query)
            if answer.envelope.get("status") == "success":
                secrets = self._confided(reply)
                return replace(answer, envelope=masked_document(answer.envelope, secrets)), None
            known = answer.envelope if "status" in answer.envelope else None
            return self._failed(reply, known, "", query=query)
        text = reply.content.decode("utf-8", "replace")
        return self._failed(reply, _parsed(text), text, query=query)

    def _failed(
        self,
        reply: requests.Response,
        document: Mapping[str, object] | None,
        text: str,
        *,
        query: str,
    ) -> tuple[Exception, float | None]:
        secrets = self._confided(reply)
        said = masked(text, secrets)
        known = masked_document(document, secrets) if document is not None else None
        error = failure(reply.status_code, known, said, url=self.base, query=query)
        if reply.status_code not in RETRYABLE:
            return error, None
        return error, retry_after(reply.headers.get("Retry-After", ""))

    def _confided(self, reply: requests.Response) -> tuple[str, ...]:
        """Give what the request of a reply said in confidence, to this server or to a proxy."""
        names = (*self.headers, "X-Scope-OrgID")
        return (*sent(reply.request.headers, names), *of_proxies(self.session.proxies))

    def _redirected(self, reply: requests.Response) -> NotPrometheus:
        target = urlsplit(reply.headers.get("Location", ""))
        where = f"{target.scheme}://{target.hostname}" if target.hostname else "another path"
        return NotPrometheus(
            f"{self.base} redirects to {where}, which is not followed with your credentials:"
            " if that is the server, give its address"
        )

    def _adapt(self, reply: requests.Response, size: int, seconds: float) -> None:
        """Choose the encoding of the next reply by the speed of this one [bytes, s]."""
        if self.compression != "auto" or size < _ENOUGH or self._settled:
            return
        rate = size / max(seconds, 1e-9)
        if reply.headers.get("Content-Encoding") == "gzip":
            self._packed = rate < _PACKING
        elif rate < _SLOW:
            self._packed = self._settled = True


def _is_near(url: str) -> bool:
    """Tell whether the server is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_page(reply: requests.Response) -> bool:
    return "html" in reply.headers.get("Content-Type", "")


def _parsed(text: str) -> Mapping[str, object] | None:
    """Parse a failed reply, if it is JSON as Prometheus writes it."""
    import orjson

    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and "status" in document else None


def _cause(problem: BaseException) -> str:
    """Name the innermost cause; urllib3 wraps it, and may quote the URL of a proxy around it."""
    inner, deeper = problem, [problem]
    while deeper:
        inner = deeper[-1]
        around = (*inner.args, getattr(inner, "reason", None))
        deeper = [one for one in around if isinstance(one, BaseException)]
    return str(inner).rpartition(">: ")[2] or type(inner).__name__
