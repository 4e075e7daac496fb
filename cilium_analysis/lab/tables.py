"""Tables that sort, filter and scroll where the front end runs scripts; else plain ones."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from cilium_analysis.show import Table


@cache
def _part(name: str) -> str:
    return files("cilium_analysis.lab").joinpath(name).read_text(encoding="utf-8")


def style() -> str:
    """Give the styles of what has the class ``ca-lab``, in the colours of the front end."""
    return f"<style>{_part('tables.css')}</style>"


def interactive(table: Table, *, above: str = "") -> str:
    """Give a table as HTML that stands for itself: no other file, no network.

    Parameters
    ----------
    table
        Escapes what is in it.
    above
        HTML that comes first.
    """
    name = f"ca-{uuid4().hex}"
    body = table._repr_html_()
    return (
        f'{style()}<div class="ca-lab" id="{name}">{above}'
        f'<div class="ca-scroll" tabindex="0" role="region" aria-label="Table">{body}</div></div>'
        f"<script>{_part('tables.js').replace('TABLE_ID', name)}</script>"
    )
