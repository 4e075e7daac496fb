"""Ways from a run to a Grafana: links that open a query in Explore, and findings as annotations.

How Grafana is asked for numbers is in `cilium_analysis.ways.grafana`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from cilium_analysis.errors import AccessDenied, CiliumAnalysisError, ParameterError
from cilium_analysis.findings import Severity
from cilium_analysis.prometheus.access import Access, Bearer, Tls
from cilium_analysis.prometheus.credentials import PREFIX, Credentials, Secret
from cilium_analysis.prometheus.failures import RAISED, Broken
from cilium_analysis.report.verdict import called
from cilium_analysis.texts import clipped, counted, escaped, line
from cilium_analysis.ways import grafana as ways

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Variables for a token of a service account: a file that holds it, or the token.
TOKEN_FILE, TOKEN = f"{PREFIX}GRAFANA_TOKEN_FILE", f"{PREFIX}GRAFANA_TOKEN"
#: Annotations of a run at most; patience for one request, and for all of them [s].
MOST, TIMEOUT, PATIENCE = 50, 10.0, 60.0
#: Tag of all annotations of ours; by it and the tag of the finding they are found again.
TAG = "cilium-analysis"
_LONGEST_TAG, _LONGEST_TEXT = 90, 1_000
_WHERE = "write grafana:https://grafana.example.org"


@dataclass(frozen=True)
class Explore:
    """A Grafana whose Explore shows a query.

    Parameters
    ----------
    url
        Its address.
    datasource
        Name or UID of the data source; its default one if empty.
    """

    url: str
    datasource: str = ""

    @classmethod
    def parse(cls, text: str, *, source: str = "") -> Explore:
        """Read an address, with ``?datasource=NAME`` or not.

        Parameters
        ----------
        text
            The address.
        source
            Name of the source of a run: one behind the same Grafana names the data source.

        Raises
        ------
        ParameterError
            If it is none; a credential is never shown.
        """
        given = ways.Source.parse(f"grafana:{text.removeprefix('grafana:')}")
        wanted = given.wanted
        if not wanted and source.startswith("grafana:"):
            behind = ways.Source.parse(source)
            wanted = behind.wanted if behind.url == given.url else ""
        return cls(given.url, wanted)

    def link(self, query: str, window: Mapping[str, Any]) -> str:
        """Give the address that opens a query in a window.

        Parameters
        ----------
        query
            PromQL.
        window
            As ``run.json`` has it.
        """
        asked: dict[str, Any] = {"refId": "A", "expr": query, "range": True, "instant": False}
        span = {name: str(_milliseconds(window[key])) for name, key in _SPAN.items()}
        pane: dict[str, Any] = {"queries": [asked], "range": span}
        if self.datasource:
            pane["datasource"] = self.datasource
            asked["datasource"] = {"type": "prometheus", "uid": self.datasource}
        panes = json.dumps({"a": pane}, separators=(",", ":"))
        return f"{self.url}/explore?schemaVersion=1&panes={quote(panes, safe='')}"


_SPAN = {"from": "start", "to": "end"}


def _milliseconds(stored: str) -> int:
    return round(datetime.fromisoformat(stored).timestamp() * 1000)


@dataclass(frozen=True)
class Annotations:
    """A Grafana that takes annotations, and how requests to it are signed."""

    url: str
    access: Access

    @classmethod
    def parse(cls, text: str) -> Annotations:
        """Read ``grafana:URL``; the token is one of the environment.

        Raises
        ------
        ParameterError
            If it is no such place, or there is no token; a credential is never shown.
        """
        url = cls.address(text)
        file = os.environ.get(TOKEN_FILE, "")
        if not file and not os.environ.get(TOKEN):
            raise ParameterError(
                f"to annotate, a token of a service account of Grafana is needed: set {TOKEN_FILE}"
            )
        authorities = Tls(ca_file=Credentials.from_environment().ca_file)
        return cls(url, Access(auth=Bearer(Secret(file, TOKEN)), tls=authorities))

    @staticmethod
    def address(text: str) -> str:
        """Give the URL of ``grafana:URL``; errors as of `parse`."""
        if not text.startswith("grafana:"):
            raise ParameterError(f"--annotate takes a Grafana: {_WHERE}")
        given = ways.Source.parse(text)
        if given.wanted:
            raise ParameterError(f"--annotate takes no data source: {_WHERE}")
        return given.url


def annotate(
    place: Annotations,
    run: Mapping[str, Any],
    found: Mapping[str, Any],
    *,
    at: Severity | None,
    page: str = "",
    tell: Callable[[str], None],
) -> int:
    """Write the findings of a run as annotations; those of an earlier run on the same are updated.

    Parameters
    ----------
    place
        Where they go.
    run, found
        As ``run.json`` and ``findings.json`` have them.
    at
        Least severity; none is written if None.
    page
        URL of the report.
    tell
        Takes a line on what was not taken. Nothing is raised.

    Returns
    -------
    int
        How many were written.
    """
    rows = [
        row
        for row in found["findings"]
        if at is not None and Severity[row["severity"].upper()] >= at
    ]
    made: list[dict[str, Any]] = []
    until = time.monotonic() + PATIENCE
    try:
        with requests.Session() as session:
            for row in rows[:MOST]:
                if time.monotonic() > until:
                    break
                annotation = _annotation(row, run, page)
                window = run["window"]
                # An earlier window has seen its beginning, or a later one its end.
                begun_before = bool(row.get("begun_before")) or row["start"] <= window["start"]
                goes_on = bool(row.get("ongoing")) or row["end"] >= window["end"]
                _put(place, session, annotation, open_ends=(begun_before, goes_on), made=made)
                made.append(annotation)
        why = f"no more than {MOST} are written" if len(made) == MOST else "it is too slow"
    except CiliumAnalysisError as problem:
        why = str(problem)
    if len(made) < len(rows):
        tell(f"{place.url} has {len(made)} of {counted(len(rows), 'annotation')}: {why}")
    return len(made)


def _annotation(row: Mapping[str, Any], run: Mapping[str, Any], page: str) -> dict[str, Any]:
    """Give an annotation as Grafana's HTTP API takes it, which shows the text as HTML."""
    # What and where. The number behind an id is that of one run, by rank.
    what = row["id"].partition("-")[0]
    tags = {"finding": what, "cluster": called(run), "severity": row["severity"]}
    tags |= {"kind": row["kind"]}
    texts = [row["title"], row["next_step"].replace("`", "'"), *([page] if page else [])]
    return {
        "time": _milliseconds(row["start"]),
        "timeEnd": _milliseconds(row["end"]),
        "tags": [TAG, *(_tag(name, value) for name, value in tags.items())],
        "text": "\n".join(escaped(clipped(line(text), _LONGEST_TEXT)) for text in texts if text),
    }


def _tag(name: str, value: str) -> str:
    return f"{name}:{clipped(line(str(value)), _LONGEST_TAG)}"


def _put(
    place: Annotations,
    session: requests.Session,
    annotation: dict[str, Any],
    *,
    open_ends: tuple[bool, bool],
    made: Sequence[Mapping[str, Any]],
) -> None:
    """Write one annotation, in the place of that of an earlier run; `made` are those of this run.

    It stays as long as that one at a start or an end at which this run saw no more of it.

    Another run has the same finding if it is about the same and overlaps it, whatever its window.
    """
    path = "api/annotations"
    start, end = int(annotation["time"]), int(annotation["timeEnd"])
    named = [("tags", tag) for tag in annotation["tags"][:3]]
    # Grafana gives all that overlap these times.
    params = [("from", start), ("to", end), *named, ("limit", 10)]
    own = {(one["tags"][1], one["time"], one["timeEnd"]) for one in made}
    earlier = [
        known
        for known in _asked(place, session, "GET", path, params=params)
        if isinstance(known, dict)
        and isinstance(known.get("id"), int)
        and (annotation["tags"][1], known.get("time"), known.get("timeEnd")) not in own
    ]
    if not earlier:
        _asked(place, session, "POST", path, json=annotation)
        return

    def overlap(known: Mapping[str, Any]) -> int:
        first, last = (_number(known.get(n), d) for n, d in (("time", start), ("timeEnd", end)))
        return min(last, end) - max(first, start)

    same = max(earlier, key=overlap)
    first, last = (_number(same.get(n), d) for n, d in (("time", start), ("timeEnd", end)))
    begun_before, goes_on = open_ends
    annotation["time"] = min(start, first) if begun_before else start
    annotation["timeEnd"] = max(end, last) if goes_on else end
    _asked(place, session, "PUT", f"{path}/{same['id']}", json=annotation)


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and value > 0 else default


def _asked(
    place: Annotations, session: requests.Session, method: str, path: str, **more: Any
) -> Sequence[Any]:
    """Send a request; give the list that it answers. No error holds a credential."""
    url = f"{place.url}/{path}"
    access = place.access
    try:
        reply = session.request(
            method,
            url,
            auth=access.auth,
            timeout=TIMEOUT,
            allow_redirects=False,
            **access.settings(session, place.url),
            **more,
        )
        document = reply.json() if reply.status_code == 200 else None
    except requests.JSONDecodeError:
        document = None
    except RAISED as problem:
        raise Broken(place.url, TIMEOUT).error(problem, "")[0] from None
    if reply.status_code in (401, 403):
        raise AccessDenied(
            f"it denies access ({reply.status_code}): the token of {TOKEN_FILE} needs"
            " annotations:read, annotations:create and annotations:write for organization"
            " annotations"
        )
    if document is None:
        raise CiliumAnalysisError(f"it did not answer like Grafana ({reply.status_code})")
    return document if isinstance(document, list) else []
