"""Requests over HTTP: sent, signed, retried, and read piece by piece."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from http import HTTPStatus
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import requests
import urllib3

from cilium_analysis.errors import (
    AccessDenied,
    AnswerIncomplete,
    DeadlinePassed,
    NotPrometheus,
    ParameterError,
    QueryRejected,
    ServerUnavailable,
)
from cilium_analysis.prometheus.access import Access, access_of
from cilium_analysis.prometheus.columns import Answer
from cilium_analysis.prometheus.credentials import (
    Anonymous,
    Credentials,
    masked,
    masked_document,
    of_parameters,
    of_proxies,
    sent,
    shown_parameters,
)
from cilium_analysis.prometheus.decode import Decoder, ForeignBodyError
from cilium_analysis.prometheus.exchange import (
    PACKED_PIECE,
    Asked,
    Document,
    Tried,
    beginning,
    document,
)
from cilium_analysis.prometheus.failures import (
    RAISED,
    TOO_LONG,
    Broken,
    failure,
    parsed,
    sign_in,
    spoken,
)
from cilium_analysis.prometheus.limits import (
    NEVER,
    AbandonableAdapter,
    Deadline,
    largest_answer,
    within,
)
from cilium_analysis.prometheus.packing import Compression, Packing
from cilium_analysis.prometheus.slots import Slots
from cilium_analysis.prometheus.tokens import Renewing
from cilium_analysis.retry import RETRYABLE, backoff, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from requests.auth import AuthBase

_PIECE = 1 << 18
#: 203 is what a proxy gives that has written an answer anew (RFC 9110, section 15.3.4).
_ANSWERS = (200, 203)
_LONGEST = 365 * 86400.0
#: A request may take so much more, so that what waits within it can say what it waits for.
_GRACE = 0.1
#: How often a request is tried again.
RETRIES = 4
#: A server that is there answers a query of nothing within this [s].
_PATIENCE = 5.0
#: With these POST is refused where GET may be let through; 400 where a form is not understood.
_PERHAPS_BY_GET = frozenset({400, 403, 405, 501})


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
        For a whole request with all its tries [s]; also the server's for a query.
    retries
        How often to try again; if None, `RETRIES` times, and as long as `timeout` allows where the
        server has answered before and answers nothing now.
    compression
        ``gzip``, ``identity``, or ``auto``: plain where the server is on this machine; else
        packed, until large replies show that the link is faster than the server's packing.
    pause
        Waits so many seconds between two tries.
    parameters
        Of the address, sent along with every request.
    deadline
        After which nothing is asked, and nothing waited for.
    way
        Instead of `credentials`.
    get_only
        Whether POST is not tried, or has been refused where GET was not.
    max_bytes
        Of one answer, unpacked; by the memory that is there if None.
    concurrency
        Requests at the same time; half as many whenever the server says that it is too many, and
        one at a time once a request has failed beside others, which is then tried once more alone.
    """

    base: str
    http: requests.Session | None = None
    credentials: Credentials = field(default_factory=Credentials)
    auth: AuthBase | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 120.0
    retries: int | None = None
    compression: Compression = "auto"
    pause: Callable[[float], None] = time.sleep
    parameters: Sequence[tuple[str, str]] = field(default=(), repr=False)
    deadline: Deadline = NEVER
    max_bytes: int | None = None
    concurrency: int = 4
    #: Gives another base to ask from then on, for one that is lost; empty if there is none.
    elsewhere: Callable[[str], str] | None = None
    #: Whether replies came with a header that VictoriaMetrics alone sends (lib/httpserver).
    is_victoria: bool = False
    way: Access | None = None
    get_only: bool = False
    _has_answered: bool = False
    _post_works: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= _LONGEST:
            raise ParameterError(f"a timeout of {self.timeout} s cannot be: give seconds above 0")
        self.slots = Slots(self.concurrency)
        self.access = self.way or access_of(self.credentials, self.base)
        if not self.access.tls.verify:
            # The user knows; a warning per request would hide all else.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._owned = self.http is None
        self.session = self.http or requests.Session()
        if self._owned:
            adapter = AbandonableAdapter(pool_maxsize=16, **self.access.tls.pool())
            self.session.mount("http://", adapter)
            self.session.mount("https://", adapter)
        self._packing, self._moving = Packing(self.compression, self.base), Lock()

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
        asked = Asked(path, params, query, form)
        with self.slots.taken(self.deadline) as slot:
            try:
                return cast("Answer", self._ask(asked))
            except (ServerUnavailable, AnswerIncomplete):
                if not slot.crowded or self.deadline.passed:
                    raise
        # Some servers, and proxies before them, take one request at a time; others are only slow.
        self.slots.reduce(1)
        with self.slots.taken(self.deadline):
            return cast("Answer", self._ask(asked))

    def document(self, path: str) -> Document:
        """Get a document that is no answer to a query, trying again where that may help.

        Parameters
        ----------
        path
            Below the base.

        Raises
        ------
        PrometheusError
            If the server cannot be reached, or is overloaded.
        """
        return cast("Document", self._ask(Asked(path, {}, form=False, is_document=True)))

    def _ask(self, asked: Asked, *, may_move: bool = True) -> Answer | Document:
        until, base = min(Deadline.after(self.timeout), self.deadline), self.base
        for attempt in count():
            tried = self._in_time(asked, until)
            if not isinstance(tried.found, Exception):
                self._has_answered = True
                return tried.found
            if self.deadline.passed:
                raise self._over(asked.text)
            gone = isinstance(tried.found, NotPrometheus | ServerUnavailable)
            if gone and may_move and self._moves(base):
                return self._ask(asked, may_move=False)
            if tried.status == HTTPStatus.TOO_MANY_REQUESTS:
                self.slots.reduce(self.slots.most // 2)
            wait = math.inf if tried.wait is None else max(tried.wait, backoff(attempt))
            # A server that has answered before may only be starting anew.
            patient = self.retries is None and self._has_answered
            lost = patient and isinstance(tried.found, ServerUnavailable)
            most = RETRIES if self.retries is None else self.retries
            spent = attempt >= most and not (lost and not self.is_alive())
            if spent or wait > until.left:
                raise tried.found
            self.pause(wait)
        raise AssertionError("unreachable")

    def _moves(self, lost: str) -> bool:
        """Ask elsewhere from now on, if the server is gone; another thread may have been first."""
        with self._moving:
            if self.elsewhere and self.base == lost and not self.is_alive():
                self.base = self.elsewhere(lost) or lost
            return self.base != lost

    def is_alive(self) -> bool:
        """Tell whether the server answers the smallest of all queries, or refuses it, at once.

        A proxy before it may let queries with certain labels through only.
        """
        query = "vector(1)"
        until = min(Deadline.after(min(self.timeout, _PATIENCE)), self.deadline)
        if self.deadline.passed:
            return False
        tried = self._in_time(Asked("api/v1/query", {"query": query}, query), until)
        return isinstance(tried.found, Answer | QueryRejected | AccessDenied)

    def _in_time(self, asked: Asked, until: Deadline) -> Tried:
        """Try once, and no longer than until a deadline."""
        if self.deadline.passed:
            raise self._over(asked.text)
        end = min(Deadline(until.at + min(_GRACE * self.timeout, 1.0)), self.deadline)
        try:
            return within(lambda: self._attempt(asked, until), end, give_up=self._give_up)
        except TimeoutError:
            if isinstance(self._signer, Renewing) and self._signer.waits:
                said = f"{self._signer.giver} has given no token within {self.timeout:g} s"
                return Tried(AccessDenied(f"{said}{asked.text}"), None)
            return Tried(self._broken.late(asked.text), None)

    def _over(self, asked: str) -> DeadlinePassed:
        hint = "allow the whole run more time, or ask for less: fewer topics, a shorter window"
        text = f"the deadline has passed, and {self.shown} has not answered by then"
        return DeadlinePassed(f"{text}; {hint}{asked}")

    def _give_up(self, thread: int) -> None:
        for adapter in self.session.adapters.values():
            if isinstance(adapter, AbandonableAdapter):
                adapter.give_up(thread)

    def _attempt(self, asked: Asked, until: Deadline) -> Tried:
        """Try once: by POST, and by GET where that is refused and GET is not."""
        posted = asked.form and not self.get_only
        first = self._exchange(asked._replace(form=posted), until)
        if isinstance(first.found, Answer):
            self._post_works |= posted
            return first
        # A query that is wrong is refused with 400, too.
        known = self._post_works and first.status == 400
        if not posted or known or first.status not in _PERHAPS_BY_GET:
            return first
        second = self._exchange(asked._replace(form=False), until)
        if isinstance(second.found, Answer) or (second.own and not first.own):
            self.get_only = True
            return second
        if second.status in TOO_LONG:  # it may be let through, but not as an address
            return second
        return first._replace(wait=second.wait)

    def _exchange(self, asked: Asked, until: Deadline) -> Tried:
        """Send a request and read its reply."""
        try:
            with self._send(asked, until) as reply:
                if asked.is_document and reply.status_code not in RETRYABLE:
                    return Tried(document(reply))
                return self._read(reply, query=asked.query)
        except RAISED as problem:
            return Tried(*self._broken.error(problem, asked.text))

    @property
    def shown(self) -> str:
        """Address for people, without credentials."""
        return self.base + shown_parameters(self.parameters)

    @property
    def _proxies(self) -> dict[str, str]:
        return {**self.session.proxies, "own": self.access.proxy}

    @property
    def _broken(self) -> Broken:
        secrets = (*of_proxies(self._proxies), *of_parameters(self.parameters))
        return Broken(self.shown, self.timeout, tuple(self.headers), secrets)

    def _send(self, asked: Asked, until: Deadline) -> requests.Response:
        """Send; redirects are not followed, so that nothing reaches another host."""
        headers = {"Accept": "application/json", **self.headers}
        headers["Accept-Encoding"] = self._packing.encoding
        headers |= self.access.read_headers()
        if self.credentials.tenant:
            headers["X-Scope-OrgID"] = self.credentials.tenant
        request = requests.Request(
            "POST" if asked.form else "GET",
            self.base + asked.path,
            data=dict(asked.params) if asked.form else None,
            params=[*([] if asked.form else asked.params.items()), *self.parameters],
            headers=headers,
            auth=self._signer,
        )
        prepared = self.session.prepare_request(request)
        reply = self._sent(prepared, until)
        if reply.status_code == HTTPStatus.UNAUTHORIZED:
            again = self._signed_anew(prepared)
            if again is not None:
                reply.close()
                reply = self._sent(again, until)
        return reply

    def _sent(self, prepared: requests.PreparedRequest, until: Deadline) -> requests.Response:
        settings = self._settings if self._owned else self._environment()
        return self.session.send(
            prepared, timeout=max(until.left, 0.001), allow_redirects=False, **settings
        )

    @property
    def _signer(self) -> Any:
        return self.auth or self.access.auth or self.session.auth or Anonymous()

    def _signed_anew(self, refused: requests.PreparedRequest) -> requests.PreparedRequest | None:
        """Sign a request again, with credentials that may have been renewed; None if they are not.

        Tokens expire in the middle of a run, and files of tokens rotate.
        """
        if isinstance(self._signer, Renewing):
            self._signer.forget(refused)
        request = refused.copy()
        request.prepare_auth(self._signer)
        name = "Authorization"
        return request if request.headers.get(name) != refused.headers.get(name) else None

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """Those of our own session, which nobody changes: to read them takes a millisecond."""
        return self._environment()

    def _environment(self) -> dict[str, Any]:
        """Give what session and environment say of proxies and certificates."""
        return self.access.settings(self.session, self.base)

    def _read(self, reply: requests.Response, *, query: str) -> Tried:
        self.is_victoria |= "X-Server-Hostname" in reply.headers
        status = reply.status_code
        if status == 204:
            return Tried(Answer({"status": "success"}, Decoder().columns))
        if 300 <= status < 400:
            return Tried(self._redirected(reply))
        if status not in _ANSWERS:
            text = beginning(reply).decode("utf-8-sig", "replace")
            return self._failed(reply, parsed(text), text, query=query)
        limit = largest_answer() if self.max_bytes is None else self.max_bytes
        decoder, began = Decoder(limit), time.perf_counter()
        packed = "Content-Encoding" in reply.headers
        try:
            for piece in reply.iter_content(PACKED_PIECE if packed else _PIECE):
                decoder.feed(piece)
            self._packing.learn(reply.headers, decoder.size, time.perf_counter() - began)
            answer = decoder.finish()
        except ForeignBodyError as problem:
            return self._failed(reply, None, str(problem), query=query)
        if answer.envelope.get("status") == "success":
            secrets = self._confided(reply)
            return Tried(replace(answer, envelope=masked_document(answer.envelope, secrets)))
        text = json.dumps(answer.envelope, ensure_ascii=False)
        return self._failed(reply, spoken(answer.envelope), text, query=query)

    def _failed(
        self,
        reply: requests.Response,
        document: Mapping[str, object] | None,
        text: str,
        *,
        query: str,
    ) -> Tried:
        secrets, status = self._confided(reply), reply.status_code
        said = masked(text, secrets)
        known = masked_document(document, secrets) if document is not None else None
        again = retry_after(reply.headers.get("Retry-After", "")) if status in RETRYABLE else 0.0
        error = failure(status, known, said, url=self.shown, query=query, again=again)
        return Tried(error, again if status in RETRYABLE else None, status, known is not None)

    def _confided(self, reply: requests.Response) -> tuple[str, ...]:
        """Give what the request of a reply said in confidence, to this server or to a proxy."""
        names = (*self.headers, *self.access.headers, "X-Scope-OrgID")
        own = (*of_proxies(self._proxies), *of_parameters(self.parameters))
        return (*sent(reply.request.headers, names), *own)

    def _redirected(self, reply: requests.Response) -> NotPrometheus:
        location = reply.headers.get("Location", "")
        target = urlsplit(location)
        where = f"{target.scheme}://{target.hostname}" if target.hostname else "another path"
        return NotPrometheus(
            f"{self.shown} redirects to {where}, which is not followed with your credentials:"
            f" if that is the server, give its address.{sign_in(location)}"
        )
