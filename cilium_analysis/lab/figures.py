"""Plots that zoom, where the front end can show them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import matplotlib as mpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell


def zooming(shell: InteractiveShell) -> bool:
    """Switch matplotlib to figures that zoom and pan, in JupyterLab with ipympl.

    Elsewhere, under papermill too, figures stay the pictures that they are.

    Parameters
    ----------
    shell
        Of the kernel.

    Returns
    -------
    bool
        Whether they zoom now.
    """
    # The server of JupyterLab tells its kernels which notebook they are of.
    if "JPY_SESSION_NAME" not in os.environ or find_spec("ipympl") is None:
        return False
    shell.run_line_magic("matplotlib", "widget")
    # A figure that zooms is not scaled to the width of its cell, as a picture is.
    mpl.rcParams["figure.dpi"] = 80
    return True


@contextmanager
def backend_kept() -> Iterator[None]:
    """Keep the backend of matplotlib while ipympl is imported, which puts itself in its place."""
    before = mpl.get_backend()
    try:
        yield
    finally:
        if mpl.get_backend() != before:
            mpl.use(before)
