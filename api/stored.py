"""Says which readings of a submission are stored already, hot or cold, without storing any."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from api.errors import TooSlow
from api.export.spool import EPOCH, SpooledReadings, row_type
from api.window import OLDEST
from shared.cold import manifest
from shared.cold.store import Store
from shared.streams import READINGS
from shared.streams.readings import decode_of_device, table_of
from shared.streams.stream import PG_EPOCH, Encoded, TimeBounds, microseconds

#: Readings in hand at one time.
_PIECE = 65_536
_AXES = ("x", "y", "z")
_ROW = row_type(time="time", x="float", y="float", z="float")
_HOT = """
    SELECT time, x, y, z FROM readings WHERE device_key = %(key)s AND time >= %(start)s AND time <= %(end)s
"""
#: A reading as it is compared: microseconds since 2000, and its axes.
_READING = np.dtype([("time", "<i8"), ("x", "<f8"), ("y", "<f8"), ("z", "<f8")])
_ANY_TIME = TimeBounds(microseconds(OLDEST), microseconds(datetime.max.replace(tzinfo=UTC)))

Readings = NDArray[np.void]


def decode_any_time(body: bytes, media_type: str, key: int, limit: int) -> Encoded:
    """Decode readings of whatever time. One without a timestamp is rejected.

    Raises:
        InvalidRecord, TooLarge: it is no submission of readings.
    """
    return decode_of_device(body, media_type, _ANY_TIME.earliest - 1, _ANY_TIME, key, limit)


def count_stored(
    engine: Engine, store: Store, key: int, decode: Callable[[], Encoded], deadline: timedelta
) -> list[int]:
    """Return for each reading of a submission how many equal ones of the device are stored; 0 for one that is invalid.

    All readings of the device between the first and the last one are looked at, and not kept in memory.

    Raises:
        TooSlow: it was not done when the deadline was over.
        NoRoom: more hot readings have to wait on the disk than there is room for.
        DatabaseUnavailable, ColdFileDamaged, ColdUnavailable: no part is left out instead.
    """
    until = time.monotonic() + deadline.total_seconds()
    encoded = decode()
    wanted = _comparable(table_of(encoded.rows))
    times = wanted["time"]
    found: Counter[bytes] = Counter()
    for piece in _near(engine, store, key, times) if len(times) else ():
        if time.monotonic() > until:
            raise TooSlow("so many readings are not compared in time; send ones that are closer in time to each other")
        found.update(_keys(piece[np.isin(piece["time"], times)]))
    keys, invalid = iter(_keys(wanted)), {one.index for one in encoded.rejected}
    return [0 if index in invalid else found[next(keys)] for index in range(len(wanted) + len(invalid))]


def _near(engine: Engine, store: Store, key: int, times: NDArray[np.int64]) -> Iterator[Readings]:
    """Yield what is stored of a device between the first and the last of some times: hot and cold as one moment."""
    start, end = (PG_EPOCH + timedelta(microseconds=int(one)) for one in (times.min(), times.max()))
    after = end + timedelta(microseconds=1)
    with manifest.snapshot(engine) as connection:
        files = manifest.files(connection, READINGS.name, start, after, [key])
        hot = SpooledReadings(connection, _HOT, {"key": key, "start": start, "end": end}, _ROW)
    with hot:
        for rows in hot.pieces(_PIECE):
            yield _comparable(rows)
    for file in files:
        for table in store.pieces(file, ["time", *_AXES], start=start, end=after, device_keys=[key]):
            since_1970 = table["time"].to_numpy().astype("datetime64[us]").view(np.int64)
            yield _comparable({"time": since_1970 - EPOCH} | {name: table[name].to_numpy() for name in _AXES})


def _comparable(columns: Any) -> Readings:
    """Make rows of which equal ones are equal byte by byte."""
    rows = np.empty(len(columns["time"]), _READING)
    rows["time"] = columns["time"]
    for name in _AXES:
        rows[name] = columns[name] + 0.0  # minus zero is zero
    return rows


def _keys(rows: Readings) -> Iterator[bytes]:
    data, size = rows.tobytes(), _READING.itemsize
    return (data[start : start + size] for start in range(0, len(data), size))
