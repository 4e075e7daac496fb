"""A bundle in an object store: fetched into a temporary directory, which goes when it does."""

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
    from collections.abc import Mapping
    from pathlib import Path

    from cilium_analysis.storage import Address


def fetch(address: Address) -> Bundle:
    """Give a bundle that is in a store.

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
        Store(address).download(_files(manifest), home)
        bundle = Bundle(home, called=str(address))
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    finalize(bundle, shutil.rmtree, home, ignore_errors=True)
    return bundle


def knock(address: Address) -> None:
    """See that there is a bundle, without fetching it; errors as of `fetch`."""
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


def _files(manifest: Mapping[str, Any]) -> list[str]:
    """Give the names of all files; they were checked when the manifest was read."""
    kubernetes = manifest.get("kubernetes")
    return [
        *(str(row["file"]) for row in manifest["answers"] if "error" not in row),
        *([str(kubernetes["file"])] if kubernetes else []),
    ]
