"""Read the API: which objects, with which rights, page by page, and the errors of that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from cilium_analysis.errors import CiliumAnalysisError, SourceError
from cilium_analysis.kube import objects
from cilium_analysis.kube.objects import text
from cilium_analysis.retry import RETRYABLE, backoff, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes.client import ApiClient

    from cilium_analysis.kube.objects import Row

    # Sends one request, with the parameters for the page, and returns the open reply of urllib3.
    Ask = Callable[..., Any]

CILIUM_CONFIG = "cilium-config"
PAGE = 500
_PIECE = 1 << 16
#: Most characters of a server's own words in a message.
_LONGEST = 300
#: Longest pause that a server may ask for [s].
_LONGEST_PAUSE = 30.0
#: Tries of a request whose failure may pass: as many as are allowed.
_MANY = 100


@dataclass(frozen=True)
class Resource:
    """One kind of object in the API.

    Parameters
    ----------
    table
        Table of its objects.
    plural, group, version
        Names in the API's paths and in roles; the group ``""`` is the core.
    row
        Makes a row of one object.
    method
        Of `kubernetes.client.CoreV1Api`, which lists it in all namespaces; "" for other groups.
    may_be_absent
        Whether a cluster can do without this kind.
    verb
        Of the right that it takes, for a role.
    """

    table: str
    plural: str
    row: Callable[[Mapping[str, object]], Row]
    method: str = ""
    group: str = ""
    version: str = "v1"
    may_be_absent: bool = False
    verb: str = "list"

    @property
    def name(self) -> str:
        """Name that ``kubectl get`` takes."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def absent(self) -> str:
        """Why the API may not have this kind."""
        if self.verb == "get":
            return "there is no such ConfigMap (404); name the namespace in which Cilium runs"
        if self.may_be_absent:
            return "the cluster does not have this kind of object (404)"
        return "the server does not know them (404); is it the Kubernetes API?"

    def missing_right(self, said: str) -> str:
        """Return the message about a missing right."""
        group = f"the API group {self.group}" if self.group else 'the core API group ""'
        return (
            f"cannot {self.verb} {self.name} (403): ask for {self.verb} on {self.plural} of {group}"
            f" in the ClusterRole; the server says: {said}"
        )

    def lister(self, api: ApiClient) -> Callable[..., Any]:
        """Return the method that lists it, page by page."""
        from kubernetes import client

        if self.method:
            method: Callable[..., Any] = getattr(client.CoreV1Api(api), self.method)
            return method
        custom = client.CustomObjectsApi(api)
        return partial(custom.list_cluster_custom_object, self.group, self.version, self.plural)


#: Small ones first, so that a server without this API is found out soon.
RESOURCES = (
    Resource("namespaces", "namespaces", objects.namespace, "list_namespace"),
    Resource("nodes", "nodes", objects.node, "list_node"),
    Resource("services", "services", objects.service, "list_service_for_all_namespaces"),
    Resource(
        "cilium_policies",
        "ciliumnetworkpolicies",
        objects.cilium_policy("CiliumNetworkPolicy"),
        group="cilium.io",
        version="v2",
        may_be_absent=True,
    ),
    Resource(
        "cilium_clusterwide_policies",
        "ciliumclusterwidenetworkpolicies",
        objects.cilium_policy("CiliumClusterwideNetworkPolicy"),
        group="cilium.io",
        version="v2",
        may_be_absent=True,
    ),
    Resource(
        "network_policies",
        "networkpolicies",
        objects.network_policy,
        group="networking.k8s.io",
    ),
    Resource("pods", "pods", objects.pod, "list_pod_for_all_namespaces"),
    Resource("events", "events", objects.event, "list_event_for_all_namespaces"),
)

CONFIGURATION = Resource(
    "cilium_config",
    "configmaps",
    objects.configuration,
    "read_namespaced_config_map",
    may_be_absent=True,
    verb="get",
)


class Unread(Exception):
    """One kind of object could not be read.

    Parameters
    ----------
    message
        For a note.
    tries
        Number of tries that make sense, all in all.
    wait
        Least pause before the next try [s].
    is_answer
        Whether the refusal is that of a Kubernetes API server; else the server may be none.
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
        Of a connection, and of each pause within a reply; a page may take twice as long [s].
    retries
        Number of further tries after the first.
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
        """Read one object or page, with further tries where they may help.

        Raises
        ------
        Unread
            If it cannot be read.
        SourceError
            If the server does not accept the credentials.
        """
        for attempt in range(1, self.retries + 2):
            try:
                return self._once(ask, resource, page)
            except Unread as problem:
                if attempt >= min(problem.tries, self.retries + 1):
                    raise
                self.pause(max(min(problem.wait, _LONGEST_PAUSE), backoff(attempt)))
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
        """Return the error for a failure on the way to the server."""
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
        """Read a reply; a whole page has a limit of time, as each piece of it has."""
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
        """Return the error for a status other than 200."""
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
        again = _MANY if status == 500 or status in RETRYABLE else 1
        why = f"{begun}{self.server} answered {status} ({said})"
        wait = retry_after(str((problem.headers or {}).get("Retry-After", "")))
        return Unread(why, tries=again, wait=wait, is_answer=_is_status(problem))

    def _said(self, problem: Any) -> str:
        """Return the server's own words, on one line."""
        return self._one_line(text(_parsed(problem), "message") or str(problem.reason or ""))

    def _cause(self, problem: BaseException) -> str:
        """Return the message of an error without the objects that urllib3 puts before it."""
        said = str(problem).rpartition(">: ")[2].rpartition("): ")[2]
        return self._one_line(said or type(problem).__name__)

    def _one_line(self, said: str) -> str:
        """Shorten a text to one line of printable characters, without the credentials we sent."""
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
    """Return whether a refusal has the form that only a Kubernetes API gives it."""
    return text(_parsed(problem), "kind") == "Status"
