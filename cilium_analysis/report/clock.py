"""Stored times as the reader's clock shows them."""

from __future__ import annotations

from datetime import datetime

from cilium_analysis.window import zone


def clock(stored: str, timezone: str, *, day: bool = True) -> str:
    """Write a stored UTC time as the reader's clock shows it."""
    moment = datetime.fromisoformat(stored).astimezone(zone(timezone))
    return f"{moment:%Y-%m-%d %H:%M:%S}" if day else f"{moment:%H:%M:%S}"
