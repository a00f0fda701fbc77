"""Rows of a query in a temporary file: out of the database at once, however long what follows takes."""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from shared.spool import Room, Spool
from shared.streams.stream import COPY_HEADER, COPY_TRAILER, PG_EPOCH

#: Of one chart, or of a day of a download: some 80 million readings, or 30 million events. A disk has room for some.
MOST_BYTES = 4 << 30

READINGS = Room(MOST_BYTES, "readings that are not sealed yet", "the API's disk", "a shorter window")
EVENTS = READINGS._replace(rows="events that are not sealed yet")

Rows = NDArray[np.void]

#: What to add to PostgreSQL's microseconds for those since 1970.
EPOCH = int(PG_EPOCH.timestamp()) * 1_000_000

#: Types of columns as PostgreSQL's binary format has them.
_TYPES = {"integer": ">i4", "uuid": "V16", "time": ">i8", "float": ">f8"}


def row_type(**columns: str) -> np.dtype[np.void]:
    """Describe rows of binary COPY: field count, then each value after its length."""
    fields = [("fields", ">i2")]
    for name, kind in columns.items():
        fields += [(f"{name}_bytes", ">i4"), (name, _TYPES[kind])]
    return np.dtype(fields)


class SpooledReadings:
    """The rows of one query, of fixed length. They are gone when this is closed. Raises NoRoom."""

    def __init__(
        self, connection: Connection, query: str, parameters: Mapping[str, object], row: np.dtype[np.void]
    ) -> None:
        self._row = row
        self._spool = Spool(READINGS)
        self._file = self._spool.file
        try:
            cursor: Any = connection.connection.cursor()
            copy = cursor.mogrify(f"COPY ({query}) TO STDOUT (FORMAT binary)", parameters).decode()
            cursor.copy_expert(copy, self._spool)
            self._spool.flush()
            size = self._file.tell() - len(COPY_HEADER) - len(COPY_TRAILER)
            self.rows, rest = divmod(size, row.itemsize)
            assert not rest, "the rows are not as long as they should be"
        except BaseException:
            self._spool.close()
            connection.invalidate()  # or all that PostgreSQL still sends would be read first, to be thrown away
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._spool.close()

    def read(self, first: int, count: int) -> Rows:
        """Return so many rows from one on, as far as there are."""
        count = min(count, self.rows - first)
        self._file.seek(len(COPY_HEADER) + first * self._row.itemsize)
        return np.frombuffer(self._file.read(count * self._row.itemsize), self._row)

    def pieces(self, count: int) -> Iterator[Rows]:
        """Yield all rows, so many at one time."""
        for first in range(0, self.rows, count):
            yield self.read(first, count)
