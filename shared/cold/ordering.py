"""Makes the ordered copies of sealed files, once they are live: where one is missing, more is read, and that is all."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pyarrow as pa
from sqlalchemy import Engine, text

from shared.cold import manifest, ordered_manifest, switch
from shared.cold.digests import digest
from shared.cold.manifest import ColdFile
from shared.cold.ordered import BLOCK, Blocks, Values, blocks, rows_of_block
from shared.cold.ordered_manifest import OrderedCopy
from shared.cold.store import Store
from shared.cold.upkeep import Ends, Failed, attempt_all
from shared.database import translated
from shared.errors import ColdFileDamaged, NotFound
from shared.streams import Stream

#: A device with fewer rows in a file has none: its rows are read as soon as blocks would be.
FEWEST_ROWS = 10_000

#: Bytes of a reading in the file, the copy and the blocks' bounds. A device whose copy would cost more has none: values
#: whose every bit is random can hardly be packed. With what the manifest knows of each device they stay below 30.
MOST_BYTES = 29.0

#: Rows that are sorted together; of more there are several series of blocks, so that memory does not grow with them.
_AT_ONCE = 1 << 20

_DUE = text("""
    SELECT f.day FROM cold_files f
    WHERE f.stream = :stream
      AND EXISTS (SELECT FROM cold_summaries s WHERE s.file = f.id AND s.rows >= :fewest)
      AND NOT EXISTS (SELECT FROM cold_ordered o WHERE o.file = f.id)
    ORDER BY f.day DESC
""")


class OrderedDay(NamedTuple):
    """A day whose file has an ordered copy now."""

    stream: str
    day: date
    devices: int
    bytes: int


class _Unordered(NamedTuple):
    """A day whose file lacks its copy."""

    stream: Stream
    day: date


def order_all(
    engine: Engine,
    store: Store,
    streams: Iterable[Stream],
    begin_within: timedelta,
    told: Callable[[OrderedDay | Failed], None] = lambda _: None,
    ends: Ends = (),
) -> list[OrderedDay | Failed]:
    """Order every file that lacks its copy, the newest first, beginning none after this long. To be done `upkeep.alone`.

    A file that fails does not keep the next from being ordered, unless the store is away. Raises what `ends`.
    """
    due = (_Unordered(stream, day) for stream in streams for day in _due(engine, stream))
    return attempt_all(lambda one: order(engine, store, one.stream, one.day), due, begin_within, told, ends)


def order(engine: Engine, store: Store, stream: Stream, day: date) -> OrderedDay:
    """Write the ordered copy of a day's file. Killed anywhere, there is one or there is none, and it can be done again.

    Raises:
        ColdUnavailable, ColdFileDamaged: the store is away, the file is not what was sealed; or the copy is not what
            was written.
        WeirError: the database's errors.
    """
    with translated(), engine.connect() as connection:
        file = manifest.of_day(connection, stream.name, day)
        if file is None:
            raise NotFound("the day has no file")
        devices = manifest.devices_of(connection, file)
    rows = {key: one.rows for key, one in devices.items() if one.rows >= FEWEST_ROWS}
    path = f"_ordered/{stream.name}/day={day}/{uuid4()}.blocks"
    switch.note(engine, path)
    copy, made = _write(store, path, stream, file, rows)
    with translated(), engine.begin() as connection:
        switch.claim(connection, path)
        ordered_manifest.enter(connection, copy, made)
    return OrderedDay(stream.name, day, len(made), copy.bytes)


def _due(engine: Engine, stream: Stream) -> list[date]:
    if not stream.cold.by_device:
        return []
    with translated(), engine.connect() as connection:
        found = connection.execute(_DUE, {"stream": stream.name, "fewest": FEWEST_ROWS})
        return list(found.scalars())


def _write(
    store: Store, path: str, stream: Stream, file: ColdFile, rows: Mapping[int, int]
) -> tuple[OrderedCopy, dict[int, list[Blocks]]]:
    working = store.working_name(path)
    axes = stream.cold.axes
    with store.create(working) as sink:
        writer = _Writer(sink, axes, rows, MOST_BYTES - file.bytes / file.rows)
        for table in store.pieces(file, ["device_key", *axes], device_keys=rows):
            writer.add(table)
        writer.flush()
    copy = OrderedCopy(file.id, file.day, path, writer.bytes, writer.sha256.digest())
    with store.within(copy), store.source(working) as source:
        if digest(source) != (copy.bytes, copy.sha256):
            raise ColdFileDamaged(copy.path, "is not as it was written")
    if working != path:
        store.rename(working, path)
    return copy, {key: [np.array(one, BLOCK) for one in of_axes] for key, of_axes in writer.blocks.items()}


class _Writer:
    """Takes a file's rows by device, sorts them axis by axis, and writes the blocks.

    A device is given up, and is in `blocks` no more, at the first of its series that costs more than `most` bytes a row.
    """

    def __init__(self, sink: Any, axes: tuple[str, ...], rows: Mapping[int, int], most: float) -> None:
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        #: By device, axis by axis.
        self.blocks: dict[int, list[list[np.void]]] = {key: [[] for _ in axes] for key in rows}
        self._sink = sink
        self._axes = axes
        self._rows = rows
        self._most = most
        self._key = 0
        self._waiting: list[list[Values]] = []
        self._waiting_rows = 0

    def add(self, table: pa.Table) -> None:
        for key, part in _by_device(table):
            if key != self._key:
                self.flush()
                self._key = key
            if key not in self.blocks:
                continue
            self._waiting.append([part[axis].to_numpy() for axis in self._axes])
            self._waiting_rows += len(part)
            if self._waiting_rows >= _AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Write what waits, or give its device up."""
        series = self._series() if self._waiting else []
        self._waiting, self._waiting_rows = [], 0
        if series is None:
            del self.blocks[self._key]
            return
        for place, made in enumerate(series):
            for block, packed in made:
                self._sink.write(packed)
                self.sha256.update(packed)
                self.bytes += len(packed)
                self.blocks[self._key][place].append(block)

    def _series(self) -> list[list[tuple[np.void, bytes]]] | None:
        """Make the blocks of what waits, axis by axis. None: they are too large."""
        found: list[list[tuple[np.void, bytes]]] = []
        size, offset, left = rows_of_block(self._rows[self._key]), self.bytes, self._most * self._waiting_rows
        for columns in zip(*self._waiting, strict=True):
            made = list(blocks(np.concatenate(columns), size, offset))
            packed = sum(len(one) for _, one in made)
            offset += packed
            left -= packed + BLOCK.itemsize * len(made)
            if left < 0:
                return None
            found.append(made)
        return found


def _by_device(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    keys = table["device_key"].to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    for first, end in pairwise(edges):
        if first < end:
            yield int(keys[first]), table.slice(first, end - first)
