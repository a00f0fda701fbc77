"""Makes each day's partition ahead of its day; what fits no day goes to the default partition."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, Engine, text

from shared.database import DatabaseThreads, translated
from shared.errors import DatabaseUnavailable, WeirError
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
    span = [today + timedelta(days=number) for number in range(-1, ahead + 1)]
    with translated(), engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        missing = [_Partition(stream.table, day) for stream in streams for day in span]
        missing = [one for one in missing if not one.is_there(connection)]
        is_locked = any(one.has_rows_waiting(connection) for one in missing)
        if is_locked:
            # A partition is seen at once, whatever a snapshot says, and rows that moved only by later snapshots: who reads
            # already would find them nowhere. It is the lock of `shared.cold.manifest.snapshot`, and taken before those
            # of attaching, for which readers who have it may wait. Others wait behind us meanwhile, and sealing takes the
            # two the other way round: so we give up soon, before PostgreSQL looks for a deadlock.
            connection.execute(text("SET LOCAL lock_timeout = '400ms'"))
            connection.execute(text("LOCK TABLE cold_files IN ACCESS EXCLUSIVE MODE"))
        for one in missing:
            if one.make(connection) and not is_locked:
                raise DatabaseUnavailable("records came for a day while its partition was made")
    return [one.name for one in missing]


class _Partition(NamedTuple):
    """One day of a table."""

    table: str
    day: date

    @property
    def name(self) -> str:
        return f"{self.table}_{self.day:%Y%m%d}"

    @property
    def span(self) -> tuple[str, str]:
        """As SQL: its first moment, and the first after it."""
        return f"'{self.day} 00:00:00+00'", f"'{self.day + timedelta(days=1)} 00:00:00+00'"

    def is_there(self, connection: Connection) -> bool:
        found = connection.execute(text("SELECT to_regclass(:name)"), {"name": self.name}).scalar_one()
        return found is not None

    def has_rows_waiting(self, connection: Connection) -> bool:
        """Whether rows came before it did, because no consumer was running."""
        start, end = self.span
        query = f"SELECT EXISTS (SELECT FROM {self.table}_default WHERE time >= {start} AND time < {end})"  # noqa: S608
        return bool(connection.execute(text(query)).scalar_one())

    def make(self, connection: Connection) -> int:
        """Make it beside the table, move its rows along, and attach it, which blocks nobody who reads or writes other days.

        Rows that come in between fail it; so there is nothing in between. Returns how many moved.
        """
        start, end = self.span
        connection.execute(text(f"CREATE TABLE {self.name} (LIKE {self.table} INCLUDING ALL)"))
        move = f"""
            WITH moved AS (DELETE FROM {self.table}_default WHERE time >= {start} AND time < {end} RETURNING *)
            INSERT INTO {self.name} SELECT * FROM moved
        """  # noqa: S608
        moved = connection.execute(text(move)).rowcount
        attach = f"ALTER TABLE {self.table} ATTACH PARTITION {self.name} FOR VALUES FROM ({start}) TO ({end})"
        connection.execute(text(attach))
        return moved


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
