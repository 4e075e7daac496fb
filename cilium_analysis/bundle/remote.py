"""A bundle in an object store: fetched into a temporary directory that is removed with it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any
from weakref import finalize

from cilium_analysis.bundle import manifest as manifests
from cilium_analysis.bundle.replay import Bundle
from cilium_analysis.errors import BundleError
from cilium_analysis.scratch import scratch
from cilium_analysis.storage import Store

if TYPE_CHECKING:
    from pathlib import Path

    from cilium_analysis.storage import Address


def fetch(address: Address) -> Bundle:
    """Fetch a bundle from a store.

    Raises
    ------
    BundleError
        If there is none, or it is damaged or of another schema.
    StoreRefused, StoreUnavailable
        If it cannot be read.
    """
    home = scratch()
    try:
        manifest = _manifest(address, home)
        # These names were checked when the manifest was read.
        names = [str(row["file"]) for row in manifest["answers"] if "error" not in row]
        if kubernetes := manifest.get("kubernetes"):
            names.append(str(kubernetes["file"]))
        Store(address).download(names, home)
        bundle = Bundle(home, called=str(address))
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    finalize(bundle, shutil.rmtree, home, ignore_errors=True)
    return bundle


def knock(address: Address) -> None:
    """Check that there is a bundle, without fetching it; errors as of `fetch`."""
    home = scratch()
    try:
        _manifest(address, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _manifest(address: Address, home: Path) -> dict[str, Any]:
    content = Store(address).find(manifests.MANIFEST)
    if content is None:
        raise BundleError(
            f"{address} is no bundle: it has no {manifests.MANIFEST}, or there is no such bucket"
        )
    (home / manifests.MANIFEST).write_bytes(content)
    return manifests.read(home, called=str(address))
