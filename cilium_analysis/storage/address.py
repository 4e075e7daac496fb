"""Addresses of object stores: reads, checks and writes them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from cilium_analysis.errors import ParameterError

#: Schemes, and the extras of this package that their stores need.
EXTRAS = {
    "s3": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
#: A typing mistake, which nobody means as a directory.
_ALMOST = re.compile(rf"({'|'.join(EXTRAS)}):", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
#: Azure's own way to name the account; anything else before an @ is a credential.
_ACCOUNT = re.compile(
    r"(?P<bucket>[^@:]+)@(?P<account>[a-z0-9]{3,24})\.(dfs|blob)\.core\.windows\.net"
)
_KEY = re.compile(r"[^\x00-\x1f\x7f\\?#*\[\]{}]*")


@dataclass(frozen=True)
class Address:
    """An object in a store, or all below a prefix.

    Parameters
    ----------
    scheme
        One of `EXTRAS`.
    bucket
        Name of the bucket; in Azure, of the container.
    key
        Of the object, or the prefix, without a slash at either end; empty is the whole bucket.
    account
        Azure's storage account, where the address names it.
    """

    scheme: str
    bucket: str
    key: str = ""
    account: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address such as ``s3://bucket/prefix``.

        Raises
        ------
        ParameterError
            If it is none, or holds what could be a credential, which the message does not repeat.
        """
        found = _SCHEME.match(text)
        scheme = found[1].lower() if found else ""
        if not found or scheme not in EXTRAS:
            raise ParameterError(
                f"unknown scheme {scheme!r}: give a directory, or an address that begins with"
                " s3://, gs://, az:// or abfs://"
            )
        rest = text[found.end() :]
        if any(char in rest for char in "?#"):
            raise ParameterError(
                f"an address of an object store has no ? and no #: write {scheme}://bucket/prefix"
            )
        host, _, key = rest.partition("/")
        bucket, account = _bucket_and_account(scheme, host, whole=rest)
        key = key.strip("/")
        parts = key.split("/") if key else []
        if not _KEY.fullmatch(key) or any(part in ("", ".", "..") for part in parts):
            raise ParameterError(
                f"the prefix of the address is not valid: write it as {scheme}://bucket/prefix,"
                r" without .., //, \ and any of *[]{}"
            )
        return cls(scheme, bucket, key, account)

    def __str__(self) -> str:
        host = f"{self.bucket}@{self.account}.dfs.core.windows.net" if self.account else self.bucket
        return f"{self.scheme}://{host}/{self.key}".removesuffix("/")

    def __truediv__(self, name: str) -> Address:
        return replace(self, key=f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Address:
        """The prefix above it; a bucket is its own parent."""
        return replace(self, key=self.key.rpartition("/")[0])

    @property
    def path(self) -> str:
        """Bucket and key, as fsspec names objects."""
        return f"{self.bucket}/{self.key}".removesuffix("/")

    def absolute(self) -> Address:
        """Give the address itself, as a path gives its absolute one."""
        return self


def _bucket_and_account(scheme: str, host: str, *, whole: str) -> tuple[str, str]:
    named = _ACCOUNT.fullmatch(host) if EXTRAS[scheme] == "azure" else None
    if named:
        host = named["bucket"]
    elif "@" in whole:
        raise ParameterError(
            "an address of an object store holds no credentials: leave out what is before the @;"
            " they come from the environment, or the store's own configuration"
        )
    if not _BUCKET.fullmatch(host):
        raise ParameterError(f"the address names no bucket: write it as {scheme}://bucket/prefix")
    return host, named["account"] if named else ""


def located(text: str) -> Path | Address:
    """Give the directory or the address in an object store that a text names.

    Raises
    ------
    ParameterError
        If it is an address of neither.
    """
    if _SCHEME.match(text):
        return Address.parse(text)
    if _ALMOST.match(text) and not Path(text).exists():
        scheme = text.partition(":")[0]
        raise ParameterError(f"an address has two slashes: write it as {scheme}://bucket/prefix")
    return Path(text)
