"""Hot readings of one day in the order of cold files, device by device, from wherever one left off."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from api.export.columns import BATCH, ROWS, TIME, Place
from api.export.spool import EPOCH, Rows, SpooledReadings, row_type
from shared.streams.stream import PG_EPOCH

#: Rows read at one time; and all others of the last one's device and time, so that the next time begins after them.
PAGE = 50_000

_ROW = row_type(key="integer", id="uuid", time="time", x="float", y="float", z="float")
#: Device by device each finds its rows by the index, in order, and no more devices are looked at than are needed.
_QUERY = """
    SELECT d.key, d.id, r.time, r.x, r.y, r.z
    FROM devices d CROSS JOIN LATERAL (
        SELECT time, x, y, z FROM readings
        WHERE device_key = d.key AND time >= %(start)s AND time < %(end)s
          AND time >= CASE WHEN d.key = %(key)s THEN %(time)s ELSE %(start)s END
        ORDER BY time
        FETCH FIRST %(rows)s ROWS WITH TIES
    ) r
    WHERE d.key >= %(key)s AND (%(keys)s::integer[] IS NULL OR d.key = ANY(%(keys)s::integer[]))
    ORDER BY d.key, r.time
    FETCH FIRST %(rows)s ROWS WITH TIES
"""


class Page(SpooledReadings):
    """Hot rows with start <= time < end, a day at most, of these devices or of all, from a place on.

    Attributes:
        following: the place of those after them; None when there are none.
    """

    def __init__(
        self, connection: Connection, keys: Sequence[int] | None, start: datetime, end: datetime, place: Place
    ) -> None:
        parameters = {
            "start": start,
            "end": end,
            "key": place.key,
            "time": place.time,
            "keys": None if keys is None else list(keys),
            "rows": PAGE,
        }
        super().__init__(connection, _QUERY, parameters, _ROW)
        self.following: Place | None = None
        if self.rows >= PAGE:
            (last,) = self.read(self.rows - 1, 1)
            time = PG_EPOCH + timedelta(microseconds=int(last["time"]) + 1)
            self.following = Place(int(last["key"]), time)

    def tables(self) -> Iterator[pa.Table]:
        for rows in self.pieces(BATCH):
            yield _table(rows)


def _table(rows: Rows) -> pa.Table:
    keys = rows["key"].astype(np.int32)
    _, firsts, places = np.unique(keys, return_index=True, return_inverse=True)
    ids = pa.array([str(UUID(bytes=rows["id"][first].tobytes())) for first in firsts.tolist()])
    times = pa.array(rows["time"].astype(np.int64) + EPOCH).view(TIME)
    axes = (pa.array(rows[name].astype(np.float64)) for name in ("x", "y", "z"))
    return pa.Table.from_arrays([pa.array(keys), ids.take(pa.array(places)), times, *axes], schema=ROWS)
