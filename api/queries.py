"""Reads stored readings page by page, newest first, never more than was asked for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, text

from api.dependencies import Window
from api.schemas import Stored
from shared.database import translated
from shared.streams.stream import PG_EPOCH, microseconds


class Place(NamedTuple):
    """Where a page begins: at the readings of this device and time, after the first `skip` of them.

    Devices may send many readings of one time, so time and device alone do not name a row.
    """

    time: int
    key: int
    skip: int

    @property
    def moment(self) -> datetime:
        """Raises OverflowError outside the years 1 to 9999."""
        return PG_EPOCH + timedelta(microseconds=self.time)


#: Rows of one span in their order. x, y, z only break ties, so that a page can begin in the middle of them.
_PAGE = """
    SELECT d.id, r.time, r.x, r.y, r.z, r.device_key
    FROM (
        SELECT device_key, time, x, y, z FROM readings
        WHERE time >= :start AND time < :end {conditions}
        ORDER BY time DESC, device_key DESC, x, y, z
        LIMIT :limit OFFSET :skip
    ) r JOIN devices d ON d.key = r.device_key
    ORDER BY r.time DESC, r.device_key DESC, r.x, r.y, r.z
"""

#: The first span looked at; each next one is this many times as wide.
FIRST_SPAN, WIDER = timedelta(minutes=1), 16

_OLDEST = datetime(1, 1, 1, tzinfo=UTC)
#: Nothing is stored further ahead than this.
_AHEAD = timedelta(days=400)


def newest(
    engine: Engine, key: int | None, window: Window, limit: int, place: Place | None
) -> tuple[list[Stored], Place | None]:
    """Return the newest readings of one device, or of all, from `place` on, and the place of the next page.

    Raises:
        DatabaseUnavailable: the database is away.
    """
    rows: list[Row[Any]] = []
    with translated(), engine.connect() as connection:
        for start, end in _spans(window, place, alone=key is not None):
            # Rows of the place's own time and device come first, in the span that its time is in.
            skip = place.skip if place and start <= place.moment < end else 0
            rows += _read(connection, key, start, end, place, limit + 1 - len(rows), skip)
            if len(rows) > limit:
                break
    found = [Stored(device_id=row.id, timestamp=row.time, x=row.x, y=row.y, z=row.z) for row in rows[:limit]]
    return found, _following(rows, limit, place) if len(rows) > limit else None


def _spans(window: Window, place: Place | None, *, alone: bool) -> Iterator[tuple[datetime, datetime]]:
    """Cut the window into spans, newest first and ever wider.

    One device has an index in the right order and needs no cutting. All devices together have only a block range
    index on time, which finds a narrow span fast and would sort the whole of a wide one.
    """
    now = datetime.now(UTC)
    start = window.start or _OLDEST
    end = window.end or now + _AHEAD
    if place is not None:
        end = min(end, place.moment + timedelta(microseconds=1))
    if alone:
        yield start, end
        return
    width = FIRST_SPAN
    if end > now:
        yield max(start, now), end
        end = max(start, now)
    while end > start:
        earlier = max(start, end - width) if end - start > width else start
        yield earlier, end
        end, width = earlier, width * WIDER


def _read(
    connection: Connection,
    key: int | None,
    start: datetime,
    end: datetime,
    place: Place | None,
    limit: int,
    skip: int,
) -> list[Row[Any]]:
    conditions = ""
    parameters: dict[str, Any] = {"start": start, "end": end, "limit": limit, "skip": skip}
    if key is not None:
        conditions += " AND device_key = :key"
        parameters["key"] = key
    if place is not None:
        conditions += " AND (time, device_key) <= (:time, :from_key)"
        parameters |= {"time": place.moment, "from_key": place.key}
    return list(connection.execute(text(_PAGE.format(conditions=conditions)), parameters))


def _following(rows: list[Row[Any]], limit: int, place: Place | None) -> Place:
    """Say where the next page begins: after those of the last row's time and device that were shown."""
    last = rows[limit - 1]
    same = [row for row in rows[:limit] if row.time == last.time and row.device_key == last.device_key]
    time = microseconds(last.time)
    skip = len(same)
    if place is not None and (place.time, place.key) == (time, last.device_key):
        skip += place.skip
    return Place(time, last.device_key, skip)
