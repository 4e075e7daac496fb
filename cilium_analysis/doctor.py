"""Tries the way to a source step by step, and says at which step it ends and what to change.

Each step asks as little as it can, with short limits. What the reports need of the metrics is the
matter of `cilium_analysis.topics.setup`.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.util import parse_url

from cilium_analysis import frames, targets, ways
from cilium_analysis.connection import connect, credentials_for
from cilium_analysis.errors import (
    AccessDenied,
    CiliumAnalysisError,
    ParameterError,
    PrometheusError,
    SourceError,
)
from cilium_analysis.prometheus import Credentials, Deadline
from cilium_analysis.prometheus.access import access_of
from cilium_analysis.prometheus.credentials import split_url
from cilium_analysis.prometheus.limits import within
from cilium_analysis.queries import Query, count_each, parse_matchers
from cilium_analysis.texts import counted, listed
from cilium_analysis.times import format_duration
from cilium_analysis.topics import setup
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from cilium_analysis.kube import Kubernetes
    from cilium_analysis.prometheus import Prometheus
    from cilium_analysis.prometheus.access import Access

    State = Literal["ok", "failed", "missing"]

#: Each step of the way, and each question about metrics, has so long [s].
_PATIENCE, _ENOUGH = 10.0, 60.0
#: How far back samples are looked for.
_REACHES = tuple(timedelta(days=days) for days in (1, 7, 30, 90, 365))
_AGENT = ("cilium_process_start_time_seconds", "cilium_version", "cilium_endpoint_state")
_HUBBLE = (
    *("hubble_flows_processed_total", "hubble_drop_total", "hubble_http_requests_total"),
    *("hubble_dns_queries_total", "hubble_tcp_flags_total", "hubble_lost_events_total"),
)


@dataclass(frozen=True)
class Step:
    """One step of the way.

    Parameters
    ----------
    name
        What was tried.
    state
        ``failed`` ends the way; what is ``missing`` does not.
    said
        What was seen, in one line.
    """

    name: str
    state: State
    said: str


class _Ends(Exception):
    """The way ends at this step."""


def examine(
    source: str, *, match: str = "", timezone: str = "UTC", kubernetes: Kubernetes | None = None
) -> Iterator[Step]:
    """Try the way to a source; the last step may be one that failed.

    Parameters
    ----------
    source
        As for `cilium_analysis.connect`.
    match
        Label matchers of the user.
    timezone
        IANA name of the reader's zone.
    kubernetes
        The API that is to be read beside it; None if none is.
    """
    source = source.strip()
    try:
        found = connect(source) if not _is_remote(source) else None
    except CiliumAnalysisError as problem:
        yield Step("source", "failed", str(problem))
        return
    if found is not None:
        yield Step("source", "ok", f"{found.name} is a recording: there is no way to try")
        return
    try:
        yield from _to_the_host(source)
        server = _signed_in(source)
        yield from _of_server(server)
        try:
            yield from _of_cilium(server, match, timezone)
        except PrometheusError as problem:
            raise _fails("metrics of Cilium", str(problem)) from None
        if kubernetes is not None:
            yield from _rights(kubernetes)
    except _Ends as end:
        yield end.args[0]


def _is_remote(source: str) -> bool:
    return source.lower().startswith(("http://", "https://")) or ways.is_way(source)


def _fails(name: str, said: str) -> _Ends:
    return _Ends(Step(name, "failed", said))


def _to_the_host(source: str) -> Iterator[Step]:
    """Try name, TCP and TLS."""
    try:
        url, access = _first(source)
    except CiliumAnalysisError as problem:
        raise _fails("source", str(problem)) from None
    parts, proxies = urlsplit(url), access.proxies(url)
    proxy = select_proxy(url, get_environ_proxies(url) if proxies is None else proxies)
    try:
        through = parse_url(proxy or url)
    except ValueError:
        said = "the address of the proxy is not valid: write http_proxy=http://host:port"
        raise _fails("source", said) from None
    host = (through.host or "").strip("[]")
    port = through.port or (443 if through.scheme == "https" else 80)
    yield Step("source", "ok", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
    role = "of the proxy, " if proxy else ""
    try:
        seen = _in_time(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, TimeoutError) as problem:
        why = getattr(problem, "strerror", None) or f"no answer within {_PATIENCE:.0f} s"
        todo = "is it spelt right, and known to the DNS here?"
        if host.endswith((".svc", ".local")):
            todo = "names of a cluster are known in its pods only: try --source kubernetes:"
        raise _fails("name", f"{role}{host} does not resolve ({why}): {todo}") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in seen))
    if addresses != [host]:
        yield Step("name", "ok", f"{role}{host} is {listed(addresses[:3])}")
    try:
        wire = _in_time(lambda: socket.create_connection((host, port), timeout=_PATIENCE))
    except (OSError, TimeoutError) as problem:
        why = getattr(problem, "strerror", None) or f"no answer within {_PATIENCE:.0f} s"
        todo = "is it running, and does a firewall or a network policy let this machine through?"
        raise _fails("TCP", f"{role}no connection to {host}:{port} ({why}): {todo}") from None
    with closing(wire):
        yield Step("TCP", "ok", f"{role}{host}:{port} takes connections")
        if parts.scheme == "https" and not proxy:
            yield _tls(wire, host, access, trusted=_trusted(access, url))


def _first(source: str) -> tuple[str, Access]:
    """Give the address that is asked first, and the way to it."""
    known = Credentials.from_environment()
    if ways.is_way(source):
        return ways.address(source, credentials=known)
    url = split_url(source)[0]
    return url, access_of(credentials_for(source), url)


Found = TypeVar("Found")


def _in_time(work: Callable[[], Found]) -> Found:
    return within(work, Deadline.after(_PATIENCE), give_up=lambda _: None)


def _trusted(access: Access, url: str) -> str:
    """Give the authorities that requests trusts where nothing else is said: file or directory."""
    with requests.Session() as session:
        verify = access.settings(session, url)["verify"]
    return verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH


def _tls(wire: socket.socket, host: str, access: Access, *, trusted: str) -> Step:
    """Shake hands, as the requests will."""
    try:
        context = access.tls.context(trusted)
    except (OSError, ValueError) as problem:
        raise _fails(
            "TLS",
            f"a certificate cannot be read ({_why(problem) or 'it is none'}): look at the files in"
            " CILIUM_ANALYSIS_CA_FILE, CILIUM_ANALYSIS_CLIENT_CERT and _KEY, or in tls_config",
        ) from None
    try:
        with context.wrap_socket(wire, server_hostname=access.tls.server_name or host) as shaken:
            certificate, version = shaken.getpeercert() or {}, shaken.version()
    except ssl.SSLCertVerificationError as problem:
        raise _fails(
            "TLS",
            f"the certificate of {host} is not trusted ({problem.verify_message}): name its"
            " authority in CILIUM_ANALYSIS_CA_FILE, or ca_file of an http_config",
        ) from None
    except (OSError, ValueError) as problem:
        said = _why(problem) or "the handshake broke off"
        todo = "is the port one of TLS, and your own certificate right (CILIUM_ANALYSIS_CLIENT_…)?"
        if "wrong version" in said or "record layer" in said:
            todo = "it answers without TLS: write http://"
        raise _fails("TLS", f"no TLS with {host} ({said}): {todo}") from None
    until = certificate.get("notAfter")
    if not isinstance(until, str):
        return Step("TLS", "ok", f"{version}; the certificate is not checked, as asked for")
    left = timedelta(seconds=ssl.cert_time_to_seconds(until) - datetime.now(UTC).timestamp())
    return Step("TLS", "ok", f"{version}; the certificate is trusted, for {left.days} more days")


def _why(problem: Exception) -> str:
    """Say what OpenSSL or the system says."""
    said = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or ""
    return str(said).replace("_", " ").lower()


def _signed_in(source: str) -> Prometheus:
    """Find the server where it is to be found, and ask it the smallest query."""
    try:
        server = cast("Prometheus", connect(source, timeout=_PATIENCE))
        server.transport.retries = 1
        server.instant("vector(1)", datetime.now(UTC))
    except AccessDenied as problem:
        raise _fails("sign-in", str(problem)) from None
    except (PrometheusError, SourceError, ParameterError) as problem:
        raise _fails("API", str(problem)) from None
    return server


def _of_server(server: Prometheus) -> Iterator[Step]:
    """Say how it was found and signed in to, and what it is."""
    wire = server.transport
    access = wire.access
    signed = wire.auth or access.auth or access.headers or access.tls.cert_file
    yield Step("sign-in", "ok", "credentials are accepted" if signed else "none is asked for")
    build = " ".join(filter(None, map(server.server.get, ("application", "version"))))
    found = f"{server.found}. " if server.found else ""
    yield Step("API", "ok", f"{found}{build or 'a server that does not say what it is'} answers")


def _of_cilium(server: Prometheus, match: str, timezone: str) -> Iterator[Step]:
    """Look for the metrics of Cilium, how far back they reach, and how often they are scraped."""
    server.transport.timeout = _ENOUGH
    now = datetime.now(UTC)
    window = Window.parse("-1h", "now", timezone=timezone, now=now)
    present = _counts(server, (*_AGENT, *_HUBBLE), match, now)
    hubble = [name for name in _HUBBLE if name in present]
    if not present:
        newest = setup.newest(server, window, match=match)
        raise _fails(
            "metrics of Cilium",
            setup.nothing(window, newest, match=match, recorded=False)
            + " Is this the server that scrapes the cluster, and are prometheus.enabled and"
            " hubble.metrics.enabled set (Helm)?",
        )
    found = targets.of(server, window, window.baseline(), match=match)
    if any(name in present for name in _AGENT[:2]):
        # Servers of a pair, and shards that overlap, store a target twice.
        once = found.table[found.table["replica_of"] < 0]
        agents = (once["component"] == "agent") & (once["last"] >= window.start)
        said = f"{counted(int(agents.sum()), 'agent')} in the last hour"
        yield Step("metrics of Cilium", "ok", said)
    else:
        todo = "drops are known from Hubble alone (Helm: prometheus.enabled=true)"
        yield Step("metrics of Cilium", "missing", f"none of the agents: {todo}")
    if hubble:
        yield Step("metrics of Hubble", "ok", listed(hubble))
    else:
        todo = "who sent and received is unknown (Helm: hubble.metrics.enabled)"
        yield Step("metrics of Hubble", "missing", f"none, or nothing happened: {todo}")
    yield _retention(server, tuple(present), match, now)
    if found.slowest:
        said = f"{format_duration(found.slowest)}: onsets are known to within that"
        yield Step("scrape interval", "ok", said)


def _counts(
    server: Prometheus, names: tuple[str, ...], match: str, moment: datetime
) -> dict[str, int]:
    query = Query(count_each(names), "series", "which metrics there are")
    promql = query.render(match=parse_matchers(match), step=timedelta(minutes=1))
    table = frames.tidy(server.instant(promql, moment))
    if "metric" not in table:
        return {}
    return {str(name): int(value) for name, value in table.groupby("metric")["value"].sum().items()}


def _retention(server: Prometheus, names: tuple[str, ...], match: str, now: datetime) -> Step:
    reached = timedelta()
    for reach in _REACHES:
        if not _counts(server, names, match, now - reach):
            least = f"at least {format_duration(reached)}, " if reached else ""
            said = f"{least}less than {format_duration(reach)}, or a gap just then"
            return Step("how far back", "ok" if reached else "missing", said)
        reached = reach
    return Step("how far back", "ok", f"{format_duration(reached)} or more")


def _rights(kubernetes: Kubernetes) -> Iterator[Step]:
    """Try to read one object of each kind."""
    from cilium_analysis.kube.reading import RESOURCES, Unread

    lacking = []
    try:
        with kubernetes.reader() as reader:
            for resource in RESOURCES:
                try:
                    reader.ask(resource.lister(reader.api), resource, limit=1)
                except Unread as problem:
                    if not (problem.is_answer and resource.may_be_absent):
                        lacking.append(str(problem))
    except CiliumAnalysisError as problem:
        raise _fails("Kubernetes", str(problem)) from None
    if lacking:
        hint = "`cilium-analysis check --cluster-role` prints the rights"
        raise _fails("Kubernetes", f"{lacking[0]}; {counted(len(lacking), 'kind')} in all; {hint}")
    names = listed([resource.plural for resource in RESOURCES])
    yield Step("Kubernetes", "ok", f"may read {names}")
