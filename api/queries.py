"""Reads stored readings page by page, newest first, never more than was asked for: hot ones and cold ones as one."""

import heapq
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from api.places import Found, Place
from api.window import OLDEST, Window
from shared.cold import manifest
from shared.cold.manifest import ColdFile
from shared.streams import READINGS

#: Rows of one span in their order.
_PAGE = """
    SELECT r.time, r.device_key, r.x, r.y, r.z, d.id
    FROM (
        SELECT device_key, time, x, y, z FROM readings
        WHERE time >= :start AND time < :end {conditions}
        ORDER BY time DESC, device_key DESC, x, y, z
        LIMIT :limit OFFSET :skip
    ) r JOIN devices d ON d.key = r.device_key
    ORDER BY r.time DESC, r.device_key DESC, r.x, r.y, r.z
"""
_FROM_PLACE = """
    AND (time, device_key) <= (:time, :from_key)
    AND NOT (time = :time AND device_key = :from_key AND (x, y, z) < (:x, :y, :z))
"""
_ALIKE = text("""
    SELECT count(*) FROM readings
    WHERE device_key = :from_key AND time = :time AND (x, y, z) = (:x, :y, :z)
""")

#: The first span looked at; each next one is this many times as wide.
FIRST_SPAN, WIDER = timedelta(minutes=1), 16

#: Nothing is stored further ahead than this.
_AHEAD = timedelta(days=400)


class Wanted(NamedTuple):
    """A page: the readings of a device, or of all for None, with start <= time < end, from a place on."""

    key: int | None
    start: datetime
    end: datetime
    place: Place | None
    limit: int

    @classmethod
    def of(cls, key: int | None, window: Window, place: Place | None, limit: int) -> "Wanted":
        end = window.end or datetime.now(UTC) + _AHEAD
        if place is not None:
            end = min(end, place.moment + timedelta(microseconds=1))
        return cls(key, window.start or OLDEST, end, place, limit)


class Hot(NamedTuple):
    """The hot part of a page, and what of the cold part belongs to the same moment.

    Attributes:
        skipped: readings alike the place's that were passed over; the rest of them is cold.
        files: those that may hold readings of this page, the newest day first.
    """

    rows: list[Found]
    skipped: int
    files: list[ColdFile]


def hot(engine: Engine, wanted: Wanted) -> Hot:
    """Read the hot readings of a page. Raises DatabaseUnavailable."""
    rows: list[Found] = []
    with manifest.snapshot(engine) as connection:
        skipped = _skipped(connection, wanted.place)
        for start, end in _spans(wanted):
            # Rows alike the place's come first, in the span that its time is in.
            skip = skipped if wanted.place and start <= wanted.place.moment < end else 0
            rows += _read(connection, wanted, start, end, wanted.limit - len(rows), skip)
            if len(rows) >= wanted.limit:
                break
        keys = None if wanted.key is None else [wanted.key]
        files = manifest.files(connection, READINGS.name, wanted.start, wanted.end, keys)
    oldest = rows[-1].time if len(rows) >= wanted.limit else OLDEST
    return Hot(rows, skipped, [file for file in reversed(files) if file.last >= oldest])


def page(parts: Sequence[Sequence[Found]], limit: int) -> list[Found]:
    """Bring parts into one, each in its order."""
    return list(islice(heapq.merge(*parts, key=lambda one: one.rank), limit))


def _skipped(connection: Connection, place: Place | None) -> int:
    if place is None:
        return 0
    return min(place.alike, int(connection.execute(_ALIKE, _parameters(place)).scalar_one()))


def _parameters(place: Place) -> dict[str, Any]:
    return {"time": place.moment, "from_key": place.key, "x": place.x, "y": place.y, "z": place.z}


def _spans(wanted: Wanted) -> Iterator[tuple[datetime, datetime]]:
    """Cut the window into spans, newest first and ever wider.

    One device has an index in the right order and needs no cutting. All devices together have only a block range
    index on time, which finds a narrow span fast and would sort the whole of a wide one.
    """
    start, end = wanted.start, wanted.end
    if wanted.key is not None:
        yield start, end
        return
    now = datetime.now(UTC)
    width = FIRST_SPAN
    if end > now:
        yield max(start, now), end
        end = max(start, now)
    while end > start:
        earlier = max(start, end - width) if end - start > width else start
        yield earlier, end
        end, width = earlier, width * WIDER


def _read(
    connection: Connection, wanted: Wanted, start: datetime, end: datetime, limit: int, skip: int
) -> Iterator[Found]:
    conditions = ""
    parameters: dict[str, Any] = {"start": start, "end": end, "limit": limit, "skip": skip}
    if wanted.key is not None:
        conditions += " AND device_key = :key"
        parameters["key"] = wanted.key
    if wanted.place is not None:
        conditions += _FROM_PLACE
        parameters |= _parameters(wanted.place)
    return map(Found._make, connection.execute(text(_PAGE.format(conditions=conditions)), parameters))
