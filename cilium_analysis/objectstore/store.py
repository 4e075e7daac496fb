"""Objects below an address: listed, read, written, deleted. Nothing else speaks to a store."""

from __future__ import annotations

import mimetypes
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeVar

from cilium_analysis.errors import ParameterError
from cilium_analysis.objectstore.address import EXTRAS, Address
from cilium_analysis.objectstore.faults import told

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Requests at a time.
_AT_A_TIME = 16
#: A store that takes longer to connect, or to go on with an answer, does not answer [s].
_CONNECT, _READ = 10, 30
#: How often they ask again is for the libraries, and their own configuration, to say.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": _CONNECT, "read_timeout": _READ}},
    "gcs": {},
    "azure": {"connection_timeout": _CONNECT, "read_timeout": _READ},
}


class Store:
    """What is below an address. Names of objects are relative to it.

    Parameters
    ----------
    root
        The prefix.

    Raises
    ------
    ParameterError
        If the extra is not installed.
    StoreRefused
        If the store is not set up, as when Azure's account is not named.
    """

    def __init__(self, root: Address) -> None:
        self.root = root
        self._files = _file_system(root)

    def find(self, name: str) -> bytes | None:
        """Give the content of an object; None if it is not there."""
        address = self.root / name
        with told("read", address):
            try:
                return bytes(self._files.cat_file(address.path))
            except FileNotFoundError:
                return None

    def find_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Give the contents of those objects that are there, by name."""
        wanted = list(names)
        found = zip(wanted, _each(self.find, wanted), strict=True)
        return {name: content for name, content in found if content is not None}

    def write(self, name: str, content: bytes) -> None:
        """Write an object: all of it at once, or not at all."""
        address = self.root / name
        with told("write", address):
            self._files.pipe_file(address.path, content, **_kind(address))

    def upload(self, files: Mapping[str, Path]) -> None:
        """Write objects, each from a file; stops at the first that cannot be."""
        _each(lambda pair: self._put(*pair), files.items())

    def _put(self, name: str, file: Path) -> None:
        address = self.root / name
        with told("write", address):
            self._files.put_file(str(file), address.path, **_kind(address))

    def download(self, names: Iterable[str], directory: Path) -> None:
        """Read objects into files of a directory.

        Parameters
        ----------
        names
            Checked already: they become paths.
        directory
            Gets a directory for each part of a name.

        Raises
        ------
        StoreRefused
            If one is not there.
        """
        _each(lambda name: self._get(name, directory / name), names)

    def _get(self, name: str, file: Path) -> None:
        address = self.root / name
        with told("read", address):
            content = self._files.cat_file(address.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, as far as they are there; stops at the first that cannot be."""
        _each(self._delete, names)

    def _delete(self, name: str) -> None:
        address = self.root / name
        with told("delete", address):
            try:
                self._files.rm_file(address.path)
            except FileNotFoundError:
                return

    def listing(self) -> tuple[set[str], set[str]]:
        """Give the names of the folders and of the objects right below the address."""
        folders: set[str] = set()
        objects: set[str] = set()
        with told("list", self.root):
            try:
                rows = self._files.ls(self.root.path, detail=True)
            except FileNotFoundError:
                rows = []
        for row in rows:
            name = str(row["name"]).rstrip("/").rpartition("/")[2]
            (folders if row["type"] == "directory" else objects).add(name)
        return folders, objects

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Give the sizes of all objects in a folder [bytes], by their names below the address."""
        address = self.root / folder
        with told("list", address):
            try:
                found = self._files.find(address.path, detail=True)
            except FileNotFoundError:
                found = {}
        skip = len(self.root.path) + 1
        return {str(path)[skip:]: int(row["size"]) for path, row in found.items()}

    def versions(self, names: Collection[str]) -> dict[str, str]:
        """Tell objects from what they were before: equal texts are the same object, unchanged.

        Those that are not there have none.
        """
        wanted = list(names)
        found = zip(wanted, _each(self._version, wanted), strict=True)
        return {name: version for name, version in found if version}

    def written(self, name: str) -> datetime | None:
        """Tell when an object was written; None if it is not there."""
        address = self.root / name
        with told("read", address):
            try:
                moment: datetime = self._files.modified(address.path)
            except FileNotFoundError:
                return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _version(self, name: str) -> str:
        address = self.root / name
        with told("read", address):
            try:
                row = self._files.info(address.path)
            except FileNotFoundError:
                return ""
        keys = ("ETag", "etag", "generation", "LastModified", "last_modified", "mtime", "size")
        return "" if row["type"] == "directory" else repr([row.get(key) for key in keys])


def _each(function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Do something with each, many at a time; the first that fails ends it."""
    pool = ThreadPoolExecutor(max_workers=_AT_A_TIME)
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _file_system(root: Address) -> Any:
    extra = EXTRAS[root.scheme]
    options = _OPTIONS[extra] | ({"account_name": root.account} if root.account else {})
    with told("use", root):
        try:
            import fsspec  # an extra brings it

            # Listings and connections of our own: another process writes there too.
            return fsspec.filesystem(
                root.scheme, use_listings_cache=False, skip_instance_cache=True, **options
            )
        except ImportError:
            raise ParameterError(
                f"{root.scheme}:// needs a package that is not installed:"
                f" pip install 'cilium-analysis[{extra}]'"
            ) from None


def _kind(address: Address) -> dict[str, Any]:
    """Say what an object is, so that a browser shows a page instead of saving it."""
    kind = mimetypes.guess_type(address.name)[0] or "application/octet-stream"
    if EXTRAS[address.scheme] == "azure":
        return {"content_settings": {"content_type": kind}}
    return {"ContentType": kind} if EXTRAS[address.scheme] == "s3" else {"content_type": kind}
