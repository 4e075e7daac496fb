"""Storage: where runs and bundles are kept. A directory, or an object store.

Object stores are S3 and what speaks like it, Google Cloud Storage and Azure Blob Storage. Their
own libraries find the credentials: in the environment, in their configuration files, or in the
role of the machine or pod. An address never holds any.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.storage.address import Address, located
from cilium_analysis.storage.publication import MARK, publication
from cilium_analysis.storage.store import Store

if TYPE_CHECKING:
    from cilium_analysis.storage.directory import Directory
    from cilium_analysis.storage.stored import Stored

    #: Holds runs, the pages that compare them, and the index of all.
    Place = Directory | Stored

__all__ = ["MARK", "Address", "Place", "Store", "located", "place", "publication"]


def place(where: Path | Address) -> Place:
    """Give the place behind a path or an address.

    Raises
    ------
    ParameterError
        If an extra is not installed that it needs.
    StoreRefused
        If the store is not set up.
    """
    if isinstance(where, Path):
        from cilium_analysis.storage.directory import Directory

        return Directory(where)
    from cilium_analysis.storage.stored import Stored

    return Stored(where)
