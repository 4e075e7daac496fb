"""The notebooks that reports run: where they are, and the parameters that they take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.errors import ParameterError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = Path(__file__).parent.parent


def notebook_directory() -> Path:
    """Find the notebooks, in an installed package or in a checkout."""
    installed = _PACKAGE / "_notebooks"
    return installed if installed.is_dir() else _PACKAGE.parent / "notebooks"


def check_parameters(notebook: Path, parameters: Mapping[str, object]) -> None:
    """Refuse parameters that a notebook does not have, before anything runs.

    papermill itself only logs a warning and runs the notebook with its defaults, which would be
    a report about another window than the one that was asked for.

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
