"""How a cold file is laid out: columns, encodings, row groups. decisions/0013 has the figures."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.cold.contents import text_bytes
from shared.streams import Stream

#: Devices of few rows share a row group of so many at most; one of more has row groups of its own.
SHARED_ROWS, GROUP_ROWS = 65_536, 131_072
#: Longest that a row group's texts may be, in memory; where they are long, it has fewer rows.
GROUP_BYTES = 64 * 1024 * 1024
#: A dictionary pays where a value comes this often.
_REPEATED = 4

TIME = pa.timestamp("us", tz="UTC")
WORDS = pa.dictionary(pa.int32(), pa.string())
_TYPES = {"int32": pa.int32(), "float64": pa.float64(), "string": pa.string(), "words": WORDS, "time": TIME}
_ENCODINGS = {"time": "DELTA_BINARY_PACKED", "string": "DELTA_LENGTH_BYTE_ARRAY", "float64": "PLAIN"}


def schema(stream: Stream) -> pa.Schema:
    """Return the columns of a stream's files."""
    fields = []
    for name, kind in stream.cold.columns.items():
        fields.append(pa.field(name, _TYPES[kind], nullable=False))
        if name == "device_key":
            fields.append(pa.field("device_id", WORDS))
    return pa.schema(fields)


class Writer:
    """Writes sorted rows to a file, in row groups that mix no more devices than they must. `close` it."""

    def __init__(self, stream: Stream, sink: Any) -> None:
        self._stream = stream
        self._sink = sink
        self._waiting = schema(stream).empty_table()
        self._parquet: pq.ParquetWriter | None = None
        #: Of all texts that were added, in UTF-8.
        self.text_bytes = 0

    def add(self, table: pa.Table) -> None:
        self.text_bytes += text_bytes(table, self._stream)
        self._waiting = pa.concat_tables([self._waiting, table])
        while rows := self._full():
            self._write(rows)

    def close(self) -> None:
        """Write what is left, and the footer."""
        if len(self._waiting) or self._parquet is None:
            self._write(len(self._waiting))
        assert self._parquet is not None
        self._parquet.close()

    def _full(self) -> int:
        """Return how many of the waiting rows make a row group now; 0: it is not known yet."""
        rows = len(self._waiting)
        if not self._stream.cold.by_device:
            return min(rows, SHARED_ROWS) if rows > SHARED_ROWS or self._waiting.nbytes >= GROUP_BYTES else 0
        if rows <= SHARED_ROWS:
            return 0
        # Where a device ends; for the last one it is not known.
        ends = np.flatnonzero(np.diff(self._waiting["device_key"].to_numpy())) + 1
        shared = ends[ends <= SHARED_ROWS]
        if len(shared):
            return int(shared[-1])
        if len(ends):
            return min(int(ends[0]), GROUP_ROWS)
        return GROUP_ROWS if rows >= GROUP_ROWS else 0

    def _write(self, rows: int) -> None:
        group = self._waiting.slice(0, rows).unify_dictionaries().combine_chunks()
        self._waiting = self._waiting.slice(rows)
        if self._parquet is None:
            self._parquet = _writer(self._stream, self._sink, group)
        self._parquet.write_table(group, row_group_size=max(1, rows))


def _writer(stream: Stream, sink: Any, first: pa.Table) -> pq.ParquetWriter:
    """Begin a file whose values are likely to be like those of its first row group."""
    kinds = stream.cold.columns
    words = [name for name in first.column_names if kinds.get(name, "words") in {"words", "int32"}]
    words += [name for name, kind in kinds.items() if kind == "float64" and _repeats(first[name])]
    return pq.ParquetWriter(
        sink,
        first.schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=words,
        column_encoding={name: _ENCODINGS[kind] for name, kind in kinds.items() if name not in words},
        # Without it, a flipped bit among the values would be read as another value.
        write_page_checksum=True,
        write_page_index=True,
        sorting_columns=[pq.SortingColumn(first.schema.get_field_index(name)) for name in stream.cold.order],
    )


def _repeats(values: pa.ChunkedArray) -> bool:
    return bool(pc.count_distinct(values).as_py() * _REPEATED <= len(values))
