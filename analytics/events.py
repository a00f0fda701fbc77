"""Hot and cold events as one series of Arrow batches, for DuckDB."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
from sqlalchemy import Connection

from analytics import room
from shared.binary_copy import BinaryCopy
from shared.cold import manifest
from shared.cold.manifest import ColdFile
from shared.cold.store import Store
from shared.days import Days
from shared.segments import Segment
from shared.spool import BLOCK_BYTES, Spool
from shared.streams import EVENTS

#: Microseconds from the day before 0001-01-01, from which Python counts its days, to 1970, from which DuckDB does.
_DAY = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = date(1970, 1, 1).toordinal() * _DAY

_TYPES = {
    "time": pa.timestamp("us", tz="UTC"),
    "user_id": pa.string(),
    "event_type": pa.string(),
    "properties": pa.string(),
}


#: Of all that an event may carry, only what a segment looks at: an object with that one name. As text, for 1 and 1.0 are
#: different there, as they are for DuckDB.
_PROPERTY = "jsonb_build_object(%(name)s, properties -> %(name)s)::text"


#: Some milliseconds of copying.
_STEP_ROWS = 10_000

#: A part of a CASE, and its parameters.
_Clause = tuple[str, list[object]]


class Batches(NamedTuple):
    """Batches of one schema; they can be gone through once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class Selection:
    """The events of a window as they are in one moment: `take` within a snapshot, then leave it and read `batches`.

    Where only different ones are wanted, hot events that are alike in what is looked at are one; cold ones are not.
    """

    def __init__(
        self,
        columns: Sequence[str],
        segment: Segment | None,
        start: datetime | None,
        end: datetime,
        *,
        only_different: bool = False,
    ) -> None:
        looked_at = [] if segment is None else [segment.path[0]]
        self._schema = pa.schema([(name, _TYPES[name]) for name in dict.fromkeys([*columns, *looked_at])])
        self._segment = segment
        self._which = "DISTINCT" if only_different else ""
        self.start, self.end = start, end
        self._hot = Spool(room.ROOM)
        self.files: list[ColdFile] = []
        #: As the snapshot has them, and how many were copied of them.
        self.hot_rows = self.copied_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hot.close()

    def take(self, connection: Connection, step: Callable[[], None]) -> None:
        """Note the cold files and copy the hot events, calling `step` again and again; what it raises ends the copy.

        Raises:
            WeirError: there is no room for them; and the driver's errors.
        """
        self.files = manifest.files(connection, EVENTS.name, self.start, self.end)
        conditions = "time < %(end)s" if self.start is None else "time < %(end)s AND time >= %(start)s"
        wanted = ", ".join(_PROPERTY if name == "properties" else name for name in self._schema.names)
        name = self._segment.path[1] if self._segment and len(self._segment.path) > 1 else None
        parameters = {"start": self.start, "end": self.end, "name": name}
        rows = f"FROM {EVENTS.table} WHERE {conditions}"
        self.hot_rows = self.copied_rows = self._copy(
            connection, f"SELECT {self._which} {wanted} {rows}", parameters, step
        )
        if self._which:
            self.hot_rows = int(connection.exec_driver_sql(f"SELECT count(*) {rows}", parameters).scalar_one())

    def _copy(self, connection: Connection, query: str, parameters: dict[str, Any], step: Callable[[], None]) -> int:
        """Copy the rows of a query, and say how many they are."""
        cursor: Any = connection.connection.cursor()
        try:
            with pa.ipc.new_stream(self._hot, self._schema) as spooled:

                def take(batch: pa.RecordBatch) -> None:
                    spooled.write_batch(batch)
                    step()

                rows = BinaryCopy(self._schema, take, most_rows=_STEP_ROWS, most_bytes=BLOCK_BYTES)
                copying = f"COPY ({cursor.mogrify(query, parameters).decode()}) TO STDOUT (FORMAT binary)"
                cursor.copy_expert(copying, rows)
                rows.flush()
            self._hot.flush()
        except BaseException:
            connection.invalidate()  # or all that PostgreSQL still sends would be read first, to be thrown away
            raise
        return int(cursor.rowcount)

    def batches(self, store: Store, taken: Callable[[pa.RecordBatch], None]) -> Batches:
        """Give what was taken, and tell of each batch. The batches raise ColdFileDamaged and ColdUnavailable."""

        def all_of_them() -> Iterator[pa.RecordBatch]:
            for batch in chain(self._cold_batches(store), self._hot_batches()):
                yield batch
                taken(batch)

        return Batches(self._schema, all_of_them())

    def _cold_batches(self, store: Store) -> Iterator[pa.RecordBatch]:
        for file in self.files:
            for table in store.pieces(file, self._schema.names, start=self._from(file), end=self._until(file)):
                yield from table.cast(self._schema).to_batches()

    def _from(self, file: ColdFile) -> datetime | None:
        return self.start if self.start is not None and file.first < self.start else None

    def _until(self, file: ColdFile) -> datetime | None:
        return self.end if file.last >= self.end else None

    def _hot_batches(self) -> Iterator[pa.RecordBatch]:
        self._hot.file.seek(0)
        with pa.ipc.open_stream(self._hot.file) as reader:
            yield from reader


def local_day(days: Days) -> str:
    """Return DuckDB's SQL for the local day that `time` is in, as date.toordinal has it: never below zero.

    Where days begin and end is zoneinfo's word; DuckDB has zones of its own, which may be of another year.
    """
    *earlier, last = ((_microseconds(period.end), period.offset // _MICROSECOND + _EPOCH) for period in days.periods)
    added = str(last[1])
    for end, offset in reversed(earlier):
        added = f"if(epoch_us(time) < {end}, {offset}, {added})"
    return f"((epoch_us(time) + {added}) // {_DAY})"


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND


def condition(segment: Segment | None) -> tuple[str, list[object]]:
    """Return DuckDB's SQL for `is in the segment`, and its parameters."""
    if segment is None:
        return "true", []
    column, *names = segment.path
    if not names:
        return f"{column} = ?", [segment.value]
    # A JSON pointer (RFC 6901) takes any name; with ~ and / written as ~0 and ~1.
    pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
    found = f"json_extract_string({column}, ?)"
    if not segment.is_number:
        return f"{found} = ?", [pointer, segment.value]
    is_text: _Clause = (f"WHEN json_type({column}, ?) = 'VARCHAR' THEN {found} = ?", [pointer, pointer, segment.value])
    is_integer: _Clause = (
        f"WHEN regexp_full_match({found}, '-?[0-9]+') THEN {found} = ?",
        [pointer, pointer, segment.integer],
    )
    is_number: _Clause = (f"ELSE TRY_CAST({found} AS DOUBLE) = ?", [pointer, segment.number])
    clauses = [is_text, is_number] if segment.integer is None else [is_text, is_integer, is_number]
    return (
        f"CASE {' '.join(clause for clause, _ in clauses)} END",
        [parameter for _, parameters in clauses for parameter in parameters],
    )
