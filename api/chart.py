"""Draws a device's readings, hot and cold as one moment, with the few points of a chart."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, Engine, text

from api.errors import TooSlow
from api.export.spool import EPOCH, SpooledReadings, row_type
from api.places import since_1970
from api.reduction import Method, Points, Reduction
from api.window import NEWEST, OLDEST, Window
from shared.cold import manifest
from shared.cold.manifest import ColdFile
from shared.cold.store import Store
from shared.streams import READINGS

#: Readings in hand at one time.
_PIECE = 65_536

_ROW = row_type(time="time", x="float", y="float", z="float")
_HOT = """
    SELECT time, x, y, z FROM readings
    WHERE device_key = %(key)s AND time >= %(start)s AND time < %(end)s ORDER BY time
"""
_BOUNDS = text("""
    SELECT now(), min(time), max(time) FROM readings WHERE device_key = :key AND time >= :start AND time < :end
""")

_MICROSECOND = timedelta(microseconds=1)


class Drawn(NamedTuple):
    """The points of each axis, and of how many readings."""

    axes: dict[str, Points]
    hot: int
    cold: int
    as_of: datetime


class Wish(NamedTuple):
    """What is to be drawn: of one device, these axes, `points` of each at most."""

    key: int
    window: Window
    axes: Sequence[str]
    method: Method
    points: int

    @property
    def start(self) -> datetime:
        return self.window.start or OLDEST

    @property
    def end(self) -> datetime:
        return self.window.end or NEWEST


def draw(engine: Engine, store: Store, wish: Wish, deadline: timedelta) -> Drawn:
    """Read all there is of a device in a window, and keep the points.

    Memory does not grow with the readings: hot ones go through a temporary file, of cold ones a row group is in hand.

    Raises:
        TooSlow: it was not done when the deadline was over.
        NoRoom: of its hot readings more have to wait on the disk than there is room for.
        DatabaseUnavailable, ColdFileDamaged, ColdUnavailable: no part is left out instead.
    """
    until = time.monotonic() + deadline.total_seconds()
    with manifest.snapshot(engine) as connection:
        as_of, first, last = connection.execute(_BOUNDS, {"key": wish.key, "start": wish.start, "end": wish.end}).one()
        files = manifest.files(connection, READINGS.name, wish.start, wish.end, [wish.key])
        begin, end = _span(connection, wish, [moment for moment in (first, last) if moment])
        hot = SpooledReadings(connection, _HOT, {"key": wish.key, "start": wish.start, "end": wish.end}, _ROW)
    axes = {name: Reduction(wish.method, wish.points, begin, end) for name in wish.axes}
    with hot:
        _take(_hot(hot, wish), axes, until)
    for file in files:
        _take(_cold(store, file, wish), axes, until)
    total = axes[wish.axes[0]].readings
    return Drawn({name: axis.result() for name, axis in axes.items()}, hot.rows, total - hot.rows, as_of)


def _span(connection: Connection, wish: Wish, moments: list[datetime]) -> tuple[int, int]:
    """Say what part of the window there can be readings in."""
    for one in manifest.summaries(connection, READINGS.name, [wish.key], wish.start, wish.end):
        moments += [one.first, one.last]
    first = max(wish.start, min(moments, default=wish.start))
    last = min(wish.end - _MICROSECOND, max(moments, default=wish.start))
    return since_1970(first), since_1970(last)


def _hot(rows: SpooledReadings, wish: Wish) -> Iterator[dict[str, np.ndarray]]:
    for piece in rows.pieces(_PIECE):
        times = piece["time"].astype(np.int64) + EPOCH
        yield {"time": times, **{name: piece[name].astype(np.float64) for name in wish.axes}}


def _cold(store: Store, file: ColdFile, wish: Wish) -> Iterator[dict[str, np.ndarray]]:
    pieces = store.pieces(file, ["time", *wish.axes], start=wish.start, end=wish.end, device_keys=[wish.key])
    for table in pieces:
        times = table["time"].to_numpy().astype("datetime64[us]").view(np.int64)
        yield {"time": times, **{name: table[name].to_numpy() for name in wish.axes}}


def _take(pieces: Iterator[dict[str, np.ndarray]], axes: dict[str, Reduction], until: float) -> None:
    for piece in pieces:
        if time.monotonic() > until:
            raise TooSlow("so many readings are not drawn in time; ask for a shorter window")
        for name, axis in axes.items():
            axis.add(Points(piece["time"], piece[name]))
