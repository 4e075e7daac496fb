"""How requests reach a server and are signed: from references to credentials, or an http_config."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from requests.auth import AuthBase
from requests.utils import should_bypass_proxies

from cilium_analysis.errors import AccessDenied, ParameterError
from cilium_analysis.prometheus.credentials import PREFIX, Credentials, Secret, basic
from cilium_analysis.prometheus.tokens import Command, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests
    from requests import PreparedRequest


@dataclass(frozen=True)
class Tls:
    """What TLS is like, where it is not the usual.

    Parameters
    ----------
    ca_file
        Certificates of the authorities to trust instead of the usual ones: a file, or a directory
        as OpenSSL hashes it.
    cert_file, key_file
        The own certificate.
    server_name
        That the server's certificate is for, and that is sent (SNI).
    verify
        Whether the server's certificate is checked.
    lowest, highest
        Versions of TLS.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    verify: bool = True
    lowest: ssl.TLSVersion | None = None
    highest: ssl.TLSVersion | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """``verify`` and ``cert``, as `requests` takes them."""
        cert = (self.cert_file, self.key_file) if self.key_file else self.cert_file or None
        return {"verify": (self.ca_file or True) if self.verify else False, "cert": cert}

    def context(self, trusted: str) -> ssl.SSLContext:
        """Give what a handshake takes that is tried alone.

        Parameters
        ----------
        trusted
            File or directory of the authorities that are trusted where nothing else is said.
        """
        context, authorities = self._bare(), self.ca_file or trusted
        if Path(authorities).is_dir():
            context.load_verify_locations(capath=authorities)
        else:
            context.load_verify_locations(authorities)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file or None)
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def pool(self) -> dict[str, Any]:
        """Give what urllib3's pools take beside them; nothing where all is as usual."""
        found: dict[str, Any] = {}
        if self.server_name:
            found |= {"server_hostname": self.server_name, "assert_hostname": self.server_name}
        if self.lowest or self.highest:
            context = self._bare()
            context.check_hostname = self.verify and not self.server_name
            found["ssl_context"] = context
        return found

    def _bare(self) -> ssl.SSLContext:
        """Make a context that trusts nobody yet: what is added to the usual ones replaces none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = self.lowest or context.minimum_version
        context.maximum_version = self.highest or context.maximum_version
        return context


@dataclass(frozen=True)
class Access:
    """The way to a server.

    Parameters
    ----------
    auth
        Signs requests; None if nobody does.
    headers
        Sent along, by name; each is read when a request is sent.
    tls
        What TLS is like.
    proxy, no_proxy
        Address of a proxy, and hosts that are reached without it; that of the environment if empty.
    """

    auth: AuthBase | None = None
    headers: Mapping[str, tuple[Secret, ...]] = field(default_factory=dict)
    tls: Tls = field(default_factory=Tls)
    proxy: str = field(default="", repr=False)
    no_proxy: str = ""

    def read_headers(self) -> dict[str, str]:
        """Give the headers to send along."""
        return {name: ", ".join(e.read() for e in each) for name, each in self.headers.items()}

    def settings(self, session: requests.Session, url: str) -> dict[str, Any]:
        """Give certificates and proxies as `requests.Session.send` takes them.

        Parameters
        ----------
        session
            Its own settings count, and those of the environment, where nothing else is said.
        url
            Of the server.
        """
        own, proxies = self.tls.settings, self.proxies(url)
        verify = None if own["verify"] is True else own["verify"]
        found = dict(session.merge_environment_settings(url, {}, True, verify, own["cert"]))
        return found if proxies is None else found | {"proxies": proxies}

    def proxies(self, url: str) -> dict[str, str] | None:
        """Give the proxies to a server, as `requests` takes them; None if it is not said."""
        if not self.proxy:
            return None
        if should_bypass_proxies(url, no_proxy=self.no_proxy or None):
            return {}
        return {"http": self.proxy, "https": self.proxy}


def access_of(credentials: Credentials, url: str) -> Access:
    """Give the way to a server by references to credentials.

    Parameters
    ----------
    credentials
        The references.
    url
        Of the server.

    Raises
    ------
    ParameterError
        If they contradict each other, or an http_config cannot be read.
    """
    if credentials.http_config:
        beside = [
            f"{PREFIX}{each.name.removesuffix('_env').upper()}"
            for each in fields(credentials)
            if each.name not in ("http_config", "tenant") and getattr(credentials, each.name)
        ]
        if beside:
            raise ParameterError(
                f"{PREFIX}HTTP_CONFIG says how to sign in: leave {', '.join(beside)} out"
            )
        from cilium_analysis.prometheus.http_config import read

        return read(Path(credentials.http_config))
    return Access(
        auth=_auth(credentials, url),
        tls=Tls(
            ca_file=credentials.ca_file,
            cert_file=credentials.client_cert,
            key_file=credentials.client_key,
        ),
    )


def _auth(known: Credentials, url: str) -> AuthBase | None:
    if known.bearer_token_file or known.bearer_token_env:
        return Bearer(Secret(known.bearer_token_file, known.bearer_token_env))
    if known.username or known.password_file or known.password_env:
        return Basic(known.username, Secret(known.password_file, known.password_env))
    if known.bearer_token_command:
        return Command(known.bearer_token_command)
    if known.sign_in:
        from cilium_analysis.prometheus.managed import signer

        return signer(known.sign_in, url)
    return None


@dataclass(frozen=True)
class Bearer(AuthBase):
    """Signs with a token, or with other words of an authorization."""

    token: Secret
    scheme: str = "Bearer"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign a request."""
        text = self.token.read()
        if self.scheme == "Bearer":
            try:
                Token(text)
            except ValueError:
                where = self.token.file or self.token.variable or "the http_config"
                raise AccessDenied(f"what {where} holds is not one bearer token: mend it") from None
        request.headers["Authorization"] = f"{self.scheme} {text}"
        return request


@dataclass(frozen=True)
class Basic(AuthBase):
    """Signs by basic authentication."""

    username: str | Secret
    password: Secret

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign a request."""
        name = self.username if isinstance(self.username, str) else self.username.read()
        signed: PreparedRequest = basic(name, self.password.read())(request)
        return signed
