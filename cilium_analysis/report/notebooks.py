"""The notebooks that reports run: where they are, and the parameters that they take.

Imports nbformat without a grammar that takes two seconds to read. nbformat checks notebooks with
jsonschema, which uses a package of JupyterLab for international addresses if it can import it. The
schema of notebooks has no such addresses. Other code can still import that package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.errors import ParameterError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

_GRAMMAR = "rfc3987_syntax"
if _GRAMMAR in sys.modules:
    import nbformat
else:
    sys.modules[_GRAMMAR] = None  # type: ignore[assignment]  # as if it was not installed
    try:
        import nbformat  # noqa: F401 - it imports jsonschema
    finally:
        del sys.modules[_GRAMMAR]

_PACKAGE = Path(__file__).parent.parent


def notebook_directory() -> Path:
    """Find the notebooks, in an installed package or in a checkout."""
    installed = _PACKAGE / "_notebooks"
    return installed if installed.is_dir() else _PACKAGE.parent / "notebooks"


def check_parameters(notebook: Path, parameters: Mapping[str, object]) -> None:
    """Check that a notebook has the parameters, before anything runs.

    papermill itself only logs a warning and runs the notebook with its defaults. That would be a
    report on another window than the one that was asked for.

    Parameters
    ----------
    notebook
        With a cell tagged ``parameters``.
    parameters
        By name.

    Raises
    ------
    ParameterError
        If a name is unknown, or a value is not a string.
    """
    from papermill.inspection import inspect_notebook

    known = list(inspect_notebook(str(notebook)))
    for name, value in parameters.items():
        if name not in known:
            raise ParameterError(
                f"{notebook.name} has no parameter {name!r}: {suggest(name, known)}"
            )
        if not isinstance(value, str):
            raise ParameterError(f"{name}={value!r} is not a string: write {str(value)!r}")
