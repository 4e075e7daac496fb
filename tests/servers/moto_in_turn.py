"""moto's server, which does one request after another, as a store that replaces objects whole.

By itself it answers 500 when an object is replaced while the answer to its PUT is being made: the
object that is gone is asked for its digest ("I/O operation on closed file").
"""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any
from unittest.mock import patch

from moto import server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication


class InTurn(DomainDispatcherApplication):
    """The application of moto, by one thread at a time."""

    turn = Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with self.turn:
            return super().__call__(environ, start_response)


if __name__ == "__main__":
    with patch.object(server, "DomainDispatcherApplication", InTurn):
        server.main(sys.argv[1:])
