"""Events over any time, hot and cold, the oldest first, in constant memory."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

import pyarrow as pa
from sqlalchemy import Connection, Engine

from api.export.columns import BATCH, EVENTS
from api.export.days import DAY, days, midnight
from api.export.spool import EVENTS as ROOM
from api.window import NEWEST, OLDEST, Window
from shared.cold import layout, manifest
from shared.cold.hot import Source, copy
from shared.cold.merging import Merger
from shared.cold.store import Store
from shared.spool import Spool
from shared.streams import EVENTS as STREAM

_COLUMNS = ["event_id", "user_id", "event_type", "time", "properties"]


def batches(engine: Engine, store: Store, window: Window) -> Iterator[pa.RecordBatch]:
    """Yield the events, by time and id. Each day is one moment of its own, as with readings; its hot events wait in a
    temporary file.

    Raises:
        DatabaseUnavailable, ColdFileDamaged, ColdUnavailable, NoRoom: also in the middle.
    """
    start, end = window.start or OLDEST, window.end or NEWEST
    with manifest.snapshot(engine) as connection:
        found = days(connection, STREAM, start, end)
    for begin in map(midnight, found):
        for table in _of_day(engine, store, max(start, begin), min(end, begin + DAY)):
            shown = table.select(_COLUMNS).rename_columns(EVENTS.names).cast(EVENTS)
            yield from shown.to_batches(BATCH)


def _of_day(engine: Engine, store: Store, start: datetime, end: datetime) -> Iterator[pa.Table]:
    with closing(Spool(ROOM)) as spool:
        with manifest.snapshot(engine) as connection:
            files = manifest.files(connection, STREAM.name, start, end)
            _spool(connection, start, end, spool)
        cold = (table for file in files for table in store.pieces(file, start=start, end=end))
        yield from _merged(Merger(STREAM.cold.order, cold), spool)


def _spool(connection: Connection, start: datetime, end: datetime, spool: Spool) -> None:
    """Write what is hot of a part of a day to a file, sorted."""
    source = Source(STREAM, start.date(), STREAM.table)
    try:
        with pa.ipc.new_stream(spool, layout.schema(STREAM)) as writer:
            copy(connection, source, {}, writer.write_table, (start, end))
        spool.flush()
    except BaseException:
        connection.invalidate()  # or all that PostgreSQL still sends would be read first, to be thrown away
        raise
    spool.file.seek(0)


def _merged(merger: Merger, spool: Spool) -> Iterator[pa.Table]:
    with pa.ipc.open_stream(spool.file) as hot:
        for batch in hot:
            yield from merger.add(pa.Table.from_batches([batch]))
    yield from merger.rest()
