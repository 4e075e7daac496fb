"""Looks for planted secrets in everything that was written, however it is packed or escaped.

All secrets begin with one mark, so that a part of one is found too; private keys, which nobody
can choose, are looked for by their own text.
"""

from __future__ import annotations

import base64
import gzip
import io
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Letters and digits, which no escaping changes; what follows it in a secret is not so plain.
MARK = "pl4nted"
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{40,}={0,2}")
#: ASCII, as JSON and Python, HTML, and HTML and URLs escape it.
_JSON = re.compile(rb"\\u00([0-7][0-9a-fA-F])|\\x([0-7][0-9a-fA-F])")
_DECIMAL = re.compile(rb"&#0*(1?[0-9]{1,2});")
_URL = re.compile(rb"%([0-7][0-9a-fA-F])|&#[xX]0*([0-7][0-9a-fA-F]);")
_PICTURE = b"\x89PNG"
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


def planted(name: str) -> str:
    """A secret of that name, with characters in it that every kind of text escapes differently."""
    return f'{MARK}-{name}-<&"%/ü'


def needles(secret: str) -> set[bytes]:
    """A text as it is, in base64 wherever it stands in what was encoded, and in hexadecimal."""
    raw = secret.encode()
    found = {raw, raw.hex().encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        # Without the characters that bits of a neighbour are in.
        inner = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(raw)) % 3 else 0)]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def leaks(content: bytes, *others: str) -> set[bytes]:
    """What of the mark, and of other texts, there is in a content; with what stands around it."""
    wanted = set().union(*map(needles, (MARK, *others)))
    found: set[bytes] = set()
    for view in _views(content):
        for needle in wanted:
            if (at := view.find(needle)) >= 0:
                found.add(view[max(0, at - 60) : at + 60])
    return found


def leaks_of_files(folder: Path, *others: str) -> dict[str, set[bytes]]:
    """What leaked into the files below a folder, and into their names."""
    found = {"names": leaks("\n".join(map(str, folder.rglob("*"))).encode(), *others)}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[str(path.relative_to(folder))] = leaks(path.read_bytes(), *others)
    return {name: what for name, what in found.items() if what}


def _views(content: bytes) -> Iterator[bytes]:
    """A content as it is, as it reads where it is shown, and what is packed into it."""
    yield content
    yield _read_out(content)
    for inner in _unpacked(content):
        yield inner
        yield from _unpacked(inner)
        if not inner.startswith(_PICTURE):
            yield _read_out(inner)


def _read_out(content: bytes) -> bytes:
    """Undo the escapes of JSON, HTML and URLs."""
    plain = _JSON.sub(lambda m: bytes.fromhex((m[1] or m[2]).decode()), content)
    plain = _DECIMAL.sub(lambda m: bytes([int(m[1])]), plain)
    return _URL.sub(lambda m: bytes.fromhex((m[1] or m[2]).decode()), plain)


def _unpacked(content: bytes) -> Iterator[bytes]:
    """What is in a Parquet file, in gzip, in a PDF, or in base64 anywhere."""
    if content[:4] == b"PAR1":
        yield _table(content)
    elif content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif content[:5] == b"%PDF-":
        yield from _inflated(_STREAM.findall(content))
    elif not content.startswith(_PICTURE):
        yield from _decoded(_BASE64.findall(content))


def _decoded(runs: Iterable[bytes]) -> Iterator[bytes]:
    for run in runs:
        whole = run[: len(run) // 4 * 4]
        yield base64.b64decode(whole, altchars=b"-_" if b"_" in run or b"-" in run else None)


def _inflated(streams: Iterable[bytes]) -> Iterator[bytes]:
    for stream in streams:
        try:
            yield zlib.decompress(stream)
        except zlib.error:
            continue


def _table(content: bytes) -> bytes:
    """All names, texts and metadata of a Parquet file."""
    table = pq.read_table(io.BytesIO(content))
    texts = [f"{table.schema.metadata} {table.schema}"]
    for column in table.columns:
        if not pa.types.is_primitive(column.type):
            texts += map(str, column.unique().to_pylist())
    return "\n".join(texts).encode()


@dataclass
class Watch:
    """What the processes that a process starts were started with, seen while it runs."""

    commands: set[str] = field(default_factory=set)
    kernels: dict[int, str] = field(default_factory=dict)

    def look(self, pid: int) -> None:
        """Look once, as anybody on the machine can look at command lines."""
        try:
            children = psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        for child in children:
            try:
                line = Path(f"/proc/{child.pid}/cmdline").read_bytes()
                environment = Path(f"/proc/{child.pid}/environ").read_bytes()
            except OSError:
                continue
            self.commands.add(line.replace(b"\0", b" ").decode(errors="replace"))
            if b"ipykernel_launcher" in line or b"forkserver" in line:
                self.kernels[child.pid] = environment.decode(errors="replace")
