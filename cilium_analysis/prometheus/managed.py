"""Signs in to managed services as their own tools do: by the credentials that these find.

Amazon Managed Service for Prometheus takes AWS Signature Version 4, Google Cloud Managed Service
for Prometheus and Azure Monitor take bearer tokens. The libraries are those of the vendors, and
imported when they are needed; no credential is kept here but the newest token.
"""

from __future__ import annotations

import math
import os
import re
from datetime import UTC
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from requests.auth import AuthBase

from cilium_analysis.errors import AccessDenied, ParameterError, SourceError, suggest
from cilium_analysis.prometheus.tokens import Renewing, Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from requests import PreparedRequest

#: Hosts of the services, by how one signs in to them.
_HOSTS = {
    "aws": re.compile(
        r"([a-z0-9-]+\.)?aps-workspaces(-fips)?\.(?P<region>[a-z0-9-]+)"
        r"\.((vpce\.)?amazonaws\.com(\.cn)?|api\.aws)"
    ),
    "google": re.compile(r"monitoring\.googleapis\.com"),
    "azure": re.compile(r"[a-z0-9.-]+\.prometheus\.monitor\.azure\.(com|us|cn)"),
}
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/monitoring.read"
#: Headers that a signature covers: proxies may change the others.
_SIGNED = ("Content-Type", "X-Scope-OrgID")


def service_of(url: str) -> str:
    """Name the way to sign in to a managed service by its address; empty if it is none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:  # no URL; whoever connects says so
        return ""
    return next((name for name, known in _HOSTS.items() if known.fullmatch(host)), "")


def signer(way: str, url: str) -> AuthBase:
    """Give what signs requests to a managed service.

    Parameters
    ----------
    way
        ``aws``, ``google`` or ``azure``.
    url
        Of the service.

    Raises
    ------
    ParameterError
        If there is no such way.
    SourceError
        If the library that it needs is missing.
    """
    made: dict[str, Callable[[str], AuthBase]] = {"aws": Aws, "google": Google, "azure": Azure}
    if way not in made:
        raise ParameterError(f"unknown way to sign in {way!r}: {suggest(way, list(made))}")
    return made[way](url)


class Aws(AuthBase):
    """Signs by AWS Signature Version 4, with the credentials that botocore finds.

    Those are variables, profiles, roles, web identities, and the metadata of an instance or a pod
    (botocore, "Credentials"). The region is that of the address, else ``AWS_REGION`` or the one of
    the profile.
    """

    def __init__(self, url: str) -> None:
        try:
            import botocore.exceptions
            import botocore.session
        except ImportError:
            raise _missing("botocore", "aws") from None
        found = _HOSTS["aws"].fullmatch(urlsplit(url).hostname or "")
        self._session = botocore.session.get_session()
        region = found["region"] if found else os.environ.get("AWS_REGION")
        try:  # botocore alone among AWS' tools does not know AWS_REGION
            self._region = str(region or self._session.get_config_variable("region") or "")
        except botocore.exceptions.BotoCoreError as problem:
            raise _no_aws(problem) from None
        if not self._region:
            raise ParameterError("the address names no region of AWS: set AWS_REGION")
        self._credentials: Any = None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign a request."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._credentials = self._credentials or self._session.get_credentials()
            if self._credentials is None:
                raise AccessDenied(
                    "no credentials of AWS were found: set AWS_PROFILE, or sign in (aws sso login)"
                )
            frozen = self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError) as problem:
            raise _no_aws(problem) from None
        # A blank is %20 to AWS; requests writes + for it, and %2B for +.
        path, mark, query = str(request.url).partition("?")
        request.url = path + mark + query.replace("+", "%20")
        headers = {name: request.headers[name] for name in _SIGNED if name in request.headers}
        signed = AWSRequest(request.method, request.url, headers=headers, data=request.body or b"")
        SigV4Auth(frozen, "aps", self._region).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request


def _no_aws(problem: Exception) -> AccessDenied:
    return AccessDenied(
        f"the credentials of AWS cannot be had ({type(problem).__name__}): see whether `aws sts"
        " get-caller-identity` can"
    )


class Google(Renewing):
    """Takes tokens of Google's application default credentials."""

    def __init__(self, url: str) -> None:
        super().__init__("the sign-in to Google")
        try:
            import google.auth
            import google.auth.transport.requests  # noqa: F401
        except ImportError:
            raise _missing("google-auth", "google") from None
        self._credentials: Any = None

    def fetch(self) -> Token:
        """Ask for a token, as ``gcloud auth application-default print-access-token`` does."""
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        try:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=[_GOOGLE_SCOPE])
            self._credentials.refresh(Request())
        except GoogleAuthError as problem:
            raise AccessDenied(
                f"no token of Google ({type(problem).__name__}): sign in (gcloud auth"
                " application-default login), or set GOOGLE_APPLICATION_CREDENTIALS"
            ) from None
        expires = self._credentials.expiry
        # google-auth writes it in UTC, without saying so.
        seconds = expires.replace(tzinfo=UTC).timestamp() if expires else math.inf
        return Token(str(self._credentials.token), seconds)


class Azure(Renewing):
    """Takes tokens of Azure's default credential: variables, managed identity, CLI, and others."""

    def __init__(self, url: str) -> None:
        super().__init__("the sign-in to Azure")
        try:
            import azure.identity  # noqa: F401
        except ImportError:
            raise _missing("azure-identity", "azure-monitor") from None
        found = _HOSTS["azure"].fullmatch(urlsplit(url).hostname or "")
        self._scope = f"https://prometheus.monitor.azure.{found[1] if found else 'com'}/.default"
        self._credential: Any = None

    def fetch(self) -> Token:
        """Ask for a token, as ``az account get-access-token`` does."""
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential

        try:
            self._credential = self._credential or DefaultAzureCredential()
            found = self._credential.get_token(self._scope)
        except (AzureError, ValueError) as problem:
            raise AccessDenied(
                f"no token of Azure ({type(problem).__name__}): sign in (az login), or set"
                " AZURE_CLIENT_ID, AZURE_TENANT_ID and a secret or a federated token"
            ) from None
        return Token(str(found.token), float(found.expires_on))


def _missing(package: str, extra: str) -> SourceError:
    return SourceError(
        f"this service needs the package {package}: pip install 'cilium-analysis[{extra}]'"
    )
