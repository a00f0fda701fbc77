"""What is done to the cold tier by one process at a time: sealing all that is due, and removing what is left over."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from typing import NamedTuple

from sqlalchemy import Engine, text

from shared.cold import hot, mark
from shared.cold.hot import Source
from shared.cold.sealing import Sealed, seal
from shared.cold.store import Store
from shared.database import translated
from shared.errors import ColdFileUnreadable, ColdUnavailable, Conflict, WeirError
from shared.streams import Stream

#: Held while somebody seals or applies retention.
LOCK = 0x57454943

#: Days whose file is new: what comes late for them is gathered before the file is written again.
_FRESH = text("SELECT day FROM cold_files WHERE stream = :stream AND sealed_at > now() - :rest")
_LEFT_OVER = text("SELECT path FROM cold_leftovers WHERE NOT was_live OR since < now() - :grace ORDER BY since")
_CLAIM = text("SELECT 1 FROM cold_leftovers WHERE path = :path FOR UPDATE")
_FORGET = text("DELETE FROM cold_leftovers WHERE path = :path")

#: Errors that are of no day and end the whole run: the caller's signal that its time is over.
Ends = tuple[type[Exception], ...]


class Failed(NamedTuple):
    """A day that stays as it is until the next time, and why."""

    stream: str
    day: date
    reason: str


def failed(stream: Stream, day: date, error: Exception) -> Failed:
    """Say why a day stays as it is. What nobody has thought of is one day's fault, too: it must not stop the others."""
    reason = str(error) if isinstance(error, WeirError) else f"unexpected {type(error).__name__}: {error}"
    return Failed(stream.name, day, reason)


def is_away(error: Exception) -> bool:
    """Whether no day can be done before the store is back; one file that cannot be read keeps none of the others."""
    return isinstance(error, ColdUnavailable) and not isinstance(error, ColdFileUnreadable)


class NotRemoved(NamedTuple):
    """A file that should be gone and stays until the next time, and why."""

    path: str
    reason: str


@contextmanager
def alone(engine: Engine, store: Store) -> Iterator[None]:
    """Be the only one at the upkeep of this cold tier.

    Raises:
        Conflict: somebody else is.
        ColdUnavailable, Misconfigured: the store is away, or is another one than before.
        WeirError: the database's errors.
    """
    with translated(), engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        if not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar_one():
            raise Conflict("another process is at the upkeep of the cold tier")
        try:
            mark.ensure(engine, store)
            yield
        finally:
            # The lock is the connection's, which goes with it: back in the pool it would hold it for ever.
            connection.invalidate()


def due(
    engine: Engine,
    streams: Iterable[Stream],
    before: date,
    rest: timedelta = timedelta(0),
    terms: Mapping[str, int | None] | None = None,
) -> list[Source]:
    """Return what is hot of the days before that one, the oldest first. Files younger than `rest` are left alone.

    Days past their stream's term (days, by its name) are due whichever they are: no row is dropped before it is sealed,
    unless its partition goes as a whole.
    """
    found = []
    with translated(), engine.connect() as connection:
        today = hot.today(connection)
        for stream in streams:
            term = (terms or {}).get(stream.name)
            limit = before if term is None else max(before, today - timedelta(days=term))
            fresh = connection.execute(_FRESH, {"stream": stream.name, "rest": rest}).scalars().all()
            sources = hot.sources(connection, stream, limit)
            found += [source for source in sources if source.day not in fresh]
    return sorted(found, key=lambda source: source.day)


def seal_all(
    engine: Engine,
    store: Store,
    sources: Iterable[Source],
    begin_within: timedelta,
    told: Callable[[Sealed | Failed], None] = lambda _: None,
    ends: Ends = (),
) -> list[Sealed | Failed]:
    """Seal one day after another, beginning none after this long; return what came of each. To be done `alone`.

    A day that fails does not keep the next from being sealed, unless the store cannot be written to. Raises what `ends`.
    """
    began, found = time.monotonic(), list[Sealed | Failed]()
    for source in sources:
        if time.monotonic() - began > begin_within.total_seconds():
            break
        away = False
        try:
            one: Sealed | Failed = seal(engine, store, source)
        except ends:
            raise
        except Exception as error:  # noqa: BLE001
            one, away = failed(source.stream, source.day, error), is_away(error)
        told(one)
        found.append(one)
        if away:
            break
    return found


def tidy(engine: Engine, store: Store, grace: timedelta, told: Callable[[NotRemoved], None] = lambda _: None) -> int:
    """Remove files that never came to count, and those that count no more for so long; return how many.

    To be done `alone`. One that cannot be removed keeps none from being. Raises the database's errors.
    """
    removed = 0
    with translated(), engine.connect() as connection:
        paths = connection.execute(_LEFT_OVER, {"grace": grace}).scalars().all()
    for path in paths:
        try:
            with translated(), engine.begin() as connection:
                # Whoever would still make it count waits for this, and finds that it cannot.
                if connection.execute(_CLAIM, {"path": path}).first() is None:
                    continue
                removed += sum(store.remove(name) for name in {store.working_name(path), path})
                connection.execute(_FORGET, {"path": path})
        except ColdUnavailable as error:
            told(NotRemoved(path, str(error)))
    return removed
