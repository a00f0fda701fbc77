"""Readings of any number of devices over any time, hot and cold, the oldest day first, in constant memory."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import pyarrow as pa
from sqlalchemy import Engine

from api.export import cold, hot
from api.export.columns import BATCH, READINGS, ROWS, Place
from api.export.days import DAY, days, midnight
from api.window import NEWEST, OLDEST, Window
from shared.cold import manifest
from shared.cold.merging import Merger
from shared.cold.store import Store
from shared.streams import READINGS as STREAM

_SHOWN = [name for name in ROWS.names if name != "device_key"]


def batches(engine: Engine, store: Store, keys: Sequence[int] | None, window: Window) -> Iterator[pa.RecordBatch]:
    """Yield the readings of these devices, sorted keys, or of all; days in order, in a day by device, then by time.

    What was stored when this began comes exactly once, whatever is sealed meanwhile; what is stored later may come.
    A reading stays in its day and in its place there whether it is hot or cold, so each part of a day is asked for as
    one moment of its own, and no transaction is open while one waits for the next batch.

    Raises:
        DatabaseUnavailable, ColdFileDamaged, ColdUnavailable, NoRoom: also in the middle.
    """
    start, end = window.start or OLDEST, window.end or NEWEST
    with manifest.snapshot(engine) as connection:
        found = days(connection, STREAM, start, end, keys)
    for begin in map(midnight, found):
        for table in _of_day(engine, store, keys, max(start, begin), min(end, begin + DAY)):
            yield from table.select(_SHOWN).rename_columns(READINGS.names).to_batches(BATCH)


def _of_day(
    engine: Engine, store: Store, keys: Sequence[int] | None, start: datetime, end: datetime
) -> Iterator[pa.Table]:
    place: Place | None = Place(0, start)
    while place is not None:
        with manifest.snapshot(engine) as connection:
            files = manifest.files(connection, STREAM.name, start, end, keys)
            page = hot.Page(connection, keys, start, end, place)
        part = cold.Part(keys, start, end, place, page.following)
        with page:
            yield from _merged(page, (table for file in files for table in cold.tables(store, file, part)))
        place = page.following


def _merged(page: hot.Page, older: Iterator[pa.Table]) -> Iterator[pa.Table]:
    merger = Merger(STREAM.cold.order, older)
    for table in page.tables():
        yield from merger.add(table)
    yield from merger.rest()
