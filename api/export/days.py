"""Which days there is anything of, hot or cold."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, text

from shared.cold import manifest
from shared.streams import Stream

DAY = timedelta(days=1)

#: Days of one device: each step finds the next by the index.
_OF_DEVICE = """
    WITH RECURSIVE days AS (
        SELECT date_trunc('day', min(time)) AS day FROM {table}
        WHERE device_key = :key AND time >= :start AND time < :end
        UNION ALL
        SELECT (SELECT date_trunc('day', min(time)) FROM {table}
                WHERE device_key = :key AND time >= days.day + interval '1 day' AND time < :end)
        FROM days WHERE days.day IS NOT NULL
    )
    SELECT day::date FROM days WHERE day IS NOT NULL
"""
#: Days of all: those of partitions by their names, and what the default partition holds.
_OF_ALL = """
    SELECT to_date(substring(inhrelid::regclass::text FROM '\\d{{8}}$'), 'YYYYMMDD') FROM pg_inherits
    WHERE inhparent = '{table}'::regclass AND inhrelid::regclass::text ~ '\\d{{8}}$'
    UNION
    SELECT DISTINCT (time AT TIME ZONE 'UTC')::date FROM {table}_default WHERE time >= :start AND time < :end
"""


def days(
    connection: Connection, stream: Stream, start: datetime, end: datetime, keys: Sequence[int] | None = None
) -> list[date]:
    """Return the days (UTC) with records in start <= time < end, in order; perhaps others. `keys` None: of all devices."""
    one = keys is not None and len(keys) == 1
    query = text((_OF_DEVICE if one else _OF_ALL).format(table=stream.table))
    parameters = {"start": start, "end": end, **({"key": keys[0]} if keys is not None and one else {})}
    hot: set[date] = set(connection.execute(query, parameters).scalars())
    cold = {file.day for file in manifest.files(connection, stream.name, start, end, keys)}
    last = (end - timedelta(microseconds=1)).date()
    return sorted(day for day in hot | cold if start.date() <= day <= last)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
