"""The Prometheus in a cluster: found by its Service, asked through the API server.

Requests go through the API server's proxy to Services (Kubernetes, "Access services running on
clusters"), signed as kubectl signs them; in a pod they go to the Service itself. The proxy passes
no credentials on: a Prometheus that wants its own is reached by its address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from cilium_analysis.errors import (
    AccessDenied,
    ParameterError,
    PrometheusError,
    SourceError,
    suggest,
)
from cilium_analysis.kube.access import Kubernetes
from cilium_analysis.kube.reading import Resource, Unread
from cilium_analysis.prometheus import Credentials, Prometheus
from cilium_analysis.prometheus.access import Access, access_of
from cilium_analysis.ways.api_server import ApiServer
from cilium_analysis.ways.forward import forward_to
from cilium_analysis.ways.pods import Pod, pods_of
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
    if asked.service:
        return _Way(asked, api, credentials, timeout, deadline).to(_named(api, asked))
    bare = _without_secrets(credentials)
    way = _Way(asked, api, bare, timeout, deadline)
    services = _listed(api)
    if len(services) > 1 or (way.hands_on_credentials and bare != credentials):
        return _chosen(services, way)
    only = way.to(services[0])
    only.found = ". ".join(filter(None, (f"Found {services[0].shown}", only.found)))
    return only


def _without_secrets(known: Credentials) -> Credentials:
    """Give what a Service gets that was only found: whoever may make Services can label one."""
    return Credentials(ca_file=known.ca_file, tenant=known.tenant)


@dataclass(frozen=True)
class _Way:
    """How Services of a cluster are asked."""

    asked: Source
    api: ApiServer
    credentials: Credentials
    timeout: float
    deadline: Deadline

    @property
    def in_pod(self) -> bool:
        """Whether this runs in the cluster, where each Service has an address."""
        return self.api.cluster.uses_service_account

    @property
    def hands_on_credentials(self) -> bool:
        """Whether the server gets the credentials that are named for it."""
        return self.in_pod or self.asked.via == "port-forward"

    def source(self, service: Service) -> str:
        """Write a Service as a source."""
        namespace, name, port = service.namespace, service.name, service.port
        return replace(self.asked, namespace=namespace, service=name, port=port).text

    def to(self, service: Service) -> Prometheus:
        """Connect to a Service, and stay with one pod where it leads to several.

        Two replicas answer differently, so that figures from both contradict each other.
        """
        if not self.in_pod and self.asked.via == "port-forward":
            way = forward_to(self.api, service)
            url = f"{service.scheme}://127.0.0.1:{way.port}{service.prefix}"
            server = self._asking(service, url, self.source(service))
            server.beside.callback(way.close)
            return server
        try:
            pods = [] if service.alike else pods_of(self.api, service)
        except Unread as problem:
            server = self._to(service)
            server.caveat = (
                f"{service.text} may lead to several servers in turn, as its pods are not known:"
                " totals may be wrong"
            )
            server.found = f"{server.caveat} ({problem})"
            return server
        if len(pods) < 2:
            return self._to(service)
        server = self._to(service, pods[0])
        many = f"{service.text} leads to {len(pods)} replicas"
        server.found = f"{many}: all is asked of the pod {pods[0].name}, which runs longest"
        server.transport.elsewhere = partial(self._elsewhere, service, server)
        if self.in_pod or _lets_in(server):
            return server
        server.close()
        server = self._to(service)
        server.caveat = (
            f"{many}, which answer in turn and differ a little: the right to get pods/proxy lets"
            " one of them be asked"
        )
        server.found = server.caveat
        return server

    def _elsewhere(self, service: Service, server: Prometheus, lost: str) -> str:
        """Give the base of another pod of a Service than the one that is lost; empty for none."""
        try:
            pods = pods_of(self.api, service)
        except (SourceError, Unread):
            return ""
        bases = {f"{self._url(service, pod)}/": pod for pod in pods}
        base = next((each for each in bases if each != lost), "")
        if base:
            server.caveat = (
                f"a replica of {service.text} went away while it was asked, and the pod"
                f" {bases[base].name} in its place: they differ a little"
            )
        return base

    def _url(self, service: Service, pod: Pod | None) -> str:
        """Give the URL at which a Service is asked, or a pod of it."""
        if not self.in_pod:
            return self.api.url + _proxied(service, pod)
        host = f"{pod.host}:{pod.port}" if pod else f"{service.host}:{service.port}"
        return f"{service.scheme}://{host}{service.prefix}"

    def _to(self, service: Service, pod: Pod | None = None) -> Prometheus:
        url = self._url(service, pod)
        if self.in_pod:
            return self._asking(service, url, self._url(service, None))
        # By GET, as POST is the right to create.
        return Prometheus(
            url,
            access=self.api.access,
            credentials=Credentials(tenant=self.credentials.tenant),
            called=self.source(service),
            get_only=True,
            timeout=self.timeout,
            deadline=self.deadline,
        )

    def _asking(self, service: Service, url: str, called: str) -> Prometheus:
        """Ask at an address, with the credentials for the server."""
        return Prometheus(
            url,
            access=_at(service, access_of(self.credentials, url)),
            credentials=Credentials(tenant=self.credentials.tenant),
            called=called,
            timeout=self.timeout,
            deadline=self.deadline,
        )


def _proxied(service: Service, pod: Pod | None) -> str:
    """Give the path of the API server's proxy to a Service, or to a pod of it."""
    kind, name, port = "services", service.name, service.port
    if pod:
        kind, name, port = "pods", pod.name, pod.port
    scheme = "https:" if service.tls else ""
    where = f"namespaces/{quote(service.namespace)}/{kind}/{scheme}{quote(name)}:{port}"
    return f"/api/v1/{where}/proxy{service.prefix}"


def _lets_in(server: Prometheus) -> bool:
    query = "vector(1)"
    try:
        server.transport.ask("api/v1/query", {"query": query}, query=query)
    except AccessDenied:
        return False
    except PrometheusError:  # what is wrong is told when it is asked in earnest
        return True
    return True


def _has_cilium(service: Service, way: _Way) -> bool:
    """Look at a Service, beside others; an error if it does not answer."""
    with way.to(service) as server:
        server.transport.timeout, server.transport.retries = min(way.timeout, _PATIENCE), 0
        return not server.query(_HAS_CILIUM).empty


def _chosen(services: list[Service], way: _Way) -> Prometheus:
    """Take the first of several that has metrics of Cilium, else the first that answers."""
    taken, answering = None, []
    failed: dict[Service, Exception] = {}
    for service in services[:_MOST]:
        try:
            cilium = _has_cilium(service, way)
        except (PrometheusError, SourceError, AttributeError) as problem:
            failed[service] = problem
            continue
        answering.append(service)
        if cilium:
            taken = service
            break
    denying = [each for each, problem in failed.items() if isinstance(problem, AccessDenied)]
    if denying and not taken and way.hands_on_credentials:
        raise SourceError(
            f"{denying[0].text} asks for credentials, which go to a Service only that is named:"
            f" if it is yours, --source {way.source(denying[0])}"
        )
    names = ", ".join(service.shown for service in services[:_MOST])
    if not answering:
        first, why = next(iter(failed.items()))
        raise SourceError(
            f"none of the Services of the cluster answers like a Prometheus: {names}"
            f" ({first.text}: {getattr(why, 'why', why)}); name another one:"
            " --source kubernetes:NAMESPACE/SERVICE:PORT"
        )
    why_it = "which has metrics of Cilium" if taken else "the first that answers; none has Cilium's"
    taken = taken or answering[0]
    source = way.to(taken)
    passed_over = [str(e).partition(";")[0] for e in failed.values() if isinstance(e, SourceError)]
    took = (
        f"Found {names}. Took {taken.text}, {why_it};"
        " --source kubernetes:NAMESPACE/SERVICE:PORT takes another"
    )
    source.found = ". ".join(filter(None, (took, source.found, *passed_over)))
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
        # The right to look at it is not needed.
        if asked.port and asked.via != "port-forward":
            return named
        raise SourceError(
            f"{problem}; or name its port: --source {replace(asked, port=9090).text}"
        ) from None
    found = described(item, port=asked.port)
    if found is None and not asked.port:
        raise SourceError(f"the Service {named.namespace}/{named.name} has no port: name one")
    return found or replace(named, item=item)
