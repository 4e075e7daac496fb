"""What is stored as people read it: times by their clock, clusters by their name."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis.window import zone

if TYPE_CHECKING:
    from collections.abc import Mapping


def clock(stored: str, timezone: str, *, day: bool = True) -> str:
    """Write a stored UTC time as the reader's clock shows it."""
    moment = datetime.fromisoformat(stored).astimezone(zone(timezone))
    return f"{moment:%Y-%m-%d %H:%M:%S}" if day else f"{moment:%H:%M:%S}"


def called(run: Mapping[str, Any]) -> str:
    """Name what a run is about: the cluster if it has a name, or else its source."""
    return str(run.get("cluster") or run["source"])
