"""Arrow and Parquet, written piece by piece."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: Rows of one row group: a reader that prunes skips so many, and a writer keeps so many in memory.
ROW_GROUP = 65_536


class _Sink(io.RawIOBase):
    """A file to write to that hands out what was written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        content = bytes(piece)
        self._pieces.append(content)
        self._place += len(content)
        return len(content)

    def tell(self) -> int:
        return self._place

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class Arrow:
    """The Arrow IPC stream: a schema, and batches until its end mark."""

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = _Sink()
        self._writer = pa.ipc.new_stream(self._sink, schema)

    def begin(self) -> bytes:
        return self._sink.taken()

    def encode(self, batch: pa.RecordBatch) -> bytes:
        self._writer.write_batch(batch)
        return self._sink.taken()

    def end(self) -> bytes:
        self._writer.close()
        return self._sink.taken()


class Parquet:
    """A Parquet file: row groups as they fill, and last what leads to them."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd", store_schema=True)
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def begin(self) -> bytes:
        return self._sink.taken()

    def encode(self, batch: pa.RecordBatch) -> bytes:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP:
            self._write()
        return self._sink.taken()

    def end(self) -> bytes:
        if self._rows:
            self._write()
        self._writer.close()
        return self._sink.taken()

    def _write(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._batches, self._schema), row_group_size=self._rows)
        self._batches, self._rows = [], 0
