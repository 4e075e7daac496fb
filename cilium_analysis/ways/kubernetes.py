"""The Prometheus in a cluster: found by its Service, asked through the API server.

Requests go through the API server's proxy to Services (Kubernetes, "Access services running on
clusters"), signed as kubectl signs them; in a pod they go to the Service itself. The proxy passes
no credentials on: a Prometheus that wants its own is reached by its address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from cilium_analysis.errors import ParameterError, PrometheusError, SourceError, suggest
from cilium_analysis.kube.access import Kubernetes
from cilium_analysis.kube.reading import Resource, Unread
from cilium_analysis.prometheus import Credentials, Prometheus
from cilium_analysis.prometheus.access import Access, access_of
from cilium_analysis.ways.api_server import ApiServer
from cilium_analysis.ways.forward import forward_to
from cilium_analysis.ways.services import Service, described, known

if TYPE_CHECKING:
    from cilium_analysis.prometheus import Deadline

_FORM = "write kubernetes:, or kubernetes:NAMESPACE/SERVICE:PORT"
_SOURCE = re.compile(
    r"kubernetes:(?:(?P<namespace>[a-z0-9-]{1,63})/(?P<service>[a-z0-9-]{1,63})(?::(?P<port>[0-9]{1,5}))?)?"
    r"(?:\?(?P<options>.*))?"
)
_OPTIONS = ("context", "kubeconfig", "via")
_VIA = ("proxy", "port-forward")
_SERVICES = Resource("services", "services", dict, "list_service_for_all_namespaces")
_SERVICE = Resource("services", "services", dict, "read_namespaced_service", verb="get")
#: Which of several has metrics of Cilium; names are matched exactly, as some servers want.
_HAS_CILIUM = (
    "count(cilium_process_start_time_seconds) or count(cilium_version)"
    " or count(hubble_flows_processed_total)"
)
#: A server that is looked at, beside others, has so long to answer [s].
_PATIENCE = 10.0
#: So many are looked at, and named.
_MOST = 8


@dataclass(frozen=True)
class Source:
    """What a source says.

    Parameters
    ----------
    namespace, service, port
        Where the Prometheus is; empty, and 0, if it is to be found.
    context, kubeconfig
        As of `Kubernetes`.
    via
        ``proxy`` of the API server, which is taken if it is empty, or ``port-forward``: then the
        Prometheus gets the credentials that are named for it.
    """

    namespace: str = ""
    service: str = ""
    port: int = 0
    context: str = ""
    kubeconfig: str = ""
    via: str = ""

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read ``kubernetes:NAMESPACE/SERVICE:PORT?context=…``; all but the first word may miss.

        Raises
        ------
        ParameterError
            If it is something else.
        """
        found = _SOURCE.fullmatch(text.strip())
        if found is None:
            raise ParameterError(f"{text!r} names no Service: {_FORM}")
        options = dict(parse_qsl(found["options"] or "", keep_blank_values=True))
        for name in options:
            if name not in _OPTIONS:
                raise ParameterError(f"{text!r} has an unknown {name!r}: {suggest(name, _OPTIONS)}")
        if options.get("via", _VIA[0]) not in _VIA:
            raise ParameterError(f"{text!r} goes via neither {' nor '.join(_VIA)}")
        port = int(found["port"] or 0)
        if port > 65535:
            raise ParameterError(f"{text!r} names no port: {_FORM}")
        return cls(found["namespace"] or "", found["service"] or "", port, **options)

    @property
    def text(self) -> str:
        """The source as it is written."""
        port = f":{self.port}" if self.port else ""
        named = f"{self.namespace}/{self.service}{port}" if self.service else ""
        given = {name: getattr(self, name) for name in _OPTIONS if getattr(self, name)}
        options = f"?{urlencode(given, safe='/:@')}" if given else ""
        return f"kubernetes:{named}{options}"


def check(source: str) -> None:
    """Check how a source is written."""
    Source.parse(source)


def address(source: str, *, credentials: Credentials) -> tuple[str, Access]:
    """Give the address of the API server, as `cilium_analysis.ways.address`."""
    server = api_server(Source.parse(source))
    return server.url, server.access


def api_server(asked: Source, *, timeout: float = 30.0) -> ApiServer:
    """Give the API server of the cluster that a source is in."""
    return ApiServer(Kubernetes(asked.kubeconfig, asked.context, min(timeout, 30.0)))


def reach(
    source: str, *, credentials: Credentials, timeout: float, deadline: Deadline
) -> Prometheus:
    """Connect to the Prometheus in a cluster, as `cilium_analysis.ways.reach`."""
    asked = Source.parse(source)
    api = api_server(asked, timeout=timeout)
    in_pod = api.cluster.uses_service_account

    def connect(service: Service, *, brief: bool = False) -> Prometheus:
        named = replace(asked, namespace=service.namespace, service=service.name, port=service.port)
        limits: dict[str, Any] = {"timeout": timeout, "deadline": deadline}
        if brief:
            limits |= {"timeout": min(timeout, _PATIENCE), "retries": 0}
        if in_pod:
            url = f"{service.scheme}://{service.host}:{service.port}{service.prefix}"
            return Prometheus(url, credentials=credentials, **limits)
        if asked.via == "port-forward":
            way = forward_to(api, service)
            url = f"{service.scheme}://127.0.0.1:{way.port}{service.prefix}"
            limits |= {"access": _at(service, access_of(credentials, url)), "called": named.text}
            tenant = Credentials(tenant=credentials.tenant)
            server = Prometheus(url, credentials=tenant, **limits)
            server.beside.callback(way.close)
            return server
        limits |= {"credentials": Credentials(tenant=credentials.tenant), "called": named.text}
        return _through_the_api_server(api, service, **limits)

    if asked.service:
        return connect(_named(api, asked))
    services = _listed(api)
    if len(services) == 1:
        source_found = connect(services[0])
        source_found.found = f"Found {services[0].shown}"
        return source_found
    return _chosen(services, connect)


def _chosen(services: list[Service], connect: Any) -> Prometheus:
    """Take the first of several that has metrics of Cilium, else the first that answers."""
    answering: list[Service] = []
    taken, why_not = None, ""
    for service in services[:_MOST]:
        try:
            with connect(service, brief=True) as server:
                cilium = not server.query(_HAS_CILIUM).empty
        except (PrometheusError, SourceError, AttributeError) as problem:
            why_not = why_not or f" ({service.text}: {getattr(problem, 'why', problem)})"
            continue
        answering.append(service)
        if cilium:
            taken = service
            break
    names = ", ".join(service.shown for service in services[:_MOST])
    if not answering:
        raise SourceError(
            f"none of the Services of the cluster answers like a Prometheus: {names}{why_not}; name"
            " another one: --source kubernetes:NAMESPACE/SERVICE:PORT"
        )
    why = "which has metrics of Cilium" if taken else "the first that answers; none has Cilium's"
    taken = taken or answering[0]
    source: Prometheus = connect(taken)
    source.found = (
        f"Found {names}. Took {taken.text}, {why}; --source kubernetes:NAMESPACE/SERVICE:PORT takes"
        " another"
    )
    return source


def _at(service: Service, access: Access) -> Access:
    """Check the certificate for the name of a Service, whatever address is asked in its place."""
    if not service.tls:
        return access
    name = access.tls.server_name or service.host
    return replace(access, tls=replace(access.tls, server_name=name))


def _listed(server: ApiServer) -> list[Service]:
    """List the Services that answer like a Prometheus; at least one."""
    with server.reader() as reader:
        try:
            found = known(reader.rows(_SERVICES))
        except Unread as problem:
            raise SourceError(
                f"{problem}; or name the Prometheus: --source kubernetes:NAMESPACE/SERVICE:PORT"
            ) from None
        if not found:
            raise SourceError(
                f"no Service of {reader.server} has the labels of a Prometheus, Thanos, Mimir or"
                " VictoriaMetrics: name it: --source kubernetes:NAMESPACE/SERVICE:PORT"
            )
    return found


def _named(server: ApiServer, asked: Source) -> Service:
    """Describe the Service that is named; it is looked at if the port is not."""
    named = Service(asked.namespace, asked.service, asked.port)
    try:
        with server.reader() as reader:
            from kubernetes.client import CoreV1Api

            look = partial(
                CoreV1Api(reader.api).read_namespaced_service, asked.service, asked.namespace
            )
            item = reader.ask(look, _SERVICE)
    except (SourceError, Unread) as problem:
        if asked.port:  # the right to look at it is not needed
            return named
        raise SourceError(
            f"{problem}; or name its port: --source {replace(asked, port=9090).text}"
        ) from None
    found = described(item, port=asked.port)
    if found is None and not asked.port:
        raise SourceError(f"the Service {named.namespace}/{named.name} has no port: name one")
    return found or named


def _through_the_api_server(server: ApiServer, service: Service, **limits: Any) -> Prometheus:
    """Ask through the proxy to Services: by GET, as POST is the right to create."""
    scheme = "https:" if service.tls else ""
    path = f"api/v1/namespaces/{quote(service.namespace)}/services/{scheme}{service.name}"
    url = f"{server.url}/{path}:{service.port}/proxy{service.prefix}"
    return Prometheus(url, access=server.access, get_only=True, **limits)
