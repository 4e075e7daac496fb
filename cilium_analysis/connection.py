"""Connects to a source by its address: a server, a bundle, or one of the bundled samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.errors import SourceError
from cilium_analysis.storage.address import EXTRAS
from cilium_analysis.texts import bare_address
from cilium_analysis.ways import is_way, reach

if TYPE_CHECKING:
    from cilium_analysis.bundle import Bundle
    from cilium_analysis.prometheus import Credentials, Deadline, Prometheus

_PACKAGE = Path(__file__).parent
SAMPLE = "sample"
#: Bundles that come with the package: a simulated cluster, and a recording of real agents.
SAMPLES = (SAMPLE, "sample-real")


def sample_directory(name: str = SAMPLE) -> Path:
    """Find a bundled sample, in an installed package or in a checkout."""
    installed = _PACKAGE / f"_{name.replace('-', '_')}"
    return installed if installed.is_dir() else _PACKAGE.parent / "data" / name


def is_stored(address: str) -> bool:
    """Return whether an address is one of an object store."""
    scheme, slashes, _ = address.partition("://")
    return bool(slashes) and scheme.lower() in EXTRAS


def credentials_for(address: str) -> Credentials:
    """Take the credentials for a server from the environment.

    Those of a managed service are found by the library of its vendor, if no others are named.

    Parameters
    ----------
    address
        Its URL.
    """
    from cilium_analysis.prometheus import Credentials
    from cilium_analysis.prometheus.managed import service_of

    found = Credentials.from_environment()
    return found if found.signs else replace(found, sign_in=service_of(address))


def connect(
    address: str,
    *,
    credentials: Credentials | None = None,
    timeout: float = 120.0,
    deadline: Deadline | None = None,
) -> Prometheus | Bundle:
    """Connect to the source at an address.

    Parameters
    ----------
    address
        The URL of a Prometheus-compatible server; ``kubernetes:`` or ``grafana:…``, as of
        `cilium_analysis.ways`; the directory of a bundle or its address in an object store
        (``s3://bucket/…/bundle``); or one of `SAMPLES`.
        Credentials come from the user information of the URL, or as below.
    credentials
        References to a server's credentials; those of `Credentials.from_environment` if None.
    timeout, deadline
        Of a server's requests, see `Prometheus`; the whole run has no deadline if None.

    Raises
    ------
    SourceError
        If it is none of these.
    BundleError
        If the bundle is damaged or of another schema.
    StoreRefused, StoreUnavailable
        If the object store does not give it.

    Examples
    --------
    >>> from cilium_analysis import connect
    >>> source = connect("sample")
    >>> source.name
    'sample (a simulated cluster, Cilium 1.15.2)'
    """
    text = address.strip()
    if text.lower().startswith(("http://", "https://")):
        from cilium_analysis.prometheus import Deadline, Prometheus

        if credentials is None:
            credentials = credentials_for(text)
        until = Deadline() if deadline is None else deadline
        return Prometheus(text, credentials=credentials, timeout=timeout, deadline=until)
    if is_way(text):
        from cilium_analysis.prometheus import Credentials, Deadline

        return reach(
            text,
            credentials=Credentials.from_environment() if credentials is None else credentials,
            timeout=timeout,
            deadline=Deadline() if deadline is None else deadline,
        )
    if is_stored(text):
        from cilium_analysis.bundle.remote import fetch
        from cilium_analysis.storage import Address

        return fetch(Address.parse(text))
    directory = sample_directory(text) if text in SAMPLES else Path(text)
    if not text or not directory.is_dir():
        known = f"kubernetes:, a bundle, or {' or '.join(SAMPLES)}"
        hint = f"give the URL of a server (http://…), {known}"
        raise SourceError(f"no source {bare_address(address)!r}: {hint}")
    from cilium_analysis.bundle import Bundle

    return Bundle(directory)
