"""What one request asks, and what comes of it; sending and trying again are in `transport`."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from cilium_analysis.errors import of_query
from cilium_analysis.prometheus.failures import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

    from cilium_analysis.prometheus.columns import Answer

#: A packed reply is read by so much: it may be a thousand times as large, and older versions of
#: urllib3 unpack it at once [bytes].
PACKED_PIECE = 1 << 16
#: Of a reply that is no answer, and of a document, so much is read [bytes].
_REASON, _DOCUMENT = 1 << 20, 1 << 24


class Asked(NamedTuple):
    """What a server is asked for."""

    path: str
    params: Mapping[str, str]
    #: For messages.
    query: str = ""
    #: Whether the endpoint takes POST.
    form: bool = True
    #: Whether a document is wanted, and no answer of Prometheus' API.
    is_document: bool = False

    @property
    def text(self) -> str:
        """End of a message, which names the query."""
        return of_query(self.query)


class Document(NamedTuple):
    """A reply of another API than that of Prometheus."""

    #: Of HTTP.
    status: int
    #: As JSON; None if it is none, or if the status is not 200.
    content: object


class Tried(NamedTuple):
    """What became of one try."""

    found: Answer | Document | Exception
    #: How long to wait before the next [s]; None if this is for good.
    wait: float | None = None
    status: int = 0
    #: Whether the error is that of a Prometheus, and not of what is before it.
    own: bool = False


def beginning(reply: requests.Response, *, most: int = _REASON) -> bytes:
    """Read a reply that is no answer, as much as is needed to say what it is."""
    found = bytearray()
    for piece in reply.iter_content(PACKED_PIECE):
        found += piece
        if len(found) >= most:
            break
    return bytes(found[:most])


def document(reply: requests.Response) -> Document:
    """Read a document; one that is far too large is none."""
    status = reply.status_code
    body = beginning(reply, most=_DOCUMENT) if status == HTTPStatus.OK else b""
    return Document(status, as_json(body.decode("utf-8-sig", "replace")))
