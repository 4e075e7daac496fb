"""Publishes a directory: it is made on this machine, and written to a store when complete.

A store cannot rename. So one file is written last, and readers ignore directories without it.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from cilium_analysis.errors import (
    CiliumAnalysisError,
    Interrupted,
    OutputError,
    StoreUnavailable,
)
from cilium_analysis.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cilium_analysis.storage.address import Address

#: Name of an object that exists while others are being written beside it, and after a crash.
MARK = ".unfinished"


@contextmanager
def publication(
    address: Address,
    *,
    last: str,
    replaces: bool = False,
    kept: Callable[[Path, BaseException], bool] | None = None,
) -> Iterator[Path]:
    """Give the path of a directory to make; it is published when the block ends.

    Parameters
    ----------
    address
        Of the published directory.
    last
        Name of the file that is published last, and so says that the others exist.
    replaces
        Whether it takes the place of what was published there.
    kept
        Decides whether it is published also when the block ends with an error.

    Raises
    ------
    OutputError
        If something is published there already.
    StoreRefused, StoreUnavailable
        If it cannot be written there; this is checked before anything is made.
    StoreUnavailable
        If it cannot be written any more when it is made. It is kept on this machine then, and the
        message says where; in the store, nothing is left of it if it can still be deleted.
    """
    store, claim = Store(address), token_hex(16).encode()
    if not replaces and store.find(last) is not None:
        raise OutputError(f"{address} exists already: choose another")
    store.write(MARK, claim)
    home = Path(mkdtemp(prefix="cilium-analysis-"))
    try:
        yield home / address.name
    except BaseException as problem:
        if kept is not None and kept(home / address.name, problem):
            _publish_or_keep(store, home / address.name, last, claim, replaces=replaces)
            shutil.rmtree(home, ignore_errors=True)
            raise
        shutil.rmtree(home, ignore_errors=True)
        with suppress(CiliumAnalysisError):
            store.delete([MARK])
        raise
    _publish_or_keep(store, home / address.name, last, claim, replaces=replaces)
    shutil.rmtree(home, ignore_errors=True)


def _publish_or_keep(
    store: Store, directory: Path, last: str, claim: bytes, *, replaces: bool
) -> None:
    names = [] if replaces else [last, *_files(directory)]
    try:
        _publish(store, directory, last, claim)
    except KeyboardInterrupt:
        _take_back(store, names)
        raise Interrupted(
            f"stopped before all was in {store.root}; what was made is kept in {directory}"
        ) from None
    except CiliumAnalysisError as problem:
        _take_back(store, names)
        raise StoreUnavailable(
            f"{store.root} was not written: {problem}; what was made is kept in {directory}"
        ) from None


def _publish(store: Store, directory: Path, last: str, claim: bytes) -> None:
    files = _files(directory)
    marks_complete = {last: files.pop(last)}
    store.upload(files)
    sizes = store.sizes()
    wrong = [name for name, file in files.items() if sizes.get(name) != file.stat().st_size]
    if wrong:
        raise StoreUnavailable(f"the store has lost {wrong[0]}")
    if store.find(MARK) != claim:
        raise StoreUnavailable("another process has begun to write the same")
    store.upload(marks_complete)
    with suppress(CiliumAnalysisError):  # it is complete all the same
        store.delete([MARK])


def _files(directory: Path) -> dict[str, Path]:
    """Give the files of a directory, by the names of the objects that they become."""
    return {
        path.relative_to(directory).as_posix(): path
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def _take_back(store: Store, names: list[str]) -> None:
    """Delete what was written; the mark last, as it says that there is something to delete."""
    with suppress(CiliumAnalysisError):
        store.delete(names)
        store.delete([MARK])
