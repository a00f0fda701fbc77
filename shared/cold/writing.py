"""Writes a cold file and reads it back: what comes out is what the manifest may be told of."""

from collections.abc import Callable
from datetime import date
from typing import NamedTuple
from uuid import uuid4

import pyarrow as pa

from shared.cold import contents, layout
from shared.cold.contents import Contents, DeviceRows
from shared.cold.layout import Writer
from shared.cold.manifest import ColdFile
from shared.cold.store import Store
from shared.errors import WeirError
from shared.streams import Stream

#: Called after each step of a day with its name, one of STEPS. What is entered is not committed yet, and locks are held.
Step = Callable[[str], None]
STEPS = ("noted", "written", "verified", "named", "entered", "switched")


class NotAsWritten(WeirError):
    """A file does not hold what was to go into it: it does not count, and the rows stay where they are."""


class New(NamedTuple):
    """A file that is to be live."""

    file: ColdFile
    devices: dict[int, DeviceRows]


def new_path(stream: Stream, day: date) -> str:
    """Name a file as Hive does, so that others find the day in its path."""
    return f"{stream.name}/day={day}/{uuid4()}.parquet"


def write(
    store: Store,
    path: str,
    stream: Stream,
    day: date,
    fill: Callable[[Writer], Callable[[], Contents]],
    step: Step = lambda _: None,
) -> New:
    """Have a file filled with sorted rows, verify it against what `fill` returns once asked, and give it its name.

    Raises:
        ColdUnavailable: the store cannot be written to, or read from.
        NotAsWritten: the rows make no file, or the file does not hold what it was to hold.
    """
    working = store.working_name(path)
    name = f"the file for {stream.name} of {day}"
    try:
        with store.create(working) as sink:
            writer = layout.Writer(stream, sink)
            expected = fill(writer)
            writer.close()
    except (pa.ArrowException, ValueError) as error:
        raise NotAsWritten(f"{name} cannot be made of its rows ({type(error).__name__})") from error
    step("written")
    try:
        with store.parquet(working) as parquet:
            read = contents.gathered((pa.Table.from_batches([batch]) for batch in parquet.iter_batches()), stream)
        digests = store.digests(working)
    except (pa.ArrowException, ValueError, OSError) as error:
        store.reach()
        raise NotAsWritten(f"{name} cannot be read back ({type(error).__name__})") from error
    found = read.contents()
    if not found.same_as(expected()) or read.text_bytes != writer.text_bytes:
        raise NotAsWritten(f"{name} does not hold what was to go into it")
    step("verified")
    if working != path:
        store.rename(working, path)
    step("named")
    assert found.first is not None
    assert found.last is not None
    file = ColdFile(uuid4(), stream.name, day, path, found.rows, found.first, found.last, *digests)
    return New(file, found.devices)
