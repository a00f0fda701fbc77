"""Reads every live file again and compares it with what was sealed."""

import shlex
from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple

import pyarrow as pa
from sqlalchemy import Engine, text

from shared.cold import contents, manifest, mark, ordered_manifest
from shared.cold.contents import Contents
from shared.cold.digests import digest
from shared.cold.manifest import ColdFile
from shared.cold.ordered_manifest import OrderedCopy
from shared.cold.store import Store
from shared.database import translated
from shared.errors import ColdFileDamaged, ColdUnavailable
from shared.streams import Stream

ADVICE = (
    "put a copy of this very file back (its SHA-256 is in cold_files); where there is none, its records are lost: "
    "`weir verify --forget {path}` has answers go on without them"
)
#: Of one file in a store that is there otherwise.
UNREAD = "could not be read to its end"
AGAIN = (
    "run it again; where it stays so, the disk is failing there: put a copy of this very file back; where there is none, "
    "take the file out of the folder, and it is missing"
)
COPY_ADVICE = "`weir verify --forget {path}` lets go of it, no record is lost, and `weir seal` makes another"

_LIVE = text("""
    SELECT EXISTS (SELECT FROM cold_files WHERE path = :path) OR EXISTS (SELECT FROM cold_ordered WHERE path = :path)
""")

File = ColdFile | OrderedCopy


class Verified(NamedTuple):
    """A file, and what is wrong with it where anything is."""

    stream: str
    day: date
    #: Where it is, or should be: a path or a URL.
    path: str
    #: Those of the day; an ordered copy has none of its own.
    rows: int
    bytes: int
    fault: str | None
    advice: str | None


def verify(engine: Engine, store: Store, streams: Iterable[Stream]) -> Iterator[Verified]:
    """Yield every live file and ordered copy, once it is looked at.

    Raises:
        ColdUnavailable, Misconfigured: the store is away, or is another one; of its files nothing can be said.
        DatabaseUnavailable: nobody knows of any.
    """
    mark.check(engine, store)
    for stream in streams:
        for file in live(engine, stream):
            fault = fault_of(engine, store, stream, file)
            if fault and not _is_live(engine, file):
                continue  # another has taken its place since, and it may be gone
            path, rows = store.path(file), file.rows if isinstance(file, ColdFile) else 0
            yield Verified(stream.name, file.day, path, rows, file.bytes, fault, fault and _advice(file, path, fault))


def live(engine: Engine, stream: Stream) -> list[File]:
    """Return a stream's live files, by day, and then their ordered copies."""
    with manifest.snapshot(engine) as connection:
        return [*manifest.files(connection, stream.name), *ordered_manifest.copies(connection, stream.name)]


def fault_of(engine: Engine, store: Store, stream: Stream, file: File) -> str | None:
    """Read a whole file and say what is wrong with it; None: nothing is. Raises as `verify` does."""
    try:
        if isinstance(file, OrderedCopy):
            return _fault_of_copy(store, file)
        return _fault_of_rows(engine, store, stream, file)
    except ColdFileDamaged as error:
        return error.fault
    except ColdUnavailable:
        mark.check(engine, store)
        return UNREAD


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


def _is_live(engine: Engine, file: File) -> bool:
    with translated(), engine.connect() as connection:
        return bool(connection.execute(_LIVE, {"path": file.path}).scalar_one())


def _fault_of_copy(store: Store, copy: OrderedCopy) -> str | None:
    with store.within(copy), store.source(copy.path) as source:
        return None if digest(source) == (copy.bytes, copy.sha256) else "has another size or SHA-256"


def _fault_of_rows(engine: Engine, store: Store, stream: Stream, file: ColdFile) -> str | None:
    with store.within(file), store.open(file) as parquet:
        if store.digests(file.path).sha256 != file.sha256:
            return "has another SHA-256"
        found = contents.gathered((pa.Table.from_batches([batch]) for batch in parquet.iter_batches()), stream)
    with manifest.snapshot(engine) as connection:
        devices = manifest.devices_of(connection, file)
    if found.contents() != Contents(file.rows, file.first, file.last, devices):
        return "is whole, and the manifest says something else of its rows"
    return None


def _advice(file: File, path: str, fault: str) -> str:
    advice = COPY_ADVICE if isinstance(file, OrderedCopy) else AGAIN if fault == UNREAD else ADVICE
    return advice.format(path=shlex.quote(path))
