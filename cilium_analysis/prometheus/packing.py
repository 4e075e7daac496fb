"""Whether replies are asked for packed, by how fast those before have come."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

Compression = Literal["auto", "gzip", "identity"]

#: Prometheus packs about 14 MB of JSON per second: packed replies that come about as fast wait
#: for the packing, and plain ones that come slower wait for the link [bytes/s].
_PACKING = 8e6
_SLOW = 10e6
#: Replies smaller than this say nothing about speed [bytes].
_ENOUGH = 1 << 22


class Packing:
    """The encoding to ask for.

    Parameters
    ----------
    wanted
        ``gzip``, ``identity``, or ``auto``: plain where the server is on this machine; else
        packed, until large replies show that the link is faster than the server's packing.
    url
        Of the server.
    """

    def __init__(self, wanted: Compression, url: str) -> None:
        self._chosen = wanted == "auto"
        self._packed = wanted == "gzip" or (self._chosen and not _is_near(url))

    @property
    def encoding(self) -> str:
        """As ``Accept-Encoding`` takes it."""
        return "gzip" if self._packed else "identity"

    def learn(self, headers: Mapping[str, str], size: int, seconds: float) -> None:
        """Choose the encoding of the next reply by the speed of this one.

        Parameters
        ----------
        headers
            Of the reply.
        size, seconds
            Of its body, unpacked [bytes], and the time that it took [s].
        """
        if not self._chosen or size < _ENOUGH:
            return
        rate = size / max(seconds, 1e-9)
        if headers.get("Content-Encoding") == "gzip":
            self._packed = rate < _PACKING
        elif rate < _SLOW:
            # For good: the link is slow.
            self._packed, self._chosen = True, False


def _is_near(url: str) -> bool:
    """Tell whether the server is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
