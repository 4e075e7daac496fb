"""Publish a directory: made on this machine, in the store when it is whole.

A store cannot rename, so one object is written last, and what lacks it is not there for anybody.
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
from cilium_analysis.objectstore.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cilium_analysis.objectstore.address import Address

#: An object that is there while others are being written beside it; what a crash leaves has it.
MARK = ".unfinished"


@contextmanager
def publication(
    address: Address,
    *,
    last: str,
    replaces: bool = False,
    kept: Callable[[Path, BaseException], bool] | None = None,
) -> Iterator[Path]:
    """Give the path of a directory to make; what is in it is published when the block ends well.

    Parameters
    ----------
    address
        Where to.
    last
        Name of the file that is published last, and so says that the others are there.
    replaces
        Whether it takes the place of what was published there.
    kept
        Tells whether it is published also when the block ends with an error.

    Raises
    ------
    OutputError
        If there is something already.
    StoreRefused, StoreUnavailable
        If it cannot be written there; this is tried before anything is made.
    StoreUnavailable
        If it can no longer be when it is made. It is kept then, and the message says where; in the
        store, nothing is left of it, as far as that can still be done.
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
    store.upload({name: file for name, file in files.items() if name != last})
    _check(store, {name: file for name, file in files.items() if name != last}, claim)
    store.upload({last: files[last]})
    with suppress(CiliumAnalysisError):  # it is whole all the same
        store.delete([MARK])


def _files(directory: Path) -> dict[str, Path]:
    """Give the files of a directory, by the names of the objects that they become."""
    return {
        path.relative_to(directory).as_posix(): path
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def _check(store: Store, files: dict[str, Path], claim: bytes) -> None:
    """See that all is there as it was sent, and nobody else has begun to write the same."""
    sizes = store.sizes()
    wrong = [name for name, file in files.items() if sizes.get(name) != file.stat().st_size]
    if wrong:
        raise StoreUnavailable(f"the store has lost {wrong[0]}")
    if store.find(MARK) != claim:
        raise StoreUnavailable("something else has begun to write the same")


def _take_back(store: Store, names: list[str]) -> None:
    """Delete what was written; the mark goes last, as it says that there is something to delete."""
    with suppress(CiliumAnalysisError):
        store.delete(names)
        store.delete([MARK])
