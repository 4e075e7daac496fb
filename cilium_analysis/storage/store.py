"""Objects below an address: lists, reads, writes and deletes them. No other module asks a store.

What the libraries of the stores say can hold addresses, signatures and tokens. So an error names
only the kind of their error, and the short code of the store.
"""

from __future__ import annotations

import mimetypes
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeVar

from cilium_analysis.errors import (
    CiliumAnalysisError,
    ParameterError,
    StoreRefused,
    StoreUnavailable,
)
from cilium_analysis.storage.address import EXTRAS, Address

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Requests at a time.
_AT_A_TIME = 16
#: Time limits for connecting, and for each part of an answer [s].
_CONNECT, _READ = 10, 30
#: The number of retries is left to the libraries and their own configuration.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": _CONNECT, "read_timeout": _READ}},
    "gcs": {},
    "azure": {"connection_timeout": _CONNECT, "read_timeout": _READ},
}

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{1,60}|[1-5]\d\d")
#: Errors of the libraries, by the names of their classes: none of them need be installed.
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "ConfigParseError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "SSOTokenLoadError",
    "DefaultCredentialsError",
    "RefreshError",
    "CredentialUnavailableError",
    "ClientAuthenticationError",
}
_UNREACHABLE = {
    "EndpointConnectionError": "it cannot be reached",
    "ConnectTimeoutError": "it does not answer",
    "ReadTimeoutError": "it does not answer in time",
    "ConnectionClosedError": "the connection broke off",
    "FSTimeoutError": "it does not answer in time",
    "TimeoutError": "it does not answer in time",
    "SSLError": "its certificate is not trusted, or it does not speak TLS",
    "ClientConnectorError": "it cannot be reached",
    "ServiceRequestError": "it cannot be reached",
    "ServiceResponseError": "the connection broke off",
}
_NOT_HERE = {"InvalidEndpointURL", "InvalidRegionError", "UnsupportedEndpoint"}


class Store:
    """The objects below an address. Their names are relative to it.

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
        """Give the content of an object; None if it does not exist."""
        address = self.root / name
        with _translated("read", address):
            try:
                return bytes(self._files.cat_file(address.path))
            except FileNotFoundError:
                return None

    def find_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Give the contents of those objects that exist, by name."""
        wanted = list(names)
        found = zip(wanted, _each(self.find, wanted), strict=True)
        return {name: content for name, content in found if content is not None}

    def write(self, name: str, content: bytes) -> None:
        """Write an object: all of it at once, or not at all."""
        address = self.root / name
        with _translated("write", address):
            self._files.pipe_file(address.path, content, **_kind(address))

    def upload(self, files: Mapping[str, Path]) -> None:
        """Write objects, each from a file; stop at the first error."""
        _each(lambda pair: self._put(*pair), files.items())

    def _put(self, name: str, file: Path) -> None:
        address = self.root / name
        with _translated("write", address):
            self._files.put_file(str(file), address.path, **_kind(address))

    def download(self, names: Iterable[str], directory: Path) -> None:
        """Read objects into files of a directory.

        Parameters
        ----------
        names
            Checked by the caller: they become paths.
        directory
            Gets a directory for each part of a name.

        Raises
        ------
        StoreRefused
            If one does not exist.
        """
        _each(lambda name: self._get(name, directory / name), names)

    def _get(self, name: str, file: Path) -> None:
        address = self.root / name
        with _translated("read", address):
            content = self._files.cat_file(address.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def delete(self, names: Iterable[str]) -> None:
        """Delete those objects that exist; stop at the first error."""
        _each(self._delete, names)

    def _delete(self, name: str) -> None:
        address = self.root / name
        with _translated("delete", address):
            try:
                self._files.rm_file(address.path)
            except FileNotFoundError:
                return

    def listing(self) -> tuple[set[str], set[str]]:
        """Give the names of the folders and of the objects right below the address."""
        folders: set[str] = set()
        objects: set[str] = set()
        with _translated("list", self.root):
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
        with _translated("list", address):
            try:
                found = self._files.find(address.path, detail=True)
            except FileNotFoundError:
                found = {}
        skip = len(self.root.path) + 1
        return {str(path)[skip:]: int(row["size"]) for path, row in found.items()}

    def versions(self, names: Collection[str]) -> dict[str, str]:
        """Give a text for each object that exists; it changes whenever the object is written."""
        wanted = list(names)
        found = zip(wanted, _each(self._version, wanted), strict=True)
        return {name: version for name, version in found if version}

    def written(self, name: str) -> datetime | None:
        """Give the time when an object was written; None if it does not exist."""
        address = self.root / name
        with _translated("read", address):
            try:
                moment: datetime = self._files.modified(address.path)
            except FileNotFoundError:
                return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _version(self, name: str) -> str:
        address = self.root / name
        with _translated("read", address):
            try:
                row = self._files.info(address.path)
            except FileNotFoundError:
                return ""
        keys = ("ETag", "etag", "generation", "LastModified", "last_modified", "mtime", "size")
        return "" if row["type"] == "directory" else repr([row.get(key) for key in keys])


def _each(function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Call a function with each item, many at a time; stop at the first error."""
    pool = ThreadPoolExecutor(max_workers=_AT_A_TIME)
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _file_system(root: Address) -> Any:
    extra = EXTRAS[root.scheme]
    options = _OPTIONS[extra] | ({"account_name": root.account} if root.account else {})
    with _translated("use", root):
        try:
            import fsspec  # an extra brings it

            # No cached listings and connections: another process writes there too.
            return fsspec.filesystem(
                root.scheme, use_listings_cache=False, skip_instance_cache=True, **options
            )
        except ImportError:
            raise ParameterError(
                f"{root.scheme}:// needs a package that is not installed:"
                f" pip install 'cilium-analysis[{extra}]'"
            ) from None


def _kind(address: Address) -> dict[str, Any]:
    """Give the content type of an object, so that a browser shows a page instead of saving it."""
    kind = mimetypes.guess_type(address.name)[0] or "application/octet-stream"
    if EXTRAS[address.scheme] == "azure":
        return {"content_settings": {"content_type": kind}}
    return {"ContentType": kind} if EXTRAS[address.scheme] == "s3" else {"content_type": kind}


@contextmanager
def _translated(doing: str, address: Address) -> Iterator[None]:
    """Turn whatever a library raises into an error of ours.

    Parameters
    ----------
    doing
        What is being done, as ``write`` or ``read``.
    address
        Where.

    Raises
    ------
    StoreRefused
        If there is no such bucket or object, or no right to it.
    StoreUnavailable
        If the store cannot be reached, or failed, also when it was asked again.
    """
    try:
        yield
    except CiliumAnalysisError:
        raise
    except Exception as problem:
        kind, reason = _judged(problem)
        raise kind(f"cannot {doing} {address}: {reason}") from None


def _judged(problem: Exception) -> tuple[type[CiliumAnalysisError], str]:
    names = {each.__name__ for each in type(problem).__mro__}
    if isinstance(problem, FileNotFoundError):
        return StoreRefused, "there is no such bucket or object"
    if names & _NO_CREDENTIALS:
        return StoreRefused, "no credentials for it were found, or they cannot be used"
    code = _code(problem)
    if isinstance(problem, PermissionError) or code in ("401", "403"):
        shown = f" ({code})" if code and code != "AccessDenied" else ""
        return StoreRefused, f"access denied{shown}"
    if names & _NOT_HERE or isinstance(problem, ValueError):
        hint = "check its endpoint, region or account in the environment"
        return StoreRefused, f"the store is not set up ({type(problem).__name__}): {hint}"
    words = next((_UNREACHABLE[name] for name in names if name in _UNREACHABLE), "")
    return StoreUnavailable, words or f"it failed ({type(problem).__name__}{code and f', {code}'})"


def _code(problem: BaseException) -> str:
    """Give the short code that the store answered with; empty if it gave none."""
    cause = problem.__cause__ or problem
    response = getattr(cause, "response", None)
    told = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    told = told or getattr(cause, "error_code", "") or getattr(cause, "code", "")
    return str(told) if _CODE.fullmatch(str(told)) else ""
