"""Label frames as Parquet files, one row per sample."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilium_analysis import frames
from cilium_analysis.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

_INDEX_KEY = b"cilium_analysis.times"
_LABEL = "label:"
#: Most samples of an answer that is read, and most cells of its frame.
_MOST_SAMPLES, _MOST_CELLS = 10**8, 2 * 10**8
#: Most memory of a column, or of all texts in one, once unpacked [bytes].
_MOST_BYTES = 2**31
_TYPES = {"time": pa.timestamp("ms", tz="UTC"), "value": pa.float64(), "series": pa.int32()}
#: Errors that a damaged file may raise.
_DAMAGE = (
    *(pa.ArrowException, OSError, KeyError, IndexError, TypeError, ValueError),
    *(OverflowError, RecursionError),
)


def write_frame(frame: pd.DataFrame, path: Path) -> int:
    """Write a label frame as Parquet, one row per sample.

    Parameters
    ----------
    frame
        A label frame.
    path
        Of the new file.

    Returns
    -------
    int
        Number of rows written.
    """
    values = frame.to_numpy().T
    which, when = np.nonzero(~np.isnan(values))
    times = frames.milliseconds(frame.index)
    series = pa.array(which.astype("int32"))
    columns: dict[str, pa.Array] = {"time": pa.array(times[when], pa.timestamp("ms", tz="UTC"))}
    for level, name in enumerate(frame.columns.names):
        texts = pa.array(frame.columns.get_level_values(level).astype(object), pa.string())
        columns[f"{_LABEL}{name}"] = texts.take(series).dictionary_encode()
    columns |= {"value": pa.array(values[which, when]), "series": series}
    metadata = {_INDEX_KEY: json.dumps(times.tolist()).encode()}
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, path, compression="zstd")
    return len(which)


def read_frame(content: bytes, *, file: str) -> pd.DataFrame:
    """Read a label frame that `write_frame` wrote.

    Parameters
    ----------
    content
        Of the file.
    file
        Its name, for the error.

    Raises
    ------
    BundleError
        If the file is not such a frame.
    """
    try:
        table = _read(content, labels=True)
        index = _index(table.schema.metadata or {})
        series = table["series"].to_numpy()
        times = table["time"].cast(pa.int64()).to_numpy()
        names = _label_columns(table)
        firsts, series = _numbered(series)
        levels = {n.removeprefix(_LABEL): _texts(table[n], firsts, series) for n in names}
        rows = [dict(zip(levels, row, strict=True)) for row in zip(*levels.values(), strict=True)]
        if rows:
            _check(index, times, series, rows)
        if len(index) * len(rows) > _MOST_CELLS:
            raise ValueError(
                f"{len(index):,} times of {len(rows):,} series are more than are ever asked for"
            )
        values = np.full((len(index), len(rows)), np.nan)
        values[np.searchsorted(index, times), series] = table["value"].to_numpy()
    except MemoryError:
        raise BundleError(f"{file} needs more memory than there is") from None
    except _DAMAGE as problem:
        raise BundleError(
            f"the bundle is damaged: cannot read {file} ({problem}): record it anew"
        ) from None
    if not rows:
        return frames.empty([n for n in levels if n != "__name__"])
    return frames.build(index, values, rows)


def _index(metadata: Mapping[bytes, bytes]) -> NDArray[np.int64]:
    """Return all times of the frame [ms since 1970 UTC], also those without a sample."""
    times = json.loads(metadata[_INDEX_KEY])
    if not isinstance(times, list) or any(type(time) is not int for time in times):
        raise ValueError("its times are no whole numbers")
    return np.array(times, dtype="int64")


def _label_columns(table: pa.Table) -> list[str]:
    """Return the names of the columns with labels; check that the others are as written."""
    names = [name for name in table.column_names if name not in _TYPES]
    for name in names:
        kind = table.schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not name.startswith(_LABEL) or not pa.types.is_string(kind):
            raise ValueError(f"its column {name!r} holds no labels")
    for name, kind in _TYPES.items():
        found = table[name]
        if found.type != kind or found.null_count:
            raise ValueError(f"its column {name!r} is not as it was written")
    if len(table) and not names:
        raise ValueError("it has no labels")
    if np.isnan(table["value"].to_numpy()).any():
        raise ValueError("it has samples that are no numbers")
    return names


def _numbered(series: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first row of each series, and for each row the place of its series."""
    if (series[1:] < series[:-1]).any():
        raise ValueError("its series are not in order")
    # A series without samples has a number, but no rows.
    _, firsts, places = np.unique(series, return_index=True, return_inverse=True)
    return firsts, places


def _texts(
    column: pa.ChunkedArray, firsts: NDArray[np.intp], series: NDArray[np.intp]
) -> list[str]:
    """Return one label of each series, which must have one value in all its rows."""
    codes = column.combine_chunks().dictionary_encode().indices
    if codes.null_count or (codes.to_numpy() != codes.take(firsts).to_numpy()[series]).any():
        raise ValueError("a series has different labels in its rows")
    texts: list[str] = column.take(firsts).to_pylist()
    return texts


def _check(
    index: NDArray[np.int64],
    times: NDArray[np.int64],
    series: NDArray[np.intp],
    rows: Sequence[Mapping[str, str]],
) -> None:
    """Refuse times, samples and labels that `write_frame` never writes.

    Parameters
    ----------
    index
        All times of the frame [ms since 1970 UTC].
    times, series
        Of each sample.
    rows
        The labels of each series.
    """
    back = np.flatnonzero(index[1:] <= index[:-1])
    if len(back):
        raise ValueError(
            f"its times are not in order, or doubled, at {frames.written(index[back[0] + 1])}"
        )
    unknown = np.flatnonzero(~np.isin(times, index))
    if len(unknown):
        place = unknown[0]
        raise ValueError(
            f"{frames.selector(rows[series[place]].items())} has a sample at"
            f" {frames.written(times[place])}, which is no time of the frame"
        )
    doubled = np.flatnonzero((times[1:] <= times[:-1]) & (series[1:] == series[:-1])) + 1
    if len(doubled):
        place = doubled[0]
        raise ValueError(
            f"the samples of {frames.selector(rows[series[place]].items())} are not in order of"
            f" time, or doubled, at {frames.written(times[place])}"
        )
    (twice, number), *_ = Counter(frames.selector(row.items()) for row in rows).most_common(1)
    if number > 1:
        raise ValueError(f"two series have the same labels {twice}")


def write_table(table: pd.DataFrame, path: Path) -> int:
    """Write a plain table, such as one of exemplars, as Parquet; return the number of rows."""
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path, compression="zstd")
    return len(table)


def read_table(content: bytes, *, file: str) -> pd.DataFrame:
    """Read a table that `write_table` wrote; parameters and errors as for `read_frame`."""
    try:
        found = _read(content)
        for name in ("time", "value", *found.column_names):
            if len(found) and not _is_of_a_table(name, found[name].type):
                raise ValueError(f"its column {name!r} is not as it was written")
        # Metadata of pandas in the file are not trusted.
        table: pd.DataFrame = found.to_pandas(ignore_metadata=True)
    except MemoryError:
        raise BundleError(f"{file} needs more memory than there is") from None
    except _DAMAGE as problem:
        raise BundleError(f"the bundle is damaged: cannot read {file} ({problem})") from None
    return table


def _is_of_a_table(name: str, kind: pa.DataType) -> bool:
    if name == "time":
        return bool(pa.types.is_timestamp(kind) and kind.tz is not None)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    return bool(pa.types.is_floating(kind) if name == "value" else texts)


def _read(content: bytes, *, labels: bool = False) -> pa.Table:
    """Read a file that is no larger than an answer can be; labels as numbers of their texts."""
    buffer = pa.BufferReader(content)
    about = pq.read_metadata(buffer)
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    if about.num_rows > _MOST_SAMPLES or sum(g.total_byte_size for g in groups) > _MOST_BYTES:
        raise ValueError(f"{about.num_rows:,} rows are more than are ever asked for")
    names = [name for name in about.schema.to_arrow_schema().names if name.startswith(_LABEL)]
    file = pq.ParquetFile(buffer, metadata=about, read_dictionary=names if labels else None)
    # Hundreds of small files: threads would cost more than they gain.
    return file.read(use_threads=False)
