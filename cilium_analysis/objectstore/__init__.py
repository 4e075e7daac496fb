"""Object stores: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

Credentials are what the store's own library finds: in the environment, in its configuration files,
or in the role of the machine or pod. None is ever part of an address.
"""

from cilium_analysis.objectstore.address import Address, located
from cilium_analysis.objectstore.publication import MARK, publication
from cilium_analysis.objectstore.store import Store

__all__ = ["MARK", "Address", "Store", "located", "publication"]
