"""Prometheus behind a Grafana: asked through Grafana's proxy of its data sources.

A token of one of Grafana's service accounts signs the requests, as it does for the list of data
sources (Grafana, "Data source HTTP API").
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

from cilium_analysis.errors import AccessDenied, ParameterError, SourceError, suggest
from cilium_analysis.prometheus import Credentials, Prometheus
from cilium_analysis.prometheus.access import Access, access_of
from cilium_analysis.prometheus.transport import Transport
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.prometheus import Deadline

_FORM = "write grafana:https://grafana.example.org, or grafana:https://…?datasource=NAME"
#: Types of data sources that answer as Prometheus does (Grafana's own, and of managed services).
_TYPES = ("prometheus", "grafana-amazonprometheus-datasource", "grafana-azureprometheus-datasource")
_SHOWN = 60


@dataclass(frozen=True)
class Source:
    """What a source says: Grafana's address, and the name or UID of a data source, if any."""

    url: str
    wanted: str = ""

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read ``grafana:URL?datasource=NAME``.

        Raises
        ------
        ParameterError
            If it is something else; a credential is never shown.
        """
        _, _, address = text.strip().partition(":")
        try:
            parts = urlsplit(address)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound or "@" in parts.netloc or parts.fragment:
            raise ParameterError(f"this is not the address of a Grafana: {_FORM}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        wanted = options.pop("datasource", "")
        for name in options:
            raise ParameterError(f"a grafana: source has an unknown {name!r}: {_FORM}")
        return cls(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", wanted)


def check(source: str) -> None:
    """Check how a source is written."""
    Source.parse(source)


def address(source: str, *, credentials: Credentials) -> tuple[str, Access]:
    """Give the address of Grafana, as `cilium_analysis.ways.address`."""
    url = Source.parse(source).url
    return url, access_of(credentials, url)


def reach(
    source: str, *, credentials: Credentials, timeout: float, deadline: Deadline
) -> Prometheus:
    """Connect to a data source of a Grafana, as `cilium_analysis.ways.reach`."""
    asked = Source.parse(source)
    access = access_of(credentials, asked.url)
    known = [
        each
        for each in _listed(asked.url, access, timeout=timeout, deadline=deadline)
        if each.get("type") in _TYPES and each.get("uid")
    ]
    names = [str(each.get("name")) for each in known]
    if not known:
        raise SourceError(f"{asked.url} has no data source of the type prometheus")
    if asked.wanted:
        fitting = [e for e in known if asked.wanted in (e.get("name"), e.get("uid"))]
        if not fitting:
            hint = suggest(clipped(line(asked.wanted), _SHOWN), names)
            raise SourceError(f"{asked.url} has no such data source of Prometheus: {hint}")
    else:
        fitting = [e for e in known if e.get("isDefault")] or known[:1]
    taken = fitting[0]
    uid = str(taken["uid"])
    found = Prometheus(
        f"{asked.url}/api/datasources/proxy/uid/{quote(uid, safe='')}",
        access=access,
        credentials=Credentials(tenant=credentials.tenant),
        called=f"grafana:{asked.url}?datasource={quote(uid, safe='')}",
        timeout=timeout,
        deadline=deadline,
    )
    if not asked.wanted:
        listed = ", ".join(clipped(line(name), _SHOWN) for name in names)
        found.found = (
            f"Grafana has {listed}. Took {clipped(line(str(taken.get('name'))), _SHOWN)}"
            f"{', its default' if taken.get('isDefault') else ''}; …?datasource=NAME takes another"
        )
    return found


def _listed(
    url: str, access: Access, *, timeout: float, deadline: Deadline
) -> list[Mapping[str, object]]:
    """List the data sources."""
    wire = Transport(f"{url}/", way=access, timeout=min(timeout, 30.0), deadline=deadline)
    with closing(wire):
        status, found = wire.document("api/datasources")
    if status in (401, 403):
        raise AccessDenied(
            f"{url} denies access to its data sources ({status}): give a token of a"
            " service account that may read data sources, see CILIUM_ANALYSIS_BEARER_TOKEN_FILE"
        )
    if not isinstance(found, list):
        raise SourceError(
            f"{url} did not answer like Grafana ({status}): is this its address, with"
            " its path prefix?"
        )
    return [each for each in found if isinstance(each, dict)]
