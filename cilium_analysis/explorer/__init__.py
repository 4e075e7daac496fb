"""The incident explorer: choose a window, a topic, groups and filters, and see all of it change.

The choice is a `State`; a `Session` asks for it in the background, and shows each topic as soon as
it is complete; `Explorer` is a session with widgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import UsageError

if TYPE_CHECKING:
    from cilium_analysis.explorer.screen import Explorer

__all__ = ["Explorer"]


def __getattr__(name: str) -> Any:
    """Import the widgets when they are needed; they are in an extra."""
    if name != "Explorer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from cilium_analysis.explorer.screen import Explorer
    except ModuleNotFoundError as missing:
        if missing.name and missing.name.startswith("cilium_analysis"):
            raise
        raise UsageError(
            f"the explorer needs {missing.name}: pip install 'cilium-analysis[lab]'"
        ) from None
    return Explorer
