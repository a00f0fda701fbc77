"""Hot readings, out of PostgreSQL: in pieces, as columns, with as little work for either side as can be."""

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
from sqlalchemy import Connection, text

from analytics.brackets import Ordered
from analytics.parts import MICROSECOND, TIME, Piece, Summary, microseconds, moment
from shared.scope import Scope
from shared.streams.readings import READINGS
from shared.streams.stream import COPY_HEADER, PG_EPOCH

#: Readings of a device that are fetched together: they become strings in PostgreSQL, which is quickest while these stay
#: in the processor's cache.
PIECE = 20_000
#: Beyond so many times that, they are of one moment and are read as the table has them.
_TIES = 4
#: Pages of a table that are fetched together: 8 MB, a hundred thousand readings at most.
_PAGES = 1_000
#: Devices that are fetched one after the other, by their index; more are picked out of the whole table.
_FEW = 200

#: What turns many rows into one string of big-endian numbers; a row of COPY for each would cost twice as much. Two axes as
#: a point cost less than each by itself.
_PACKED: dict[tuple[str, ...], str] = {
    ("x", "y"): "string_agg(point_send(point(x, y)), '')",
    ("x",): "string_agg(float8send(x), '')",
    ("y",): "string_agg(float8send(y), '')",
    ("z",): "string_agg(float8send(z), '')",
    (TIME,): "string_agg(timestamptz_send(time), '')",
}
_PG_EPOCH = microseconds(PG_EPOCH)
_LENGTH, _NEWEST = struct.Struct(">i"), struct.Struct(">q")

_PARTITIONS = text("""
    SELECT c.relname, pg_relation_size(c.oid) / current_setting('block_size')::integer
    FROM pg_partition_tree(CAST(:table AS regclass)) t JOIN pg_class c ON c.oid = t.relid
    WHERE t.isleaf
    ORDER BY c.relname
""")


class Hot:
    """The readings of a scope as one snapshot sees them, which has to stay open while they are read."""

    tier: Literal["hot", "cold"] = "hot"
    summaries: Mapping[str, Summary] = {}
    ordered: Mapping[str, Sequence[Ordered]] = {}
    newest = 0

    def __init__(self, connection: Connection, scope: Scope) -> None:
        self._connection = connection
        self._scope = scope
        self.expected = self._estimate()

    def within(self, start: datetime, end: datetime) -> "Hot":
        return Hot(self._connection, self._scope.within(start, end))

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Yield every reading once, and fetch the next ones meanwhile. Raises the driver's errors."""
        return _ahead(self._pieces(columns))

    def _pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        keys = self._scope.device_keys
        if keys is None or len(keys) > _FEW:
            yield from self._by_page(columns, self._scope)
            return
        for key in keys:
            yield from self._by_time(columns, self._scope.of_device(key))

    def _estimate(self) -> int:
        """Ask the planner how many rows there are: right by a tenth or so, for nothing."""
        conditions, parameters = self._scope.conditions()
        query = f"EXPLAIN (FORMAT JSON) SELECT FROM {READINGS.table} WHERE {conditions}"
        plan = self._connection.exec_driver_sql(query, parameters).scalar_one()
        return int(plan[0]["Plan"]["Plan Rows"])

    def _by_time(self, columns: Sequence[str], scope: Scope) -> Iterator[Piece]:
        """One device's readings from its index, so many and all of the last one's moment at a time."""
        most = _TIES * PIECE
        while True:
            conditions, parameters = scope.conditions()
            rows = (
                f"SELECT {', '.join({*columns, TIME})} FROM {READINGS.table} WHERE {conditions} "  # noqa: S608
                f"ORDER BY time FETCH FIRST {PIECE} ROWS WITH TIES"
            )
            piece = self._fetch(columns, f"(SELECT * FROM ({rows}) r LIMIT {most}) r", "", parameters)  # noqa: S608
            if piece is None:
                return
            if piece.rows == most:
                yield from self._by_page(columns, scope)
                return
            yield piece
            if piece.rows < PIECE:
                return
            scope = replace(scope, start=moment(piece.newest) + MICROSECOND)

    def _by_page(self, columns: Sequence[str], scope: Scope) -> Iterator[Piece]:
        """Readings in the order in which they lie on disk, so many pages at a time."""
        for partition, pages in self._connection.execute(_PARTITIONS, {"table": READINGS.table}).all():
            if not _may_hold(partition, scope):
                continue
            conditions, parameters = scope.conditions()
            for page in range(0, pages, _PAGES):
                inside = f"ctid >= '({page},0)' AND ctid < '({page + _PAGES},0)' AND {conditions}"
                piece = self._fetch(columns, partition, f"WHERE {inside}", parameters)
                if piece is not None:
                    yield piece

    def _fetch(self, columns: Sequence[str], rows: str, where: str, parameters: Mapping[str, Any]) -> Piece | None:
        groups = [names for names in _PACKED if set(names) <= set(columns)]
        if ("x", "y") in groups:
            groups = [names for names in groups if names not in (("x",), ("y",))]
        packed = ", ".join([*(_PACKED[names] for names in groups), "max(time)"])
        cursor: Any = self._connection.connection.cursor()
        query = cursor.mogrify(f"SELECT {packed} FROM {rows} {where}", parameters).decode()  # noqa: S608
        out = io.BytesIO()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", out, 1 << 20)
        return _piece(groups, out.getbuffer())


def _ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Have the next piece fetched while this one is worked on: PostgreSQL and we take turns otherwise."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = thread.submit(next, pieces, None)
            yield piece


def _piece(groups: Sequence[tuple[str, ...]], data: memoryview) -> Piece | None:
    """Read one binary row: each group's bytes after their length, then the newest time; None of no rows."""
    found: dict[str, Any] = {}
    place = len(COPY_HEADER) + 2
    rows = 0
    for names in groups:
        (length,) = _LENGTH.unpack_from(data, place)
        if length < 0:
            return None
        place += _LENGTH.size
        rows = length // (8 * len(names))
        numbers = np.frombuffer(data, ">i8" if names == (TIME,) else ">f8", rows * len(names), place)
        for name, column in zip(names, numbers.reshape(rows, len(names)).T, strict=True):
            found[name] = column + np.int64(_PG_EPOCH) if name == TIME else column.astype(np.float64)
        place += length
    (newest,) = _NEWEST.unpack_from(data, place + _LENGTH.size)
    return Piece(found, rows, newest + _PG_EPOCH)


def _may_hold(partition: str, scope: Scope) -> bool:
    """Whether a partition's day, which is in its name, touches the window."""
    try:
        day = date.fromisoformat(partition.removeprefix(f"{READINGS.table}_"))
    except ValueError:
        return True  # the default partition
    start, end = (moment_ and moment_.date() for moment_ in (scope.start, scope.end))
    return (start is None or day >= start) and (end is None or day <= end)
