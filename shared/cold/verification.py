"""Reads every live file again and compares it with what was sealed."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple

import pyarrow as pa
from sqlalchemy import Engine

from shared.cold import contents, manifest, mark, ordered_manifest
from shared.cold.contents import Contents
from shared.cold.manifest import ColdFile
from shared.cold.ordered_manifest import OrderedCopy
from shared.cold.store import Store, digest
from shared.database import translated
from shared.errors import ColdFileDamaged, ColdUnavailable
from shared.streams import Stream

ADVICE = (
    "put a copy of this very file back (its SHA-256 is in cold_files); where there is none, its records are lost: "
    "DELETE FROM cold_files WHERE path = '{path}' lets answers go on without them"
)
#: Of one file in a store that is there otherwise.
UNREAD = "could not be read to its end"
AGAIN = "run it again; where it stays so, the disk is failing there: put a copy of this very file back"


COPY_ADVICE = "DELETE FROM cold_ordered WHERE path = '{path}', and `weir seal` makes another of the day's file"


class Verified(NamedTuple):
    """A file, and what is wrong with it where anything is."""

    stream: str
    day: date
    path: str
    rows: int
    bytes: int
    fault: str | None
    advice: str | None


def verify(engine: Engine, store: Store, streams: Iterable[Stream]) -> Iterator[Verified]:
    """Yield every live file, once it is looked at.

    Raises:
        ColdUnavailable, Misconfigured: the store is away, or is another one; of its files nothing can be said.
        DatabaseUnavailable: nobody knows of any.
    """
    mark.check(engine, store)
    for stream in streams:
        with manifest.snapshot(engine) as connection:
            files = manifest.files(connection, stream.name)
        for file in files:
            fault = _fault(engine, store, stream, file)
            if fault and not _is_live(engine, file):
                continue  # another has taken its place since, and it may be gone
            advice = AGAIN if fault == UNREAD else ADVICE.format(path=file.path) if fault else None
            yield Verified(stream.name, file.day, store.path(file), file.rows, file.bytes, fault, advice)
        yield from _copies(engine, store, stream)


def _copies(engine: Engine, store: Store, stream: Stream) -> Iterator[Verified]:
    """The ordered copies, whose rows are in the files already."""
    with manifest.snapshot(engine) as connection:
        copies = ordered_manifest.copies(connection, stream.name)
    for copy in copies:
        fault = None
        try:
            with store.within(copy), store.source(copy.path) as source:
                if digest(source) != (copy.bytes, copy.sha256):
                    fault = "has another size or SHA-256"
        except ColdFileDamaged as error:
            fault = error.fault
        if fault is None or _counts(engine, stream, copy):
            advice = COPY_ADVICE.format(path=copy.path) if fault else None
            yield Verified(stream.name, copy.day, store.path(copy), 0, copy.bytes, fault, advice)


def look(engine: Engine, store: Store, streams: Iterable[Stream]) -> tuple[int, list[ColdFileDamaged]]:
    """Look at the size and the footer of every live file, which takes a millisecond each.

    Returns how many files there are, and the damaged ones. Raises as `verify` does.
    """
    mark.check(engine, store)
    with manifest.snapshot(engine) as connection:
        files = [file for stream in streams for file in manifest.files(connection, stream.name)]
    damaged = []
    for file in files:
        try:
            store.open(file).close()
        except ColdFileDamaged as error:
            if _is_live(engine, file):
                damaged.append(error)
    return len(files), damaged


def _fault(engine: Engine, store: Store, stream: Stream, file: ColdFile) -> str | None:
    try:
        with store.within(file), store.open(file) as parquet:
            if store.digests(file.path).sha256 != file.sha256:
                return "has another SHA-256"
            found = contents.of((pa.Table.from_batches([batch]) for batch in parquet.iter_batches()), stream)
    except ColdFileDamaged as error:
        return error.fault
    except ColdUnavailable:
        mark.check(engine, store)
        return UNREAD
    with manifest.snapshot(engine) as connection:
        devices = manifest.devices_of(connection, file)
    if found != Contents(file.rows, file.first, file.last, devices):
        return "is whole, and the manifest says something else of its rows"
    return None


def _is_live(engine: Engine, file: ColdFile) -> bool:
    with translated(), engine.connect() as connection:
        live = manifest.of_day(connection, file.stream, file.day)
    return live is not None and live.id == file.id


def _counts(engine: Engine, stream: Stream, copy: OrderedCopy) -> bool:
    with translated(), engine.connect() as connection:
        return copy in ordered_manifest.copies(connection, stream.name)
