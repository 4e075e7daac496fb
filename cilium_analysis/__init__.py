"""Post-incident analysis of Cilium from its Prometheus metrics.

>>> from cilium_analysis import connect, Window
>>> source = connect("sample")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from cilium_analysis.connection import connect
    from cilium_analysis.prometheus import Prometheus
    from cilium_analysis.window import Window

__version__ = "0.1.0"
__all__ = ["Prometheus", "Window", "__version__", "connect"]

_HOMES = {
    "Prometheus": "cilium_analysis.prometheus",
    "Window": "cilium_analysis.window",
    "connect": "cilium_analysis.connection",
}


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used, so that ``--help`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add ``%promql``, completion and displays: ``%load_ext cilium_analysis``."""
    import_module("cilium_analysis.magics.extension").load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take them away again."""
    import_module("cilium_analysis.magics.extension").unload(shell)
