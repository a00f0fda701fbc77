"""The manifest: which cold files count, and what is in them. Hot and cold are read as one moment through `snapshot`."""

import builtins
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, text

from shared.cold.contents import DeviceRows
from shared.database import translated


class ColdFile(NamedTuple):
    """A live file: one day (UTC) of one stream. `first` and `last` are times of records, both included."""

    id: UUID
    stream: str
    day: date
    #: Below the store's address.
    path: str
    rows: int
    first: datetime
    last: datetime
    bytes: int
    sha256: builtins.bytes
    footer_sha256: builtins.bytes


class Summary(NamedTuple):
    """One device in one file. Its rows stand together, from `first_row` on; the rest is per axis, in the stream's order."""

    file: UUID
    device_key: int
    first_row: int
    rows: int
    first: datetime
    last: datetime
    min: tuple[float, ...]
    max: tuple[float, ...]
    #: Floats whose exact sum is that of all values: `ExactSum(parts)` makes a sum of them again.
    sum: tuple[tuple[float, ...], ...]


#: Summaries that are fetched at a time: some 700 kB.
_STREAMED = {"stream_results": True, "yield_per": 500}

_OVERLAPS = """
    f.stream = :stream
    AND (CAST(:start AS timestamptz) IS NULL OR f.last >= :start)
    AND (CAST(:end AS timestamptz) IS NULL OR f.first < :end)
"""
_HOLDS = "(CAST(:keys AS integer[]) IS NULL OR device_key = ANY(CAST(:keys AS integer[])))"
_FILE = "SELECT f.id, f.stream, f.day, f.path, f.rows, f.first, f.last, f.bytes, f.sha256, f.footer_sha256 FROM cold_files f"
_OF_DAY = text(f"{_FILE} WHERE f.stream = :stream AND f.day = :day")
_OF_FILE = text("""
    SELECT device_key, first_row, rows, first, last, min, max, sum FROM cold_summaries WHERE file = :file
""")
_FILES = text(f"""
    {_FILE}
    WHERE {_OVERLAPS}
      AND (CAST(:keys AS integer[]) IS NULL OR EXISTS (SELECT FROM cold_summaries s WHERE s.file = f.id AND {_HOLDS}))
    ORDER BY f.day
""")
_SUMMARIES = text(f"""
    SELECT s.file, s.device_key, s.first_row, s.rows, s.first, s.last, s.min, s.max, s.sum
    FROM cold_files f JOIN cold_summaries s ON s.file = f.id
    WHERE {_OVERLAPS} AND {_HOLDS}
    ORDER BY f.day, s.device_key
""")  # noqa: S608


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a read-only connection whose statements all see one moment, in which each record is hot or cold and not both.

    Dropping a partition is seen at once, whatever a snapshot says, so sealing waits for whoever holds this lock. LOCK
    itself takes no snapshot: the first query does, after it. Leave the body before reading files: they stay long enough.

    Raises:
        WeirError: the database's errors, also those of the body.
    """
    with translated(), engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        connection.execute(text("LOCK TABLE cold_files IN ACCESS SHARE MODE"))
        yield connection


def files(
    connection: Connection,
    stream: str,
    start: datetime | None = None,
    end: datetime | None = None,
    device_keys: Collection[int] | None = None,
) -> list[ColdFile]:
    """Return the live files with records in start <= time < end (and of one of the devices at least), by day."""
    keys = None if device_keys is None else list(device_keys)
    found = connection.execute(_FILES, {"stream": stream, "start": start, "end": end, "keys": keys})
    return [_file(row) for row in found]


def summaries(
    connection: Connection,
    stream: str,
    device_keys: Collection[int] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[Summary]:
    """Yield the devices' summaries in those same files, by day and device. They cover the whole file: whoever wants a
    window has to look whether `first` and `last` lie inside it.

    They come through a cursor: of many devices in many days there are more than should be held.
    """
    keys = None if device_keys is None else list(device_keys)
    wanted = {"stream": stream, "start": start, "end": end, "keys": keys}
    with connection.execute(_SUMMARIES, wanted, execution_options=_STREAMED) as rows:
        for one in rows:
            yield Summary(one.file, one.device_key, *_device_rows(one))


def of_day(connection: Connection, stream: str, day: date) -> ColdFile | None:
    """Return the live file of one day."""
    found = connection.execute(_OF_DAY, {"stream": stream, "day": day}).first()
    return _file(found) if found else None


def devices_of(connection: Connection, file: ColdFile) -> dict[int, DeviceRows]:
    """Return the summaries of one file by device."""
    found = connection.execute(_OF_FILE, {"file": file.id})
    return {one.device_key: DeviceRows(*_device_rows(one)) for one in found}


def _file(row: Row[Any]) -> ColdFile:
    values: list[Any] = list(row)
    return ColdFile._make([*values[:8], bytes(values[8]), bytes(values[9])])


def _device_rows(row: Row[Any]) -> tuple[Any, ...]:
    return row.first_row, row.rows, row.first, row.last, tuple(row.min), tuple(row.max), tuple(map(_sum, row.sum))


def _sum(kept: list[float]) -> tuple[float, ...]:
    return tuple(part for part in kept if part)
