"""The fleet file: names clusters, topics and windows. It is checked before anything runs.

It names credentials, and never holds them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from cilium_analysis import ways
from cilium_analysis.capture import check_topics, check_workloads
from cilium_analysis.connection import SAMPLES, is_stored
from cilium_analysis.errors import ParameterError
from cilium_analysis.lines import Entry, read
from cilium_analysis.prometheus.credentials import PREFIX, Credentials, of_parameters
from cilium_analysis.queries import parse_matchers
from cilium_analysis.storage import Address
from cilium_analysis.times import parse_duration, zone

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,62}", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,62}", re.ASCII)
_OWN = ("name", "source", "credentials", "kubernetes", "kubeconfig")
_REFERENCES = tuple(each.name for each in fields(Credentials))
#: Names for a credential itself, and what to write instead.
_VALUES = {
    "bearer_token": "bearer_token_file or bearer_token_env",
    "token": "bearer_token_file or bearer_token_env",
    "password": "password_file or password_env",
    "authorization": "bearer_token_file or bearer_token_env",
}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster of a fleet: what `cilium_analysis.question.ask` takes, without the times.

    Parameters
    ----------
    name
        Unique in the fleet.
    place
        File and line, to name in errors.
    source
        URL of a server, directory of a bundle, or ``sample``.
    credentials
        References; what they name is read where a report is made.
    topics
        Names of notebooks; none means all.
    baseline, step, match, timezone, kubernetes, kubeconfig, cilium_namespace, workloads
        As for `cilium_analysis.question.ask`.
    """

    name: str
    place: str
    source: str
    credentials: Credentials = field(default_factory=Credentials)
    topics: tuple[str, ...] = ()
    baseline: str = "previous"
    step: str = ""
    match: str = ""
    timezone: str = "UTC"
    kubernetes: str = ""
    kubeconfig: str = ""
    cilium_namespace: str = "kube-system"
    workloads: str = ""


#: What may be said for all clusters.
_SETTINGS = tuple(each.name for each in fields(Cluster) if each.name not in (*_OWN, "place"))


@dataclass(frozen=True, kw_only=True)
class Span:
    """The time to report on: one window, or many if it is cut into pieces.

    Parameters
    ----------
    place
        File and line, to name in errors.
    last
        A duration up to now, instead of ``start`` and ``end``.
    start, end
        As for `cilium_analysis.Window.parse`.
    every
        Length of a piece; empty leaves it whole.
    timezone
        Of times without an offset, and of the days that pieces of whole days are.
    """

    place: str
    last: str = ""
    start: str = ""
    end: str = "now"
    every: str = ""
    timezone: str = "UTC"


@dataclass(frozen=True)
class Fleet:
    """What a fleet file says.

    Parameters
    ----------
    name
        Of the file without its suffix.
    clusters
        At least one.
    span
        The time to report on, the same for all of them.
    """

    name: str
    clusters: tuple[Cluster, ...]
    span: Span


def read_fleet(file: Path) -> Fleet:
    """Read a fleet file.

    Parameters
    ----------
    file
        YAML with ``clusters``, ``window`` and perhaps ``defaults``. Directories of bundles are
        relative to it.

    Raises
    ------
    ParameterError
        If anything in it is not valid; the message names the line, and never a credential.
    """
    if not _FILE_NAME.fullmatch(file.stem):
        raise ParameterError(
            f"a fleet has the name of its file, and {file.stem!r} is not a name for a page:"
            " use letters, digits, - and _"
        )
    root = read(file, needs="`window` and `clusters`")
    parts = root.mapping("the fleet file", known=("clusters", "window", "defaults"))
    for needed in ("window", "clusters"):
        if needed not in parts:
            raise root.mistake(f"the fleet file has no `{needed}`")
    defaults: dict[str, Entry] = {}
    if "defaults" in parts:
        defaults = parts["defaults"].mapping("defaults", known=_SETTINGS)
        _check(defaults)
    clusters = tuple(_cluster(entry, defaults) for entry in parts["clusters"].items("clusters"))
    places: dict[str, str] = {}
    for cluster in clusters:
        if cluster.name in places:
            raise ParameterError(
                f"{cluster.place}: the name {cluster.name!r} is taken, by {places[cluster.name]}"
            )
        places[cluster.name] = cluster.place
    return Fleet(file.stem, clusters, _span(parts["window"], defaults))


def _check(found: Mapping[str, Entry]) -> None:
    """Check the settings that can be checked without asking a server."""
    if "topics" in found:
        with found["topics"].named():
            check_topics(found["topics"].texts("topics"))
    checks = {"match": parse_matchers, "timezone": zone, "step": parse_duration}
    for name, check in checks.items():
        if name in found:
            with found[name].named():
                check(found[name].text(name))


def _cluster(entry: Entry, defaults: Mapping[str, Entry]) -> Cluster:
    own = entry.mapping("a cluster", known=(*_OWN, *_SETTINGS))
    _check(own)
    for needed in ("name", "source"):
        if needed not in own:
            raise entry.mistake(f"the cluster has no `{needed}`")
    name = own["name"].text("name")
    if not _NAME.fullmatch(name):
        raise own["name"].mistake(f"{name!r} is no name: use letters, digits, -, _ and .")
    if "kubeconfig" in own and "kubernetes" not in own:
        raise own["kubeconfig"].mistake("a kubeconfig needs a context: add `kubernetes: …`")
    source = _source(own["source"])
    if "kubernetes" in own and not is_url(source):
        raise own["kubernetes"].mistake("a bundle brings its own Kubernetes objects: leave it out")
    found = {**defaults, **own}
    texts = {
        key: found[key].text(key)
        for key in ("kubernetes", "kubeconfig", *_SETTINGS)
        if key in found and key != "topics"
    }
    topics = found["topics"].texts("topics") if "topics" in found else ()
    with found.get("workloads", entry).named():
        check_workloads(topics, texts.get("workloads", ""))
    return Cluster(
        name=name,
        place=entry.place,
        source=source,
        credentials=_credentials(own["credentials"]) if "credentials" in own else Credentials(),
        topics=topics,
        **texts,
    )


def is_url(source: str) -> bool:
    """Tell the address of a server, or a way to one, from a bundle."""
    return source.lower().startswith(("http:", "https:")) or ways.is_way(source)


def _source(entry: Entry) -> str:
    """Give the URL of a server or the path of a bundle; refuse what could be a credential."""
    text = entry.text("source")
    if ways.is_way(text):
        with entry.named():
            ways.check(text)
        return text
    if is_stored(text):
        with entry.named():
            return str(Address.parse(text))
    if "://" not in text and not is_url(text):
        path = text if text in SAMPLES else str((entry.file.parent / text).absolute())
        if text not in SAMPLES and not Path(path).is_dir():
            raise entry.mistake("the source is no URL (http://…), no bundle, and no sample")
        return path
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if "@" in text:  # not only where a parser finds it: a password may hold a slash
        raise entry.mistake(
            "the source has credentials in it, which a fleet file does not hold:"
            " name them in `credentials`"
        )
    if not sound or any(char in text for char in "# "):
        raise entry.mistake("the source is not the URL of a server: write http://host:9090")
    if any(of_parameters(parse_qsl(parts.query))):
        raise entry.mistake(
            "the query part of the source has a credential in it, which a fleet file does not"
            " hold: name it in `credentials`"
        )
    return text


def _credentials(entry: Entry) -> Credentials:
    """Read references; a mistake never shows what was written, which may be the secret itself."""
    found = entry.mapping("credentials", known=(*_REFERENCES, *_VALUES))
    for name, instead in _VALUES.items():
        if name in found:
            raise found[name].mistake(
                f"a fleet file holds no credentials: write {instead} in place of {name}"
            )
    values = {name: value.text(name) for name, value in found.items()}
    for name, value in values.items():
        _check_reference(found[name], name, value)
    _check_together(entry, values)
    return Credentials(**values)


def _check_reference(entry: Entry, name: str, value: str) -> None:
    if name.endswith("_env") and not re.fullmatch(rf"{PREFIX}\w+", value, re.ASCII):
        raise entry.mistake(
            f"{name} takes the name of a variable that begins with {PREFIX}:"
            " notebooks do not see those"
        )
    is_file = name.endswith("_file") or name.startswith("client_") or name == "http_config"
    if is_file and not Path(value).is_absolute():
        raise entry.mistake(f"{name} takes the path of a file, from the root: /etc/…")


def _check_together(entry: Entry, values: Mapping[str, str]) -> None:
    given = set(values)
    if "http_config" in given and given - {"http_config", "tenant"}:
        raise entry.mistake("http_config says how to sign in: leave all but tenant out beside it")
    token = given & {"bearer_token_file", "bearer_token_env", "bearer_token_command", "sign_in"}
    password = given & {"password_file", "password_env"}
    if len(token) > 1 or len(password) > 1:
        raise entry.mistake("a credential comes from one place: a file, a variable or a command")
    if token and (password or "username" in given):
        raise entry.mistake("there is a bearer token and a user: a server takes one of the two")
    if bool(password) != ("username" in given):
        raise entry.mistake("username needs password_file or password_env, and they need it")
    if "client_key" in given and "client_cert" not in given:
        raise entry.mistake("client_key needs client_cert")


def _span(entry: Entry, defaults: Mapping[str, Entry]) -> Span:
    found = entry.mapping("window", known=("last", "start", "end", "every"))
    if ("last" in found) == ("start" in found) or ("last" in found and "end" in found):
        raise entry.mistake("a window has `last`, such as 1h, or else `start` and perhaps `end`")
    for name in ("last", "every"):
        if name in found:
            with found[name].named():
                if not parse_duration(found[name].text(name)):
                    raise ParameterError(f"{name} is zero: write it as 1h or 1d")
    texts = {name: value.text(name) for name, value in found.items()}
    if "timezone" in defaults:
        texts["timezone"] = defaults["timezone"].text("timezone")
    return Span(place=entry.place, **texts)
