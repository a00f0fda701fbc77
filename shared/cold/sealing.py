"""Seals a day: hot rows into a file, the file verified, then the switch. decisions/0013 says why in this order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from typing import NamedTuple

import pyarrow as pa
from sqlalchemy import Connection, Engine

from shared.cold import hot, manifest, mark, switch
from shared.cold.contents import Contents, Gatherer, joined
from shared.cold.hot import DeviceCounts, Source, SourceCounts
from shared.cold.layout import Writer
from shared.cold.manifest import ColdFile
from shared.cold.merging import Merger
from shared.cold.store import Store
from shared.cold.switch import InTheWay
from shared.cold.writing import New, NotAsWritten, Step, new_path, write
from shared.database import translated


class Sealed(NamedTuple):
    """A day that is cold now. A partition without rows is only dropped."""

    stream: str
    day: date
    #: Rows of the day's file, and how many of them were hot until now.
    rows: int
    hot_rows: int
    bytes: int


def seal(engine: Engine, store: Store, source: Source, step: Step = lambda _: None) -> Sealed:
    """Seal what is hot of one day. Killed anywhere, it has happened or it has not, and can be done again.

    Of a partition that gets records all the while, the rows go, and it stays for those that came.

    Raises:
        DatabaseUnavailable: also when the rows are in use: later is as good.
        ColdUnavailable, ColdFileDamaged: the store is away; the day's file so far is not what was sealed.
        NotAsWritten: the new file is not what was to be sealed.
    """
    mark.ensure(engine, store)
    if not source.is_default:
        with suppress(InTheWay):
            return _seal(engine, store, source, step, by_rows=False)
    return _seal(engine, store, source, step, by_rows=True)


def _seal(engine: Engine, store: Store, source: Source, step: Step, *, by_rows: bool) -> Sealed:
    path = new_path(source.stream, source.day)
    switch.note(engine, path)
    step("noted")
    with _snapshot(engine) as connection:
        counted = hot.count(connection, source)
        older = manifest.of_day(connection, source.stream.name, source.day)
        new = None
        if counted.rows:
            fill = _filling(store, connection, source, counted, older)
            new = write(store, path, source.stream, source.day, fill, step)
        if by_rows and new:
            # By the snapshot that wrote them, which does not see what came since: nobody need be kept out.
            switch.delete_rows(connection, source, counted.rows)
            switch.enter(connection, new.file, new.devices, older)
            step("entered")
        elif by_rows and not source.is_default:
            raise InTheWay("the partition is empty, and records are coming for it")
    if not by_rows:

        def switch_over(connection: Connection) -> None:
            _from_partition(connection, source, counted.rows, new, older)
            step("entered")

        switch.patiently(switch_over, engine)
    step("switched")
    rows, size = (new.file.rows, new.file.bytes) if new else (0, 0)
    return Sealed(source.stream.name, source.day, rows, counted.rows, size)


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    with translated(), engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def _filling(
    store: Store, connection: Connection, source: Source, counted: SourceCounts, older: ColdFile | None
) -> Callable[[Writer], Callable[[], Contents]]:
    """Return what fills a file with the hot rows and those of the older file, as one sequence."""

    def fill(writer: Writer) -> Callable[[], Contents]:
        gatherer = Gatherer(source.stream)
        merger = Merger(source.stream.cold.order, store.pieces(older) if older else iter(()))

        def take(table: pa.Table) -> None:
            gatherer.add(table)
            for merged in merger.add(table):
                writer.add(merged)

        hot.copy(connection, source, hot.device_ids(connection, list(counted.devices)), take)
        for table in merger.rest():
            writer.add(table)
        return lambda: _together(connection, gatherer, counted, older)

    return fill


def _together(connection: Connection, gatherer: Gatherer, counted: SourceCounts, older: ColdFile | None) -> Contents:
    """Say what hot rows and older ones are together. Raises NotAsWritten when PostgreSQL counted other hot ones."""
    rows = gatherer.contents()
    devices = {key: DeviceCounts._make(one[1:6]) for key, one in rows.devices.items()}
    whole = (None, None, 0) if devices else (rows.first, rows.last, gatherer.text_bytes)
    if SourceCounts(rows.rows, devices, *whole) != counted:
        raise NotAsWritten("the rows that came out of PostgreSQL are not those it counts")
    if older is None:
        return rows
    before = manifest.devices_of(connection, older)
    both = {key: joined(one, before[key]) if key in before else one for key, one in rows.devices.items()}
    assert rows.first is not None
    assert rows.last is not None
    first, last = min(rows.first, older.first), max(rows.last, older.last)
    return Contents(rows.rows + older.rows, first, last, before | both)


def _from_partition(connection: Connection, source: Source, rows: int, new: New | None, older: ColdFile | None) -> None:
    if new:
        live = manifest.of_day(connection, source.stream.name, source.day)
        if live and live.id == new.file.id:
            return  # it was committed at an earlier try, and the answer was lost
        switch.enter(connection, new.file, new.devices, older)
    switch.drop_partition(connection, source, rows)
