"""From an address to a source: a server, a bundle, or the bundled sample."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.errors import SourceError

if TYPE_CHECKING:
    from cilium_analysis.bundle import Bundle
    from cilium_analysis.prometheus import Credentials, Prometheus

_PACKAGE = Path(__file__).parent


def sample_directory() -> Path:
    """Find the bundled sample, in an installed package or in a checkout."""
    installed = _PACKAGE / "_sample"
    return installed if installed.is_dir() else _PACKAGE.parent / "data" / "sample"


def connect(address: str, *, credentials: Credentials | None = None) -> Prometheus | Bundle:
    """Give the source behind an address.

    Parameters
    ----------
    address
        The URL of a Prometheus-compatible server, the directory of a bundle, or ``sample``.
        Credentials come from the user information of the URL, or as below.
    credentials
        References to a server's credentials; those of `Credentials.from_environment` if None.

    Raises
    ------
    SourceError
        If it is none of the three.
    BundleError
        If the bundle is damaged or of another schema.
    """
    text = address.strip()
    if text.lower().startswith(("http://", "https://")):
        from cilium_analysis.prometheus import Credentials, Prometheus

        if credentials is None:
            credentials = Credentials.from_environment()
        return Prometheus(text, credentials=credentials)
    directory = sample_directory() if text == "sample" else Path(text)
    if not text or not directory.is_dir():
        hint = "give the URL of a server (http://…), the directory of a bundle, or sample"
        shown = re.sub(r"//[^/]*@", "//…@", address)  # never a password
        raise SourceError(f"no source {shown!r}: {hint}")
    from cilium_analysis.bundle import Bundle

    return Bundle(directory)
