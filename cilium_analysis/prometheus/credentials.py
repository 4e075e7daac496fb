"""Where credentials come from. Values are read when a request is sent, and kept nowhere."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from requests.auth import AuthBase, HTTPBasicAuth

from cilium_analysis.errors import AccessDenied

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest

PREFIX = "CILIUM_ANALYSIS_"


@dataclass(frozen=True)
class Credentials:
    """References to credentials: names of files and of environment variables, never values.

    Parameters
    ----------
    bearer_token_file, bearer_token_env
        Where a bearer token stands; a file is read anew for every request, so that a token may
        rotate.
    username, password_file, password_env
        For basic authentication.
    client_cert, client_key
        Files for mutual TLS.
    ca_file
        Certificates of the authorities to trust instead of the usual ones.
    tenant
        Sent as ``X-Scope-OrgID`` (Mimir, Cortex, Loki's habit).
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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Credentials:
        """Take the references from variables named ``CILIUM_ANALYSIS_…``.

        So a notebook or a scheduled run needs no parameter for them: ``BEARER_TOKEN_FILE``,
        ``BEARER_TOKEN``, ``USERNAME``, ``PASSWORD_FILE``, ``PASSWORD``, ``CLIENT_CERT``,
        ``CLIENT_KEY``, ``CA_FILE``, ``TENANT``, each behind the prefix.

        Parameters
        ----------
        environment
            Instead of that of the process.
        """
        found = os.environ if environment is None else environment
        plain = ("bearer_token_file", "username", "password_file", "client_cert", "client_key")
        values = {name: found.get(PREFIX + name.upper(), "") for name in plain}
        return cls(
            **values,
            bearer_token_env=_named(found, "BEARER_TOKEN"),
            password_env=_named(found, "PASSWORD"),
            ca_file=found.get(PREFIX + "CA_FILE", ""),
            tenant=found.get(PREFIX + "TENANT", ""),
        )

    def auth(self) -> AuthBase | None:
        """Give what signs a request; None if nothing is set."""
        if self.bearer_token_file or self.bearer_token_env:
            return _Bearer(self)
        if self.username or self.password_file or self.password_env:
            return _Basic(self)
        return None

    @property
    def cert(self) -> str | tuple[str, str] | None:
        """Certificate and key for mutual TLS, as requests takes them."""
        if self.client_cert and self.client_key:
            return (self.client_cert, self.client_key)
        return self.client_cert or None


def _named(environment: Mapping[str, str], name: str) -> str:
    return PREFIX + name if environment.get(PREFIX + name) else ""


def _secret(file: str, variable: str) -> str:
    """Read a secret from its file, or else its variable; the message never holds it."""
    if not file:
        if variable and not os.environ.get(variable):
            raise AccessDenied(f"no credentials in the environment variable {variable}: set it")
        return os.environ.get(variable, "")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not text"
        raise AccessDenied(f"cannot read the credentials in {file}: {reason}") from None


def basic(username: str, password: str) -> AuthBase:
    """Give what signs a request by basic authentication, in UTF-8 (RFC 7617)."""
    return HTTPBasicAuth(username.encode(), password.encode())


@dataclass(frozen=True)
class _Bearer(AuthBase):
    credentials: Credentials

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        file, variable = self.credentials.bearer_token_file, self.credentials.bearer_token_env
        token = _secret(file, variable)
        if not re.fullmatch(r"[!-~]+", token):
            raise AccessDenied(f"what {file or variable} holds is not one bearer token: mend it")
        request.headers["Authorization"] = f"Bearer {token}"
        return request


@dataclass(frozen=True)
class _Basic(AuthBase):
    credentials: Credentials

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        password = _secret(self.credentials.password_file, self.credentials.password_env)
        signed: PreparedRequest = basic(self.credentials.username, password)(request)
        return signed


class Anonymous(AuthBase):
    """Sign nothing. Without it requests would look into ``~/.netrc`` on its own."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Give the request back as it is."""
        return request
