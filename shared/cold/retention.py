"""Drops what has been kept as long as promised: whole partitions and files, and devices out of files."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, text

from shared.cold import hot, manifest, switch
from shared.cold.contents import Contents
from shared.cold.hot import Source
from shared.cold.layout import Writer
from shared.cold.manifest import ColdFile
from shared.cold.store import Store
from shared.cold.upkeep import Ends, Failed, attempt_all
from shared.cold.writing import New, new_path, write
from shared.database import translated
from shared.streams import Stream

#: Terms of a stream's devices that have one: the shortest and the longest.
_TERMS = text("SELECT min(retention_days), max(retention_days) FROM devices")
_OLD = text("SELECT day FROM cold_files WHERE stream = :stream AND day < :before ORDER BY day")
#: Whose time is over: a device without a term has that of its stream.
_OVER = text("""
    SELECT s.device_key, s.rows FROM cold_summaries s LEFT JOIN devices d ON d.key = s.device_key
    WHERE s.file = :file AND :age > coalesce(d.retention_days, :term)
""")


class Drop(NamedTuple):
    """What is to go of one day: its partition, its file, or some devices' rows in its file."""

    stream: Stream
    day: date
    rows: int
    partition: Source | None = None
    file: ColdFile | None = None
    #: Keys of the devices that go; none: the file as a whole.
    devices: frozenset[int] = frozenset()

    @property
    def is_rewriting(self) -> bool:
        """Whether it takes as long as sealing the day does; all else takes moments."""
        return bool(self.devices)

    def shown(self) -> dict[str, str | int]:
        """Say it to people and programs."""
        what = "partition" if self.partition else "devices" if self.devices else "file"
        name = self.partition.table if self.partition else self.file.path if self.file else ""
        shown: dict[str, str | int] = {"stream": self.stream.name, "day": str(self.day), "what": what, "name": name}
        return shown | {"rows": self.rows, "devices": len(self.devices)}


def plan(engine: Engine, streams: Iterable[Stream], terms: Mapping[str, int | None]) -> list[Drop]:
    """Say what is past its term: a day is, as soon as `term` whole days lie between it and today.

    `terms` has each stream's term in days by name; None: for ever. Raises WeirError.
    """
    found = []
    with translated(), engine.connect() as connection:
        today = hot.today(connection)
        for stream in streams:
            shortest, longest = _span(connection, stream, terms[stream.name])
            if longest is not None:
                sources = hot.partitions(connection, stream, today - timedelta(days=longest))
                found += [Drop(stream, one.day, hot.rows_in(connection, one), partition=one) for one in sources]
            if shortest is not None:
                days = {"stream": stream.name, "before": today - timedelta(days=shortest)}
                for day in connection.execute(_OLD, days).scalars().all():
                    found += _of_file(connection, stream, day, (today - day).days, terms[stream.name])
    return found


def apply(
    engine: Engine,
    store: Store,
    drops: Iterable[Drop],
    told: Callable[[Drop | Failed], None] = lambda _: None,
    begin_within: timedelta = timedelta.max,
    ends: Ends = (),
) -> list[Drop | Failed]:
    """Drop all that, beginning nothing after this long; return what came of each. To be done `upkeep.alone`.

    Raises what `ends`.
    """
    return attempt_all(partial(_apply, engine, store), drops, begin_within, told, ends)


def _span(connection: Connection, stream: Stream, term: int | None) -> tuple[int | None, int | None]:
    """Return the shortest term of anybody in a stream, and the longest; None: for ever."""
    if not stream.cold.by_device:
        return term, term
    shortest, longest = connection.execute(_TERMS).one()
    if term is None:
        return shortest, None
    return min(term, shortest or term), max(term, longest or term)


def _of_file(connection: Connection, stream: Stream, day: date, age: int, term: int | None) -> list[Drop]:
    file = manifest.of_day(connection, stream.name, day)
    if file is None:
        return []
    if not stream.cold.by_device:
        return [Drop(stream, day, file.rows, file=file)]
    over = connection.execute(_OVER, {"file": file.id, "age": age, "term": term}).all()
    rows = sum(one.rows for one in over)
    if rows == file.rows:
        return [Drop(stream, day, rows, file=file)]
    keys = frozenset(one.device_key for one in over)
    return [Drop(stream, day, rows, file=file, devices=keys)] if keys else []


def _apply(engine: Engine, store: Store, drop: Drop) -> Drop:
    partition = drop.partition
    if partition:
        switch.patiently(lambda connection: _drop_partition(connection, partition), engine)
    elif drop.file and drop.devices:
        _without(engine, store, drop.stream, drop.file, drop.devices)
    elif drop.file:
        file = drop.file
        switch.patiently(lambda connection: _retire(connection, file), engine)
    return drop


def _retire(connection: Connection, file: ColdFile) -> None:
    switch.forget_answers(connection)
    switch.retire(connection, file)


def _drop_partition(connection: Connection, partition: Source) -> None:
    switch.forget_answers(connection)
    switch.drop_unread(connection, partition)


def _without(engine: Engine, store: Store, stream: Stream, file: ColdFile, gone: frozenset[int]) -> None:
    """Write a file again without some devices."""
    with translated(), engine.connect() as connection:
        devices = {key: one for key, one in manifest.devices_of(connection, file).items() if key not in gone}
    left = Contents(
        sum(one.rows for one in devices.values()),
        min(one.first for one in devices.values()),
        max(one.last for one in devices.values()),
        devices,
    )
    keys = pa.array(sorted(gone), pa.int32())

    def fill(writer: Writer) -> Callable[[], Contents]:
        for table in store.pieces(file):
            writer.add(table.filter(pc.invert(pc.is_in(table["device_key"], keys))))
        return lambda: left

    path = new_path(stream, file.day)
    switch.note(engine, path)
    new = write(store, path, stream, file.day, fill)
    switch.patiently(lambda connection: _exchange(connection, new, file), engine)


def _exchange(connection: Connection, new: New, older: ColdFile) -> None:
    switch.forget_answers(connection)
    switch.enter(connection, new.file, new.devices, older=older)
