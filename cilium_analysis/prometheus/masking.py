"""What was sent in confidence, taken out of what comes back: servers and proxies may quote it."""

from __future__ import annotations

import base64
import binascii
import html
import json
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SHOWN = "…"
#: Shorter ones would be found in every word, and taken out of it.
_SHORTEST = 4
#: What of a secret is told by less than this is not worth a cut at the end of a text.
_TOLD = 4
#: What decides how a reply is read.
_MEANT_FOR_US = ("status", "resultType")
#: What holds an answer's series, where lists are of them.
_SERIES = ("data", "result")
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
#: What parameters of an address are called that hold a credential, and how one is made.
_CONFIDENTIAL = re.compile(
    r"auth|token|secret|passw|pwd|credential|session|jwt|bearer|signature|(^|[^a-z])(sig|api|key|pass)"
    r"|key$",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/=_.~-]{20,}")


def masked(text: str, secrets: Iterable[str]) -> str:
    """Give a text without secrets, however they are escaped in it.

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
    """Give a reply without secrets in what it says beside its series."""
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
    """Give those values of an address' parameters that look like a credential.

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


def sent(headers: Mapping[str, str], names: Iterable[str]) -> Iterator[str]:
    """Give what a request said in confidence.

    Parameters
    ----------
    headers
        Of the request, as they were sent.
    names
        Of headers that are confidential beside those that always are.
    """
    for name in ("Authorization", "Proxy-Authorization", *names):
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
    """Give the credentials in the addresses of proxies, of the environment's too.

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
    """Give a secret as texts may hold it."""
    if len(secret) < _SHORTEST:
        return
    yield secret
    yield from (
        quote(secret, safe=""),
        quote(secret),
        html.escape(secret),
        html.escape(secret, False),
    )
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    if not secret.isascii():
        # A server takes the bytes of a header for Latin-1.
        yield secret.encode().decode("latin-1")
