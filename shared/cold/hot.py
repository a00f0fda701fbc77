"""Hot rows on their way out of PostgreSQL: one day, sorted, in bounded memory."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow as pa
from sqlalchemy import Connection, text

from shared.binary_copy import BinaryCopy
from shared.cold import layout
from shared.streams import Stream

#: What a datetime can be. A table from before the constraint may hold others, which stay where they are.
EARLIEST = datetime.min.replace(tzinfo=UTC)

#: Of the end of a day partition's name.
_DAY_LENGTH = 8
_PARTITIONS = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(:table)")


class Source(NamedTuple):
    """Where the hot rows of a day are: in its own partition, or among others in the default partition."""

    stream: Stream
    day: date
    table: str

    @property
    def is_default(self) -> bool:
        return self.table == f"{self.stream.table}_default"

    @property
    def inside(self) -> str:
        """The condition for rows of this day; the constants are dates of our own."""
        return f"time >= '{self.day} 00:00:00+00' AND time < '{self.day + timedelta(days=1)} 00:00:00+00'"


class DeviceCounts(NamedTuple):
    """What PostgreSQL itself says of one device in a source; minima and maxima per axis."""

    rows: int
    first: datetime
    last: datetime
    min: tuple[float, ...]
    max: tuple[float, ...]


class SourceCounts(NamedTuple):
    """What PostgreSQL itself says of a source. Where records have devices, all but their number is told of each."""

    rows: int
    devices: dict[int, DeviceCounts]
    first: datetime | None = None
    last: datetime | None = None
    text_bytes: int = 0


def today(connection: Connection) -> date:
    """Return the day it is, in UTC, by the database's clock."""
    day: date = connection.execute(text("SELECT (now() AT TIME ZONE 'UTC')::date")).scalar_one()
    return day


def partitions(connection: Connection, stream: Stream, before: date) -> list[Source]:
    """Return the partitions of days before that one, the oldest first."""
    names = connection.execute(_PARTITIONS, {"table": stream.table}).scalars()
    found = [
        Source(stream, datetime.strptime(name[-_DAY_LENGTH:], "%Y%m%d").replace(tzinfo=UTC).date(), name)
        for name in names
        if re.fullmatch(rf"{stream.table}_\d{{{_DAY_LENGTH}}}", name)
    ]
    return sorted((source for source in found if source.day < before), key=lambda source: source.day)


def sources(connection: Connection, stream: Stream, before: date) -> list[Source]:
    """Return all that is hot of the days before that one, the oldest first."""
    table = f"{stream.table}_default"
    days = connection.execute(
        text(f"SELECT DISTINCT (time AT TIME ZONE 'UTC')::date FROM {table} WHERE time >= :start AND time < :end"),  # noqa: S608
        {"start": EARLIEST, "end": datetime(before.year, before.month, before.day, tzinfo=UTC)},
    ).scalars()
    found = [*partitions(connection, stream, before), *(Source(stream, day, table) for day in days)]
    return sorted(found, key=lambda source: source.day)


def rows_in(connection: Connection, source: Source) -> int:
    """Count the rows of a source."""
    return int(connection.execute(text(f"SELECT count(*) FROM {source.table} WHERE {source.inside}")).scalar_one())  # noqa: S608


def count(connection: Connection, source: Source) -> SourceCounts:
    """Ask PostgreSQL what is there."""
    cold = source.stream.cold
    axes, place = len(cold.axes), f"FROM {source.table} WHERE {source.inside}"
    if not cold.by_device:
        texts = " + ".join(f"coalesce(sum(octet_length({name}::text)), 0)" for name in cold.texts)
        query = f"SELECT count(*), min(time), max(time), {texts} {place}"
        rows, first, last, text_bytes = connection.execute(text(query)).one()
        return SourceCounts(rows, {}, first, last, int(text_bytes))
    bounds = ", ".join(["min(time)", "max(time)", *(f"{end}({axis})" for end in ("min", "max") for axis in cold.axes)])
    found = connection.execute(text(f"SELECT device_key, count(*), {bounds} {place} GROUP BY device_key"))
    devices = {
        row[0]: DeviceCounts(row[1], row[2], row[3], tuple(row[4 : 4 + axes]), tuple(row[4 + axes :])) for row in found
    }
    return SourceCounts(sum(one.rows for one in devices.values()), devices)


def device_ids(connection: Connection, keys: list[int]) -> dict[int, str]:
    """Return the devices' ids as they are known outside."""
    query = text("SELECT key, id FROM devices WHERE key = ANY(:keys)")
    rows: list[tuple[int, UUID]] = [(row[0], row[1]) for row in connection.execute(query, {"keys": keys})]
    return {key: str(device_id) for key, device_id in rows}


def copy(
    connection: Connection,
    source: Source,
    ids: dict[int, str],
    take: Callable[[pa.Table], None],
    span: tuple[datetime, datetime] | None = None,
) -> None:
    """Hand over the rows of a source, sorted, in tables that are no larger than a row group may be.

    With a span only those that are in it, too: from its first moment up to its second.
    """
    cold = source.stream.cold
    kinds = {name: _copied(layout.schema(source.stream).field(name).type) for name in cold.columns}
    columns = ", ".join(f"{name}::text" if pa.types.is_string(kind) else name for name, kind in kinds.items())
    order = ", ".join(f"{source.table}.{name}" for name in cold.order)  # of the table, not of what it is cast to
    inside = source.inside if span is None else f"{source.inside} AND time >= %s AND time < %s"
    query = f"SELECT {columns} FROM {source.table} WHERE {inside} ORDER BY {order}"  # noqa: S608
    rows = BinaryCopy(
        pa.schema(kinds.items()),
        lambda batch: take(_table(source.stream, batch, ids)),
        most_rows=layout.SHARED_ROWS,
        most_bytes=layout.GROUP_BYTES,
    )
    cursor: Any = connection.connection.cursor()
    cursor.copy_expert(f"COPY ({cursor.mogrify(query, span).decode()}) TO STDOUT (FORMAT binary)", rows)
    rows.flush()


def _copied(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a column is copied: words as strings, because a dictionary of each batch would be lost."""
    return pa.string() if kind == layout.WORDS else kind


def _table(stream: Stream, batch: pa.RecordBatch, ids: dict[int, str]) -> pa.Table:
    """Make a table of a cold file's columns."""
    schema = layout.schema(stream)
    columns = {name: batch.column(name) for name in batch.schema.names}
    if stream.cold.by_device:
        columns["device_id"] = _device_ids(columns["device_key"], ids)
    return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)


def _device_ids(keys: pa.Array, ids: dict[int, str]) -> pa.Array:
    encoded = keys.dictionary_encode()
    found = pa.array([ids.get(key) for key in encoded.dictionary.to_pylist()], pa.string())
    return found.take(encoded.indices).dictionary_encode()
