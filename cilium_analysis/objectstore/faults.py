"""What went wrong in a store, in words of ours.

What the libraries say can hold addresses, signatures and tokens; so only the kinds of their errors,
and the short codes of the stores, are ever told.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cilium_analysis.errors import CiliumAnalysisError, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.objectstore.address import Address

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{1,60}|[1-5]\d\d")
#: Errors of the libraries, by the names of their classes: none of them need be installed.
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "ConfigParseError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "SSOTokenLoadError",
    "DefaultCredentialsError",
    "RefreshError",
    "CredentialUnavailableError",
    "ClientAuthenticationError",
}
_UNREACHABLE = {
    "EndpointConnectionError": "it cannot be reached",
    "ConnectTimeoutError": "it does not answer",
    "ReadTimeoutError": "it does not answer in time",
    "ConnectionClosedError": "the connection broke off",
    "FSTimeoutError": "it does not answer in time",
    "TimeoutError": "it does not answer in time",
    "SSLError": "its certificate is not trusted, or it does not speak TLS",
    "ClientConnectorError": "it cannot be reached",
    "ServiceRequestError": "it cannot be reached",
    "ServiceResponseError": "the connection broke off",
}
_NOT_HERE = {"InvalidEndpointURL", "InvalidRegionError", "UnsupportedEndpoint"}


@contextmanager
def told(doing: str, address: Address) -> Iterator[None]:
    """Turn whatever a library raises into an error of ours.

    Parameters
    ----------
    doing
        What is being done, as ``write`` or ``read``.
    address
        Where.

    Raises
    ------
    StoreRefused
        If there is no such bucket or object, or no right to it.
    StoreUnavailable
        If the store cannot be reached, or failed, also when it was asked again.
    """
    try:
        yield
    except CiliumAnalysisError:
        raise
    except Exception as problem:
        kind, reason = _judged(problem)
        raise kind(f"cannot {doing} {address}: {reason}") from None


def _judged(problem: Exception) -> tuple[type[CiliumAnalysisError], str]:
    names = {each.__name__ for each in type(problem).__mro__}
    if isinstance(problem, FileNotFoundError):
        return StoreRefused, "there is no such bucket or object"
    if names & _NO_CREDENTIALS:
        return StoreRefused, "no credentials for it were found, or they cannot be used"
    code = _code(problem)
    if isinstance(problem, PermissionError) or code in ("401", "403"):
        return StoreRefused, f"access denied{_in_brackets(code)}"
    if names & _NOT_HERE or isinstance(problem, ValueError):
        hint = "check its endpoint, region or account in the environment"
        return StoreRefused, f"the store is not set up ({type(problem).__name__}): {hint}"
    words = next((_UNREACHABLE[name] for name in names if name in _UNREACHABLE), "")
    return StoreUnavailable, words or f"it failed ({type(problem).__name__}{code and f', {code}'})"


def _in_brackets(code: str) -> str:
    return f" ({code})" if code and code != "AccessDenied" else ""


def _code(problem: BaseException) -> str:
    """Give the short code that the store answered with; empty if it gave none."""
    cause = problem.__cause__ or problem
    response = getattr(cause, "response", None)
    told = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    told = told or getattr(cause, "error_code", "") or getattr(cause, "code", "")
    return str(told) if _CODE.fullmatch(str(told)) else ""
