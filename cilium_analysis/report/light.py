"""nbformat, imported without a grammar that takes two seconds to be read.

It checks notebooks by jsonschema, for which JupyterLab brings the grammar along: of international
addresses, which the schema of notebooks has none of. jsonschema does without it where it cannot be
imported, and who wants it elsewhere can still import it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _as_if_missing(name: str) -> Iterator[None]:
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _as_if_missing("rfc3987_syntax"):
    import nbformat  # noqa: F401 - it imports jsonschema
