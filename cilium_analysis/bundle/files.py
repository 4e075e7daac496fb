"""Label frames as Parquet files, one row per sample."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilium_analysis import frames
from cilium_analysis.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_INDEX_KEY = b"cilium_analysis.times"


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
        columns[f"label:{name}"] = texts.take(series).dictionary_encode()
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
        Its name, for those who read the error.

    Raises
    ------
    BundleError
        If the file is not such a frame.
    """
    try:
        table = _read(content)
        index = np.array(json.loads(table.schema.metadata[_INDEX_KEY]), dtype="int64")
        series = table["series"].to_numpy()
        times = table["time"].cast(pa.int64()).to_numpy()
        names = [name for name in table.column_names if name.startswith("label:")]
        count = int(series.max()) + 1 if len(series) else 0
        firsts = np.searchsorted(series, np.arange(count))
        levels = {n.removeprefix("label:"): table[n].take(firsts).to_pylist() for n in names}
        values = np.full((len(index), count), np.nan)
        values[np.searchsorted(index, times), series] = table["value"].to_numpy()
    except (pa.ArrowException, KeyError, TypeError, ValueError, IndexError) as problem:
        raise BundleError(f"the bundle is damaged: cannot read {file} ({problem})") from None
    if not count:
        return frames.empty([n for n in levels if n != "__name__"])
    return frames.build(
        index,
        values,
        [dict(zip(levels, row, strict=True)) for row in zip(*levels.values(), strict=True)],
    )


def write_table(table: pd.DataFrame, path: Path) -> int:
    """Write a plain table, such as one of exemplars, as Parquet; gives the number of rows."""
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path, compression="zstd")
    return len(table)


def read_table(content: bytes, *, file: str) -> pd.DataFrame:
    """Read a table that `write_table` wrote; parameters and errors as for `read_frame`."""
    try:
        table: pd.DataFrame = _read(content).to_pandas()
    except (pa.ArrowException, KeyError, TypeError, ValueError) as problem:
        raise BundleError(f"the bundle is damaged: cannot read {file} ({problem})") from None
    return table


def _read(content: bytes) -> pa.Table:
    # Hundreds of small files: threads would cost more than they gain.
    return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
