"""Files that others may have made: read without trust, and checked before they are used.

The checks of each format, and the errors about damaged files, are in the modules that read them.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from cilium_analysis.texts import clipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Longer than any JSON of this package [bytes].
MOST_JSON = 2**25
#: Larger than any count of this package; other programs read whole numbers up to this.
_MOST = 2**63
# Not on Windows, where the name of a file opens nothing else.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NONBLOCK", "O_NOFOLLOW"))


def read(directory: Path, name: str, *, most: int = MOST_JSON) -> bytes:
    """Read a plain file of a directory; never the target of a link, nor a pipe or a device.

    Parameters
    ----------
    directory
        May be a link itself, since the user named it.
    name
        Of the file in it, with ``/`` between folders.
    most
        Largest size that is read [bytes].

    Raises
    ------
    OSError
        If it is not there, is not such a file, or is longer.
    """
    path = directory
    parts = PurePosixPath(name).parts
    for part in parts:
        if part in ("..", "/"):
            raise OSError(None, "it is outside of the directory")
        path = path / part
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise OSError(None, "it is a symbolic link, or in a folder that is one")
    if not stat.S_ISREG(mode):
        raise OSError(None, "it is no plain file")
    with os.fdopen(os.open(path, os.O_RDONLY | _FLAGS), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(most + 1)
    if size > most or len(content) > most:
        raise OSError(None, f"it has more than {most:,} bytes")
    return content


def parse(content: bytes, *, halves: bool = False) -> Any:
    """Read JSON as this package writes it: in UTF-8, with finite numbers, and not too deep.

    Parameters
    ----------
    content
        Of a file.
    halves
        Whether it may hold halves of characters, which JSON can write and no page can show.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    try:
        document = json.loads(
            content.decode("utf-8"), parse_constant=_number, parse_float=_number, parse_int=_whole
        )
        if not halves:
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a character") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return document


def _number(text: str) -> float:
    number = float(text)
    if number - number:
        raise ValueError(f"{text} is no number")
    return number


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= _MOST:
        raise ValueError(f"{clipped(text, 20)} is too large a number")
    return int(text)


def is_text(value: object) -> bool:
    """Return whether it is a text."""
    return isinstance(value, str)


def is_count(value: object) -> bool:
    """Return whether it is a whole number, not below 0."""
    return type(value) is int and value >= 0


def is_number(value: object) -> bool:
    """Return whether it is a number."""
    return type(value) in (int, float)


def is_texts(value: object) -> bool:
    """Return whether it is a list of texts."""
    return isinstance(value, list) and all(map(is_text, value))


def is_names(value: object) -> bool:
    """Return whether it maps texts to texts."""
    return isinstance(value, Mapping) and all(map(is_text, value.values()))


def fields(value: object, kinds: Mapping[str, Callable[[object], bool]]) -> dict[str, Any]:
    """Return a mapping if it has these fields, each of its kind; it may have others.

    Parameters
    ----------
    value
        Of a JSON document.
    kinds
        Test of each field, by its name.

    Raises
    ------
    ValueError
        If a field is missing, or of another kind.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} stands where names and values should")  # noqa: TRY004
    for name, is_kind in kinds.items():
        if name not in value:
            raise ValueError(f"it has no {name!r}")
        if not is_kind(value[name]):
            raise ValueError(f"its {name!r} is {shown(value[name])}")
    return value


def rows(value: object, what: str) -> list[Any]:
    """Return a value if it is a list.

    Raises
    ------
    ValueError
        If it is none; names it by `what`.
    """
    if not isinstance(value, list):
        raise ValueError(f"its {what!r} is {shown(value)}")  # noqa: TRY004
    return value


def shown(value: object) -> str:
    """Write a value as errors quote it."""
    return clipped(repr(value), 60)
