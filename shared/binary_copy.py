"""Rows that PostgreSQL copies out in its binary format, as Arrow batches.

The format has no quoting and no escapes, so a text is what it is. Each call of `write` brings one row: PostgreSQL sends each
in a message of its own, the first behind the header, and at last the trailer.
https://www.postgresql.org/docs/18/sql-copy.html, "Binary Format"
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shared.streams.stream import COPY_HEADER, COPY_TRAILER, PG_EPOCH

#: The types that a column may have: how wide it is in a row, and how it is read. Texts are as long as they are.
_FIXED: dict[pa.DataType, np.dtype[Any]] = {
    pa.int32(): np.dtype(">i4"),
    pa.float64(): np.dtype(">f8"),
    pa.timestamp("us", tz="UTC"): np.dtype(">i8"),
}
_EPOCH_MICROSECONDS = int(PG_EPOCH.timestamp()) * 1_000_000
_BYTE = np.arange(8)

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


class BinaryCopy:
    """A file for COPY to write to. It gathers rows and hands over batches of them; `flush` hands over the last.

    Args:
        schema: name and type of each column of the query, in its order: int32, float64, timestamp (us, UTC) or string.
        take: is given each batch.
        most_rows, most_bytes: a batch has so many rows at most, and ends with the row that reaches so many bytes.
    """

    def __init__(
        self, schema: pa.Schema, take: Callable[[pa.RecordBatch], None], *, most_rows: int, most_bytes: int
    ) -> None:
        self._schema = schema
        self._take = take
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._rows: list[bytes] = []
        self._bytes = 0
        self._has_begun = False

    def write(self, row: bytes) -> int:
        """Take one row. Raises ValueError when it is none, or what `take` raises."""
        size = len(row)
        if not self._has_begun:
            if not row.startswith(COPY_HEADER):
                raise ValueError("this is not PostgreSQL's binary format")
            self._has_begun = True
            row = row[len(COPY_HEADER) :]
        if row and row != COPY_TRAILER:
            self._rows.append(row)
            self._bytes += size
            if len(self._rows) >= self._most_rows or self._bytes >= self._most_bytes:
                self.flush()
        return size

    def flush(self) -> None:
        """Hand over what is gathered. Raises ValueError when the rows do not have these columns, or what `take` raises."""
        rows, self._rows, self._bytes = self._rows, [], 0
        if rows:
            self._take(batch_of(self._schema, rows))


def batch_of(schema: pa.Schema, rows: list[bytes]) -> pa.RecordBatch:
    """Read rows of the binary format. Raises ValueError when they do not have these columns."""
    data = np.frombuffer(b"".join(rows), np.uint8)
    ends: Places = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
    places: Places = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    if np.any(ends - places < 2 + 4 * len(schema)) or np.any(_numbers(data, places, np.dtype(">i2")) != len(schema)):
        raise ValueError("the rows have other columns")
    places += 2
    columns: list[pa.Array] = []
    for field in schema:
        lengths = _numbers(data, places, np.dtype(">i4")).astype(np.int64)
        places += 4
        sizes = np.maximum(lengths, 0)  # -1 is NULL, and has no bytes
        if np.any(places + sizes > ends - 4 * (len(schema) - 1 - len(columns))):
            raise ValueError("the rows are cut")
        dtype = _FIXED.get(field.type)
        if dtype is None:
            columns.append(_texts(data, places, sizes, lengths >= 0))
        else:
            columns.append(_fixed(field.type, dtype, data, places, lengths))
        places += sizes
    if np.any(places != ends):
        raise ValueError("the rows have other columns")
    return pa.record_batch(columns, schema=schema)


def _numbers(data: Bytes, places: Places, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read a number at each place."""
    numbers: NDArray[Any] = data[places[:, None] + _BYTE[: dtype.itemsize]].view(dtype)[:, 0]
    return numbers


def _fixed(kind: pa.DataType, dtype: np.dtype[Any], data: Bytes, places: Places, lengths: Places) -> pa.Array:
    is_null = lengths < 0
    if np.any(~is_null & (lengths != dtype.itemsize)):
        raise ValueError(f"a column is no {kind}")
    values = _numbers(data, np.where(is_null, 0, places), dtype).astype(dtype.newbyteorder("="))
    if pa.types.is_timestamp(kind):
        values = values + _EPOCH_MICROSECONDS
    return pa.array(values, kind if not pa.types.is_timestamp(kind) else pa.int64(), mask=is_null).cast(kind)


def _texts(data: Bytes, places: Places, sizes: Places, is_valid: NDArray[np.bool_]) -> pa.Array:
    """Put the texts that stand at these places behind one another, which is how Arrow has them."""
    inside = np.zeros(len(data) + 1, np.int8)
    inside[places] += 1
    inside[places + sizes] -= 1
    texts = data[np.cumsum(inside[:-1], dtype=np.int8).view(np.bool_)]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]).astype(np.int32)
    valid = None if is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    return pa.StringArray.from_buffers(
        len(sizes), pa.py_buffer(offsets), pa.py_buffer(texts), valid, int((~is_valid).sum())
    )
