"""Bearer tokens that somebody gives out: kept until they expire or are refused, then asked anew."""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
import subprocess
import time
from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from cilium_analysis.errors import AccessDenied, ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from requests import PreparedRequest

    from cilium_analysis.prometheus.credentials import Secret

#: A token is asked for anew so long before it expires [s].
_MARGIN = 30.0
#: A command, or a token endpoint, has so long to answer [s].
_PATIENCE = 60.0
#: Longer outputs are no token [characters].
_LONGEST = 1 << 16


@dataclass(frozen=True)
class Token:
    """A bearer token.

    Parameters
    ----------
    text
        What is sent.
    expires
        When [s since 1970]; never if infinite.
    """

    text: str = field(repr=False)
    expires: float = math.inf

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!-~]+", self.text):
            raise ValueError("not one bearer token")


class Renewing(AuthBase):
    """Signs with a token that is kept until it expires or is refused.

    Parameters
    ----------
    giver
        Who gives the tokens, for people.
    """

    def __init__(self, giver: str) -> None:
        self.giver = giver
        #: Whether a token has been asked for, and has not come yet.
        self.waits = False
        self._lock = Lock()
        self._token: Token | None = None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign a request."""
        with self._lock:
            if self._token is None or time.time() > self._token.expires - _MARGIN:
                self.waits = True
                try:
                    self._token = self.fetch()
                finally:
                    self.waits = False
            request.headers["Authorization"] = f"Bearer {self._token.text}"
        return request

    def forget(self, request: PreparedRequest) -> None:
        """Forget the token that a request was signed with, which the server refused."""
        with self._lock:
            sent = request.headers.get("Authorization")
            if self._token is not None and sent == f"Bearer {self._token.text}":
                self._token = None

    @abstractmethod
    def fetch(self) -> Token:
        """Ask for a token.

        Raises
        ------
        AccessDenied
            If there is none; the message never holds one.
        """


class Command(Renewing):
    """Takes the token that a command prints: bare, or as kubectl's exec plugins print it.

    Parameters
    ----------
    line
        The command and its arguments, quoted as for a shell; there is no shell.

    Raises
    ------
    ParameterError
        If it is none.
    """

    def __init__(self, line: str) -> None:
        try:
            self._words = shlex.split(line)
        except ValueError as problem:
            raise ParameterError(f"cannot read the token command: {problem}") from None
        if not self._words:
            raise ParameterError("the token command is empty: name a program")
        super().__init__(f"the token command {self._words[0]}")

    def fetch(self) -> Token:
        """Run the command."""
        hint = "run it by hand to see why"
        try:
            done = subprocess.run(  # noqa: S603 - what the user names, and no shell
                self._words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise AccessDenied(
                f"{self.giver} printed nothing within {_PATIENCE:.0f} s; {hint}"
            ) from None
        except OSError as problem:
            raise AccessDenied(f"cannot run {self.giver}: {problem.strerror}") from None
        if done.returncode:
            raise AccessDenied(f"{self.giver} ended with {done.returncode}; {hint}")
        try:
            return _printed(done.stdout[:_LONGEST].decode().strip())
        except (ValueError, AttributeError):  # a status may also be a text
            raise AccessDenied(
                f"what {self.giver} prints is not one bearer token; {hint}"
            ) from None


def _printed(text: str) -> Token:
    """Read a token, or an ExecCredential of Kubernetes (client.authentication.k8s.io)."""
    if not text.startswith("{"):
        return Token(text, expiry_of(text))
    status = json.loads(text).get("status") or {}
    until, token = status.get("expirationTimestamp"), str(status.get("token") or "")
    if not until:
        return Token(token, expiry_of(token))
    moment = datetime.fromisoformat(str(until))
    # Without a zone it is UTC, as Kubernetes writes times.
    return Token(token, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())


def expiry_of(token: str) -> float:
    """Give when a token expires by its own word, as a JSON Web Token does (RFC 7519, ``exp``).

    Parameters
    ----------
    token
        Of any form.

    Returns
    -------
    float
        [s since 1970]; infinite if it does not say.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return math.inf
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        return math.inf


@dataclass(frozen=True)
class TokenEndpoint:
    """Where a client gets tokens by its own credentials (RFC 6749, section 4.4).

    Parameters
    ----------
    url
        Of the endpoint.
    client, secret
        The client's name, and where its secret is.
    parameters
        Sent along, such as ``scope`` or ``audience``.
    settings
        Certificates and proxies, as `requests.Session.request` takes them.
    """

    url: str = field(repr=False)
    client: str
    secret: Secret
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)


class ClientCredentials(Renewing):
    """Takes the tokens of a `TokenEndpoint`."""

    def __init__(self, endpoint: TokenEndpoint) -> None:
        # A query in the address may hold a key.
        super().__init__(f"the token endpoint {endpoint.url.partition('?')[0]}")
        self._endpoint = endpoint

    def fetch(self) -> Token:
        """Ask the endpoint; in the form too, as some do not take the header (as Go's oauth2)."""
        known = self._endpoint
        secret, began = known.secret.read(), time.time()
        form = {"grant_type": "client_credentials", **known.parameters}
        reply = self._post(form, auth=(known.client, secret))
        if reply.status_code in (400, 401):
            named = {"client_id": known.client, "client_secret": secret}
            reply = self._post(form | named, auth=None)
        try:
            document = reply.json() if reply.status_code == 200 else {}
            lasts = float(document.get("expires_in") or math.inf)
            return Token(str(document.get("access_token") or ""), began + lasts)
        except (ValueError, AttributeError, TypeError):
            raise AccessDenied(
                f"{self.giver} gives no token ({reply.status_code}"
                f"{_error(reply)}): look at client_id, client_secret and scopes"
            ) from None

    def _post(self, form: Mapping[str, str], *, auth: Sequence[str] | None) -> requests.Response:
        known = self._endpoint
        try:
            with requests.Session() as session:
                session.trust_env = "proxies" not in known.settings
                return session.post(
                    known.url,
                    data=form,
                    auth=HTTPBasicAuth(*(part.encode() for part in auth)) if auth else _no_netrc,
                    timeout=_PATIENCE,
                    allow_redirects=False,
                    **known.settings,
                )
        except (requests.RequestException, OSError) as problem:
            why = type(problem).__name__
            raise AccessDenied(f"cannot reach {self.giver} ({why})") from None


def _no_netrc(request: PreparedRequest) -> PreparedRequest:
    return request


def _error(reply: requests.Response) -> str:
    """Give the code of an error (RFC 6749, section 5.2), which holds no secret."""
    try:
        code = reply.json().get("error")
    except (ValueError, AttributeError):
        return ""
    return f", {code}" if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code) else ""
