"""Reads the way to a server from a file in the form of Prometheus' ``http_config``.

That is the form of promtool's ``--http.config.file`` (Prometheus, docs/configuration/promtool.md;
prometheus/common, config/http_config.go). The file may hold secrets: no message shows what is
written in it, only where.
"""

from __future__ import annotations

import atexit
import re
import shutil
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cilium_analysis import lines
from cilium_analysis.errors import ParameterError
from cilium_analysis.prometheus.access import Access, Basic, Bearer, Tls
from cilium_analysis.prometheus.credentials import Secret
from cilium_analysis.prometheus.tokens import ClientCredentials, TokenEndpoint
from cilium_analysis.scratch import scratch

if TYPE_CHECKING:
    from pathlib import Path

    from requests.auth import AuthBase

    from cilium_analysis.lines import Entry

_SIGN_IN = ("basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file")
_PROXY = ("proxy_url", "no_proxy", "proxy_from_environment")
#: They have no effect here: redirects are never followed, and HTTP/2 is not spoken.
_WITHOUT_EFFECT = ("follow_redirects", "enable_http2")
_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
#: Headers that the request itself needs.
_RESERVED = frozenset(
    (
        *("accept", "accept-encoding", "authorization", "connection", "content-encoding"),
        *("content-length", "content-type", "cookie", "expect", "host", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    )
)
#: Texts that HTTP allows as a name (RFC 9110, section 5.6.2).
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def read(file: Path) -> Access:
    """Read the way to a server.

    Parameters
    ----------
    file
        YAML. Paths in it are relative to its directory.

    Raises
    ------
    ParameterError
        If anything in it is not valid; the message names the line.
    """
    root = lines.read(file, needs="`authorization`, `basic_auth` or `oauth2`")
    known = (*_SIGN_IN, *_PROXY, *_WITHOUT_EFFECT, "tls_config", "http_headers")
    parts = root.mapping("an http_config", known=known)
    ways = [name for name in parts if name in _SIGN_IN]
    if len(ways) > 1:
        raise parts[ways[1]].mistake(f"there are {' and '.join(ways)}: a server takes one of them")
    for name in ("proxy_from_environment", *_WITHOUT_EFFECT):
        if name in parts:
            parts[name].flag(name)
    tls = _tls(parts["tls_config"]) if "tls_config" in parts else Tls()
    return Access(
        auth=_auth(ways[0], parts[ways[0]]) if ways else None,
        headers=_headers(parts["http_headers"]) if "http_headers" in parts else {},
        tls=tls,
        proxy=_proxy(parts),
        no_proxy=parts["no_proxy"].text("no_proxy") if "no_proxy" in parts else "",
    )


def _auth(way: str, entry: Entry) -> AuthBase:
    if way == "bearer_token":
        return Bearer(Secret(value=entry.text(way)))
    if way == "bearer_token_file":
        return Bearer(Secret(_path(entry, way)))
    if way == "basic_auth":
        found = entry.mapping(way, known=_with_files("username", "password"))
        return Basic(_secret(entry, found, "username"), _secret(entry, found, "password"))
    if way == "authorization":
        found = entry.mapping(way, known=("type", *_with_files("credentials")))
        scheme = found["type"].text("type") if "type" in found else "Bearer"
        if scheme.lower() == "basic" or not _NAME.fullmatch(scheme):
            raise found["type"].mistake("this is no type of an authorization: see basic_auth")
        return Bearer(_secret(entry, found, "credentials"), scheme)
    return _oauth2(entry)


def _oauth2(entry: Entry) -> AuthBase:
    known = ("client_id", *_with_files("client_secret"), "scopes", "token_url", "endpoint_params")
    found = entry.mapping("oauth2", known=(*known, "tls_config", *_PROXY))
    for needed in ("client_id", "token_url"):
        if needed not in found:
            raise entry.mistake(f"oauth2 has no `{needed}`")
    url = found["token_url"].text("token_url")
    _check_url(found["token_url"], url, "token_url")
    if urlsplit(url).username is not None:
        raise found["token_url"].mistake(
            "token_url holds a name and perhaps a password: write them as client_id, client_secret"
        )
    parameters = {}
    if "endpoint_params" in found:
        node = found["endpoint_params"]
        parameters = {name: e.text(name) for name, e in node.any_mapping("endpoint_params").items()}
    if "scopes" in found:
        parameters["scope"] = " ".join(found["scopes"].texts("scopes"))
    tls = _tls(found["tls_config"]) if "tls_config" in found else Tls()
    if tls.pool():
        raise found["tls_config"].mistake(
            "of a token endpoint server_name, min_version and max_version cannot be set"
        )
    settings = tls.settings
    if proxy := _proxy(found):
        no_proxy = found["no_proxy"].text("no_proxy") if "no_proxy" in found else ""
        settings["proxies"] = Access(proxy=proxy, no_proxy=no_proxy).proxies(url)
    secret = _secret(entry, found, "client_secret")
    client = found["client_id"].text("client_id")
    return ClientCredentials(TokenEndpoint(url, client, secret, parameters, settings))


def _tls(entry: Entry) -> Tls:
    names = ("ca", "ca_file", "cert", "cert_file", "key", "key_file", "server_name")
    more = ("insecure_skip_verify", "min_version", "max_version")
    found = entry.mapping("tls_config", known=(*names, *more))
    for name in ("cert", "key"):
        if name in found:
            raise found[name].mistake(f"write it into a file, and name that as {name}_file")
    if "ca" in found and "ca_file" in found:
        raise found["ca"].mistake("there are ca and ca_file: name one of the two")
    if "key_file" in found and "cert_file" not in found:
        raise found["key_file"].mistake("key_file needs cert_file")
    files = {n: _path(found[n], n) for n in ("ca_file", "cert_file", "key_file") if n in found}
    if "ca" in found:
        with found["ca"].named():
            files["ca_file"] = _written(found["ca"].block("ca"))
    skipped = "insecure_skip_verify" in found
    return Tls(
        **files,
        server_name=found["server_name"].text("server_name") if "server_name" in found else "",
        verify=not (skipped and found["insecure_skip_verify"].flag("insecure_skip_verify")),
        lowest=_version(found, "min_version"),
        highest=_version(found, "max_version"),
    )


@lru_cache
def _written(authorities: str) -> str:
    """Write certificates into a file of this process: requests takes files only."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError, TypeError):
        raise ParameterError("`ca` holds no certificates in PEM") from None
    folder = scratch()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "ca.pem"
    file.write_text(authorities)
    return str(file)


def _version(found: dict[str, Entry], name: str) -> ssl.TLSVersion | None:
    if name not in found:
        return None
    text = found[name].text(name)
    if text not in _VERSIONS:
        raise found[name].mistake(f"{name} is one of {', '.join(sorted(_VERSIONS))}")
    return _VERSIONS[text]


def _headers(entry: Entry) -> dict[str, tuple[Secret, ...]]:
    made = {}
    for name, each in entry.any_mapping("http_headers").items():
        if not _NAME.fullmatch(name) or name.lower() in _RESERVED:
            raise each.mistake("this is no header that can be added to a request")
        found = each.mapping("a header", known=("values", "secrets", "files"))
        values = [
            Secret(value=text)
            for kind in ("values", "secrets")
            if kind in found
            for text in found[kind].texts(kind)
        ]
        if "files" in found:
            values += [Secret(_from(each, text)) for text in found["files"].texts("files")]
        made[name] = tuple(values)
    return made


def _with_files(*names: str) -> tuple[str, ...]:
    return tuple(each for name in names for each in (name, f"{name}_file"))


def _secret(entry: Entry, found: dict[str, Entry], name: str) -> Secret:
    """Give where a secret is: in the file itself, or in one that it names."""
    file = f"{name}_file"
    if name in found and file in found:
        raise found[file].mistake(f"there are {name} and {file}: name one of the two")
    if file in found:
        return Secret(_path(found[file], file))
    if name not in found:
        raise entry.mistake(f"there is no {name}, and no {file}")
    return Secret(value=found[name].text(name))


def _path(entry: Entry, name: str) -> str:
    return _from(entry, entry.text(name))


def _from(entry: Entry, path: str) -> str:
    return str(entry.file.parent.absolute() / path)


def _proxy(parts: dict[str, Entry]) -> str:
    if "proxy_url" not in parts:
        return ""
    url = parts["proxy_url"].text("proxy_url")
    _check_url(parts["proxy_url"], url, "proxy_url")
    return url


def _check_url(entry: Entry, url: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise entry.mistake(f"{name} is not a URL: write https://host/path")
