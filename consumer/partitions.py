"""Makes each day's partition ahead of its day; what fits no day goes to the default partition."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine, text

from shared.database import DatabaseThreads, translated
from shared.errors import WeirError
from shared.streams import Stream

log = structlog.get_logger()

#: Held while partitions are made, so that consumers that start together do not make the same one.
LOCK = 0x57454950

EVERY = timedelta(hours=1)
RETRY = timedelta(seconds=5)
#: Measured on our side, because a frozen database ends nothing. What takes longer goes on, and is looked for again.
DEADLINE = timedelta(seconds=30)


def ensure(engine: Engine, streams: Iterable[Stream], ahead: int) -> list[str]:
    """Make the partitions from yesterday to `ahead` days from now that are missing; return their names.

    Raises:
        WeirError: none of those that were missing is there for certain; call it again.
    """
    today = datetime.now(UTC).date()
    made = []
    with translated(), engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        for stream in streams:
            for days in range(-1, ahead + 1):
                name = _make(connection, stream.table, today + timedelta(days=days))
                if name:
                    made.append(name)
    return made


def _make(connection: Connection, table: str, day: date) -> str | None:
    """Make one day's partition beside the table and attach it, which blocks nobody who reads or writes other days."""
    name = f"{table}_{day:%Y%m%d}"
    if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar_one() is not None:
        return None
    start, end = f"'{day} 00:00:00+00'", f"'{day + timedelta(days=1)} 00:00:00+00'"
    inside = f"time >= {start} AND time < {end}"
    for statement in (
        f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
        # Rows of this day came before its partition did, because no consumer was running: they move along.
        f"WITH moved AS (DELETE FROM {table}_default WHERE {inside} RETURNING *) INSERT INTO {name} SELECT * FROM moved",  # noqa: S608
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})",
    ):
        connection.execute(text(statement))
    return name


async def keep(threads: DatabaseThreads, engine: Engine, streams: Iterable[Stream], ahead: int) -> None:
    """Make partitions now and every hour, until cancelled; a database that is away is waited for."""
    while True:
        await asyncio.sleep((await attempt(threads, engine, streams, ahead)).total_seconds())


async def attempt(threads: DatabaseThreads, engine: Engine, streams: Iterable[Stream], ahead: int) -> timedelta:
    """Make what is missing; return how long it is good for."""
    try:
        made = await threads.run(ensure, engine, streams, ahead, deadline=DEADLINE)
    except WeirError as error:
        log.warning("partitions wait", reason=str(error))
        return RETRY
    if made:
        log.info("partitions made", first=made[0], last=made[-1])
    return EVERY
