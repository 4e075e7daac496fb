"""Checks values of the command line that another program will read: cron, systemd, Kubernetes.

Each function gives the value back, and raises `ParameterError` if it is not valid.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from urllib.parse import urlsplit

from cilium_analysis import ways
from cilium_analysis.errors import ParameterError, SourceError
from cilium_analysis.report import openmetrics

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DOTTED = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_IMAGE = re.compile(r"[a-z0-9][\w./:@-]*", re.ASCII)
_FILE = re.compile(r"(?!.*/\.\.(/|$))/[\w./+@%,=~-]*[\w+@%,=~-]")
_QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = "KMGTPE"
#: Kubernetes counts memory in bytes, and takes 512m for half a byte.
_SMALLEST = 2**20


def one_line(value: str, what: str) -> str:
    """Give a text without control characters: cron and systemd read their files line by line."""
    for char in value:
        category = unicodedata.category(char)
        if category in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            hint = r"write a line end inside a matcher as \n"
            raise ParameterError(f"{what} holds the character U+{ord(char):04X}: {hint}")
    return value


def url(value: str) -> str:
    """Give the URL of a server, or a way to one.

    Raises
    ------
    SourceError
        If it is none, or holds credentials: many people read crontabs, units and manifests.
    """
    text = one_line(value.strip(), "--source")
    if ways.is_way(text):
        ways.check(text)
        return text
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, sound = urlsplit(""), False
    if "@" in text:  # not only where a parser finds it: a password may hold a slash
        hint = "give a file that holds them, see --help"
        raise SourceError(f"--source has credentials in it, which a schedule would show: {hint}")
    if not sound or parts.query or parts.fragment or " " in text:
        shown = re.sub(r"[?#].*", "…", text)  # never a token
        raise SourceError(f"--source {shown!r} is not the URL of a server: http://host:9090")
    return text


def name(value: str, what: str, *, longest: int = 63) -> str:
    """Give a name that Kubernetes takes (a DNS-1123 label)."""
    hint = f"at most {longest} of a-z, 0-9 and -, with a letter or digit at both ends"
    return _checked(value, what, _LABEL, "a name", hint, longest=longest)


def dotted_name(value: str, what: str) -> str:
    """Give a name that may have dots, as Secrets and claims have (a DNS-1123 subdomain)."""
    hint = "a-z, 0-9, - and ., with a letter or digit at both ends"
    return _checked(value, what, _DOTTED, "a name", hint, longest=253)


def user(value: str) -> str:
    """Give the name of a user of the system."""
    return _checked(value, "--user", _USER, "the name of a user", "use a-z, 0-9, _ and -")


def image(value: str) -> str:
    """Give the reference of a container image."""
    return _checked(value, "--image", _IMAGE, "an image", "write it as name:tag")


def file(value: str, what: str) -> str:
    """Give the absolute path of a file or directory, without anything that needs quotes."""
    hint = "it has to be absolute, without spaces, quotes, colons and dollar signs"
    return _checked(value, what, _FILE, "a path for a schedule", hint)


def textfile(value: str) -> str:
    """Give the absolute path of a file that a textfile collector reads."""
    if not file(value, "--textfile").endswith(openmetrics.ENDING):
        hint = f"the collector reads files that end in {openmetrics.ENDING} only"
        raise ParameterError(f"--textfile {value!r}: {hint}")
    return value


def _checked(
    value: str, what: str, pattern: re.Pattern[str], kind: str, hint: str, *, longest: int = 4096
) -> str:
    if not pattern.fullmatch(value) or len(value) > longest:
        raise ParameterError(f"{what} {value!r} is not {kind}: {hint}")
    return value


def quantity(value: str, what: str) -> Decimal:
    """Read a quantity of Kubernetes, such as ``10Gi`` or ``500m``."""
    match = _QUANTITY.fullmatch(value)
    number = Decimal(0)
    if match:
        digits, suffix = Decimal(match[1]), match[2] or ""
        if suffix.endswith("i"):
            number = digits * Decimal(1024) ** (_BINARY.index(suffix[0]) + 1)
        elif suffix in _DECIMAL:
            number = digits * Decimal(10) ** _DECIMAL[suffix]
        else:
            number = digits * Decimal(f"1{suffix}")
    if not number:
        raise ParameterError(f"{what} {value!r} is not a quantity: write it as 10Gi, 2 or 500m")
    return number


def memory(value: str, what: str) -> Decimal:
    """Read a quantity of bytes."""
    number = quantity(value, what)
    if number < _SMALLEST:
        raise ParameterError(f"{what} {value!r} is less than a megabyte: write it as 512Mi or 2Gi")
    return number
