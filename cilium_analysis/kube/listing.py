"""Ask the API server: page by page, again where that may help, and say what went wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from cilium_analysis.errors import CiliumAnalysisError, SourceError
from cilium_analysis.kube.fields import text

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes.client import ApiClient

    from cilium_analysis.kube.resources import Resource
    from cilium_analysis.kube.rows import Row

    # Sends one request, with the parameters for the page, and gives the open reply of urllib3.
    Ask = Callable[..., Any]

PAGE = 500
_PIECE = 1 << 16
_LONGEST = 300
_LONGEST_PAUSE = 30.0
_OVERLOADED = (429, 500, 502, 503, 504)
_MANY = 100


class Unread(Exception):
    """One kind of object could not be read.

    Parameters
    ----------
    message
        For a note.
    tries
        How often asking is worth it, all in all.
    wait
        At least so long before asking again [s].
    is_answer
        Whether a Kubernetes API server has said so; otherwise it may be none.
    """

    def __init__(
        self, message: str, *, tries: int = 1, wait: float = 0.0, is_answer: bool = False
    ) -> None:
        super().__init__(message)
        self.tries = tries
        self.wait = wait
        self.is_answer = is_answer


class Expired(Unread):
    """The list has moved on since its first page; it must be read from its beginning."""


@dataclass
class Reader:
    """Reads lists and objects from one API server.

    Parameters
    ----------
    api
        The client.
    server
        Its address for messages, without credentials.
    timeout
        For a connection, for each pause within a reply, and twice it for a whole page [s].
    retries
        How often to try again.
    pause
        Waits so many seconds between two tries.
    """

    api: ApiClient = field(repr=False)
    server: str
    timeout: float
    retries: int
    pause: Callable[[float], None] = time.sleep

    def rows(self, resource: Resource) -> list[Row]:
        """Read all objects of a kind, from one state of the cluster.

        Raises
        ------
        Unread
            If they cannot be read, or not as a whole.
        """
        try:
            return self._pages(resource)
        except Expired:
            return self._pages(resource)

    def _pages(self, resource: Resource) -> list[Row]:
        ask = resource.lister(self.api)
        rows: list[Row] = []
        seen: set[str] = set()
        token = ""
        while True:
            page = self.ask(ask, resource, limit=PAGE, **({"_continue": token} if token else {}))
            items = page.get("items", False)
            if not isinstance(items, list | None):
                raise Unread(f"cannot read {resource.name}: {self._not_the_api('no list')}")
            rows += [resource.row(item) for item in items or () if isinstance(item, Mapping)]
            token = text(page, "metadata", "continue")
            if not token:
                return rows
            if token in seen:
                raise Unread(f"cannot read {resource.name}: the pages of {self.server} never end")
            seen.add(token)

    def ask(self, ask: Ask, resource: Resource, **page: object) -> Mapping[str, object]:
        """Ask for one object or page, and again where that may help.

        Raises
        ------
        Unread
            If it is not to be had.
        SourceError
            If the server does not accept the credentials.
        """
        for attempt in range(1, self.retries + 2):
            try:
                return self._once(ask, resource, page)
            except Unread as problem:
                if attempt >= min(problem.tries, self.retries + 1):
                    raise
                backoff = min(0.25 * 2**attempt, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311
                self.pause(max(min(problem.wait, _LONGEST_PAUSE), backoff))
        raise AssertionError("unreachable")

    def _once(
        self, ask: Ask, resource: Resource, page: Mapping[str, object]
    ) -> Mapping[str, object]:
        from kubernetes.client.exceptions import ApiException
        from urllib3 import exceptions as http

        begun = f"cannot read {resource.name}: "
        limits = (self.timeout, self.timeout)
        try:
            reply = ask(**page, _preload_content=False, _request_timeout=limits)
            return self._document(self._body(reply), begun)
        except ApiException as problem:
            raise self._refused(problem, resource) from None
        except AttributeError as problem:
            # kubernetes 36 stumbles over a refusal that has no body (client/api_client.py).
            if not isinstance(problem.__context__, ApiException):
                raise
            raise self._refused(problem.__context__, resource) from None
        except (http.HTTPError, OSError) as problem:
            raise self._unreached(problem, begun) from None
        except ValueError:
            # Not the cause: it may quote a header, which holds the token.
            hint = "mend the server's address and the token in the kubeconfig"
            raise Unread(f"{begun}no request can be made for {self.server}; {hint}") from None

    def _unreached(self, problem: Exception, begun: str) -> Unread:
        """Say what went wrong on the way."""
        from urllib3 import exceptions as http

        # Connections that are refused count as timed out in urllib3, for its own compatibility.
        timeouts = (http.TimeoutError, TimeoutError)
        if isinstance(problem, timeouts) and not isinstance(problem, http.NewConnectionError):
            why = f"no answer of {self.server} within the timeout of {self.timeout:g} s"
            return Unread(begun + why, tries=2)
        if isinstance(problem, http.ProtocolError):
            return Unread(f"{begun}the answer of {self.server} broke off", tries=_MANY)
        why = f"cannot reach {self.server} ({self._cause(problem)})"
        return Unread(f"{begun}{why}; is it running, and reachable from here?", tries=_MANY)

    def _body(self, reply: Any) -> bytes:
        """Read a reply; no page may take for ever, though every piece of it comes in time."""
        end = time.monotonic() + 2 * self.timeout
        body = bytearray()
        try:
            for piece in reply.stream(_PIECE):
                body += piece
                if time.monotonic() > end:
                    raise TimeoutError(f"a page took longer than {2 * self.timeout:g} s")
        finally:
            # A connection with an unread rest must not be used again.
            reply.close()
        return bytes(body)

    def _document(self, body: bytes, begun: str) -> Mapping[str, object]:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            if body.lstrip().startswith(b"<"):
                raise Unread(begun + self._not_the_api("a web page")) from None
            raise Unread(begun + self._not_the_api("broken JSON"), tries=_MANY) from None
        if not isinstance(document, dict):
            raise Unread(begun + self._not_the_api("no object"))
        return document

    def _not_the_api(self, what: str) -> str:
        return f"{self.server} answered with {what}; is it the Kubernetes API?"

    def _refused(self, problem: Any, resource: Resource) -> CiliumAnalysisError | Unread:
        """Say what a status other than 200 means."""
        status, said = int(problem.status or 0), self._said(problem)
        begun = f"cannot read {resource.name}: "
        if status == 0:
            hint = "check certificate-authority in the kubeconfig"
            return Unread(f"{begun}no TLS with {self.server} ({said}); {hint}")
        if status == 401:
            hint = "log in again, or mend the user in the kubeconfig"
            return SourceError(f"{self.server} does not accept the credentials; {hint}")
        if status == 403:
            return Unread(resource.missing_right(said), is_answer=_is_status(problem))
        if status == 404:
            return Unread(begun + resource.absent, is_answer=resource.may_be_absent)
        if status == 410:
            hint = "it changed while it was read, twice"
            return Expired(f"{begun}{hint}; try again", is_answer=True)
        if 300 <= status < 400:
            return Unread(
                f"{begun}{self.server} redirects, which is not followed; mend the address"
            )
        again = _MANY if status in _OVERLOADED else 1
        why = f"{begun}{self.server} answered {status} ({said})"
        return Unread(
            why, tries=again, wait=_seconds(problem.headers), is_answer=_is_status(problem)
        )

    def _said(self, problem: Any) -> str:
        """Give the server's own words, on one line."""
        return self._one_line(text(_parsed(problem), "message") or str(problem.reason or ""))

    def _cause(self, problem: BaseException) -> str:
        """Name a cause without the objects that urllib3 puts before it."""
        said = str(problem).rpartition(">: ")[2].rpartition("): ")[2]
        return self._one_line(said or type(problem).__name__)

    def _one_line(self, said: str) -> str:
        """Shorten a text to one line of what can be printed, without the credentials we sent."""
        for value in self.api.configuration.api_key.values():
            secret = str(value).partition(" ")[2].strip() or str(value)
            said = said.replace(secret, "…") if secret else said
        line = " ".join("".join(c if c.isprintable() else " " for c in said).split())
        return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _parsed(problem: Any) -> object:
    """Parse the body of a refusal, if it is JSON."""
    try:
        return orjson.loads(problem.body or b"")
    except orjson.JSONDecodeError:
        return None


def _is_status(problem: Any) -> bool:
    """Tell whether a refusal is written as only a Kubernetes API writes it."""
    return text(_parsed(problem), "kind") == "Status"


def _seconds(headers: Any) -> float:
    """Read how long the server asks to wait [s]; 0 if it does not say."""
    found = str((headers or {}).get("Retry-After", ""))
    return float(found) if found.isdecimal() else 0.0
