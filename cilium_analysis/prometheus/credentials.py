"""Credentials: where they come from, and how no message shows them.

Values are read when a request is sent. A server or a proxy may quote what it was sent, so that
texts are masked before anybody sees them. How requests are signed is in `access`.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from requests.auth import AuthBase, HTTPBasicAuth

from cilium_analysis.errors import AccessDenied, SourceError
from cilium_analysis.texts import bare_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from requests import PreparedRequest

PREFIX = "CILIUM_ANALYSIS_"
SHOWN = "…"
#: Shorter secrets are not masked: they would be found in ordinary words.
_SHORTEST = 4
#: A secret that is cut off at the end of a text is masked from this length on.
_TOLD = 4
#: Fields of a reply by which it is read.
_MEANT_FOR_US = ("status", "resultType")
#: Fields of a reply whose lists are series.
_SERIES = ("data", "result")
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
#: Names of an address' parameters that hold a credential, and the form of a credential.
_CONFIDENTIAL = re.compile(
    r"auth|token|secret|passw|pwd|credential|session|jwt|bearer|signature|(^|[^a-z])(sig|api|key|pass)"
    r"|key$",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/=_.~-]{20,}")


@dataclass(frozen=True)
class Credentials:
    """References to credentials: names of files and of environment variables, never values.

    Parameters
    ----------
    bearer_token_file, bearer_token_env
        Source of a bearer token; a file is read again for every request, so that a token may
        rotate.
    username, password_file, password_env
        For basic authentication.
    client_cert, client_key
        Files for mutual TLS.
    ca_file
        Certificates of the authorities to trust instead of the usual ones.
    tenant
        Sent as ``X-Scope-OrgID`` (Mimir, Cortex, Loki's habit).
    bearer_token_command
        Prints a bearer token; split into words as a shell does, and run without a shell. It is
        run again when its token expires, or is refused.
    sign_in
        How a managed service wants it: ``aws``, ``google`` or ``azure``; by the credentials that
        the libraries of these find.
    http_config
        File in the form of Prometheus' ``http_config``, as promtool takes it: says all of the
        above but the tenant.
    """

    bearer_token_file: str = ""
    bearer_token_env: str = ""
    username: str = ""
    password_file: str = ""
    password_env: str = ""
    client_cert: str = ""
    client_key: str = ""
    ca_file: str = ""
    tenant: str = ""
    bearer_token_command: str = ""
    sign_in: str = ""
    http_config: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Credentials:
        """Take the references from variables named ``CILIUM_ANALYSIS_…``.

        So a notebook or a scheduled run needs no parameter for them: ``BEARER_TOKEN_FILE``,
        ``BEARER_TOKEN``, ``USERNAME``, ``PASSWORD_FILE``, ``PASSWORD``, ``CLIENT_CERT``,
        ``CLIENT_KEY``, ``CA_FILE``, ``TENANT``, ``BEARER_TOKEN_COMMAND``, ``SIGN_IN``,
        ``HTTP_CONFIG``, each behind the prefix.

        Parameters
        ----------
        environment
            Instead of that of the process.
        """
        found = os.environ if environment is None else environment
        values = {}
        for one in fields(cls):
            variable = PREFIX + one.name.removesuffix("_env").upper()
            value = found.get(variable, "")
            values[one.name] = variable if value and one.name.endswith("_env") else value
        return cls(**values)

    @property
    def signs(self) -> bool:
        """Whether anything here signs requests."""
        names = ("bearer_token_file", "bearer_token_env", "bearer_token_command", "username")
        more = ("password_file", "password_env", "sign_in", "http_config")
        return any(getattr(self, name) for name in (*names, *more))

    @property
    def cert(self) -> str | tuple[str, str] | None:
        """Certificate and key for mutual TLS, as requests takes them."""
        if self.client_cert and self.client_key:
            return (self.client_cert, self.client_key)
        return self.client_cert or None


@dataclass(frozen=True)
class Secret:
    """Where a secret is; it is read whenever it is needed, so that it may rotate.

    Parameters
    ----------
    file, variable
        A file, or else a variable of the environment.
    value
        Or the secret itself, of a file that is all secret.
    """

    file: str = ""
    variable: str = ""
    value: str = field(default="", repr=False)

    def read(self) -> str:
        """Give the secret.

        Raises
        ------
        AccessDenied
            If it cannot be read; the message never holds it.
        """
        if self.value:
            return self.value
        if not self.file:
            if self.variable and not os.environ.get(self.variable):
                name = self.variable
                raise AccessDenied(f"no credentials in the environment variable {name}: set it")
            return os.environ.get(self.variable, "")
        try:
            return Path(self.file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "not text"
            raise AccessDenied(f"cannot read the credentials in {self.file}: {reason}") from None


def basic(username: str, password: str) -> AuthBase:
    """Return what signs a request by basic authentication, in UTF-8 (RFC 7617)."""
    return HTTPBasicAuth(username.encode(), password.encode())


def split_url(url: str) -> tuple[str, AuthBase | None]:
    """Separate the user information from a URL.

    Returns
    -------
    tuple
        The URL without it, ending in a slash, and what signs requests with it, if there is any.

    Raises
    ------
    SourceError
        If this is no http(s) URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SourceError("not a URL of a server: write http://host:9090") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SourceError("not a URL of a server: write http://host:9090")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    clean = urlunsplit(
        (parts.scheme, host + (f":{port}" if port else ""), parts.path.rstrip("/") + "/", "", "")
    )
    if parts.username is None:
        return clean, None
    return clean, basic(unquote(parts.username), unquote(parts.password or ""))


def parameters_of(url: str) -> tuple[tuple[str, str], ...]:
    """Return the query part of a URL that `split_url` accepts: names and values."""
    return tuple(parse_qsl(urlsplit(url).query, keep_blank_values=True))


class Anonymous(AuthBase):
    """Signs nothing. Without it, requests would read ``~/.netrc``."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Return the request as it is."""
        return request


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets, however they are escaped in it.

    Parameters
    ----------
    text
        Perhaps cut off within a secret.
    secrets
        As of `sent` and `of_proxies`.
    """
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    for form in forms:
        text = text.replace(form, SHOWN)
    for form in forms:
        begun = next((n for n in range(len(form) - 1, _TOLD, -1) if text.endswith(form[:n])), 0)
        text = text[: len(text) - begun] + SHOWN * bool(begun)
    return text


def masked_document(document: Mapping[str, object], secrets: Iterable[str]) -> dict[str, object]:
    """Return a reply without secrets outside of its series."""
    kept = tuple(secrets)
    return {k: _masked_value(k, v, kept) if kept else v for k, v in document.items()}


def _masked_value(key: str, value: object, secrets: tuple[str, ...]) -> object:
    if isinstance(value, str):
        return value if key in _MEANT_FOR_US else masked(value, secrets)
    # Series are as they are, and many.
    below = key not in _SERIES
    if isinstance(value, list):
        return [_masked_value(key, e, secrets) if below or type(e) is str else e for e in value]
    if isinstance(value, dict):
        return {k: _masked_value(k, v, secrets) for k, v in value.items()}
    return value


def of_parameters(parameters: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the values of an address' parameters that look like a credential.

    Parameters
    ----------
    parameters
        Names and values.
    """
    for name, value in parameters:
        if value and (_CONFIDENTIAL.search(name) or _RANDOM.fullmatch(value)):
            yield value


def shown_parameters(parameters: Iterable[tuple[str, str]]) -> str:
    """Write an address' parameters for people: ``?namespace=x&token=…``; empty if there are none.

    Parameters
    ----------
    parameters
        Names and values.
    """
    known = tuple(parameters)
    secrets = set(of_parameters(known))
    words = [f"{quote(n)}={SHOWN if v in secrets else quote(v, safe='/:,')}" for n, v in known]
    return "?" * bool(known) + "&".join(words)


def shown_address(address: str) -> str:
    """Write an address as it was typed, valid or not, without what may be a credential in it."""
    query = address.rpartition("@")[2].partition("?")[2].partition("#")[0]
    return bare_address(address) + shown_parameters(parse_qsl(query))


def sent(headers: Mapping[str, str], names: Iterable[str]) -> Iterator[str]:
    """Yield the secrets of a request.

    Parameters
    ----------
    headers
        Of the request, as they were sent.
    names
        Of headers that are confidential, beside those of HTTP.
    """
    for name in ("Authorization", "Proxy-Authorization", "X-Amz-Security-Token", *names):
        value = headers.get(name) or ""
        value = value.decode("latin-1") if isinstance(value, bytes) else value
        scheme, space, rest = value.partition(" ")
        yield from (value, rest) if space else (value,)
        if scheme.lower() == "basic":
            yield from _user_and_password(rest)


def _user_and_password(encoded: str) -> Iterator[str]:
    try:
        both = base64.b64decode(encoded).decode("utf-8", "replace")
    except binascii.Error:
        return
    yield both
    yield both.partition(":")[2]


def of_proxies(proxies: Mapping[str, str]) -> Iterator[str]:
    """Yield the credentials in the addresses of proxies, also of those in the environment.

    Parameters
    ----------
    proxies
        Of a session, by scheme.
    """
    named = (os.environ.get(name) for word in _VARIABLES for name in (word, word.upper()))
    for address in [*proxies.values(), *named]:
        if found := re.search(r"//(.*)@", address or ""):
            info = found[1]
            for both in (info, unquote(info)):
                yield both
                yield both.partition(":")[2]
                # requests writes Latin-1 where it can (requests.auth), others UTF-8.
                for encoding in ("utf-8", "latin-1"):
                    yield base64.b64encode(both.encode(encoding, "ignore")).decode()


def _forms(secret: str) -> Iterator[str]:
    """Yield the ways in which a secret may be written in a text."""
    if len(secret) < _SHORTEST:
        return
    yield from (secret, quote(secret, safe=""), quote(secret))
    yield from (html.escape(secret), html.escape(secret, False))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    if not secret.isascii():
        # A server takes the bytes of a header for Latin-1.
        yield secret.encode().decode("latin-1")
