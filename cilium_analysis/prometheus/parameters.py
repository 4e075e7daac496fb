"""Request parameters, as Prometheus' docs/querying/api.md wants them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cilium_analysis.window import Window


def seconds(moment: datetime) -> str:
    """Write a moment as Unix seconds."""
    return number(moment.timestamp())


def number(value: float) -> str:
    """Write seconds with at most three decimals, since servers round to milliseconds."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def as_upstream_writes(value: str | float | datetime | timedelta) -> str:
    """Write a time or a duration as prometheus-pandas does: anything else is left as it is."""
    if isinstance(value, datetime):
        return str(value.timestamp())
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    return str(value)


def timeout_of(timeout: str | timedelta | None) -> dict[str, str]:
    """Give the parameter of a query's own timeout, if there is one."""
    return {} if timeout is None else {"timeout": as_upstream_writes(timeout)}


def between(window: Window | None) -> dict[str, str]:
    """Give the parameters that narrow an answer to a window, if there is one."""
    if window is None:
        return {}
    return {"start": seconds(window.start), "end": seconds(window.end)}


def escaped(name: str) -> str:
    """Write a label name for a path; odd ones by Prometheus 3's values escaping (``U__…``)."""
    if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
        return name
    parts = [
        "__" if char == "_" else char if char.isascii() and char.isalnum() else f"_{ord(char):x}_"
        for char in name
    ]
    return "U__" + "".join(parts)
