"""What is done to the cold tier by one process at a time: sealing all that is due, and removing what is left over."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

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


class Due(Protocol):
    """Something that is to be done for one day of a stream."""

    @property
    def stream(self) -> Stream: ...
    @property
    def day(self) -> date: ...


OneDue = TypeVar("OneDue", bound=Due)
Outcome = TypeVar("Outcome")


class Failed(NamedTuple):
    """A day that stays as it is until the next time, and why."""

    stream: str
    day: date
    reason: str


def attempt(work: Callable[[], Outcome], stream: Stream, day: date, ends: Ends) -> tuple[Outcome | Failed, bool]:
    """Do what is due of one day; return what came of it, and whether no day can be done before the store is back.

    What nobody has thought of is one day's fault, too: it must not stop the others. Raises what `ends`.
    """
    try:
        return work(), False
    except ends:
        raise
    except Exception as error:  # noqa: BLE001
        reason = str(error) if isinstance(error, WeirError) else f"unexpected {type(error).__name__}: {error}"
        # One file that cannot be read keeps none of the others.
        away = isinstance(error, ColdUnavailable) and not isinstance(error, ColdFileUnreadable)
        return Failed(stream.name, day, reason), away


def attempt_all(
    work: Callable[[OneDue], Outcome],
    due: Iterable[OneDue],
    begin_within: timedelta,
    told: Callable[[Outcome | Failed], None],
    ends: Ends,
) -> list[Outcome | Failed]:
    """Do one after another, beginning none after this long; return what came of each.

    One that fails does not keep the next from being done, unless the store is away. Raises what `ends`.
    """
    began, found = time.monotonic(), list[Outcome | Failed]()
    for one in due:
        if time.monotonic() - began > begin_within.total_seconds():
            break
        outcome, away = attempt(partial(work, one), one.stream, one.day, ends)
        told(outcome)
        found.append(outcome)
        if away:
            break
    return found


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
            _unlock(connection)


def _unlock(connection: Connection) -> None:
    """Release the lock, so that whoever comes next finds it free at once. It is the session's: where that cannot be told to
    release it, the session is given up and not put back into the pool.
    """
    try:
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
    except DBAPIError:
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
    return attempt_all(partial(seal, engine, store), sources, begin_within, told, ends)


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
