"""Makes each day's partition ahead of its day; what fits no day goes to the default partition."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, Engine, text
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from shared.database import DatabaseThreads, translated
from shared.errors import DatabaseUnavailable, WeirError
from shared.streams import Stream

log = structlog.get_logger()

#: Held while partitions are made, so that consumers that start together do not make the same one.
LOCK = 0x57454950

EVERY = timedelta(hours=1)
RETRY = timedelta(seconds=5)
#: Longest wait for a lock of attaching: so long at most readers and writers queue behind us, who queue behind a reader.
PATIENCE = timedelta(milliseconds=100)
#: A partition is tried for so long before the next round.
TRIED_FOR = timedelta(seconds=5)
#: Measured on our side, because a frozen database ends nothing. What takes longer goes on, and is looked for again.
DEADLINE = timedelta(minutes=2)


def ensure(engine: Engine, streams: Iterable[Stream], ahead: int) -> list[str]:
    """Make the partitions from yesterday to `ahead` days from now that are missing, today's first; return their names.

    Each is made in a transaction of its own, which waits for a lock for 100 ms at most: whoever reads or writes queues
    behind it meanwhile. It is tried again with growing, random pauses, for some seconds.

    Raises:
        WeirError: one of them is still missing; those before it are there. Call it again.
    """
    today = datetime.now(UTC).date()
    span = sorted((today + timedelta(days=number) for number in range(-1, ahead + 1)), key=lambda day: abs(day - today))
    with translated(), engine.connect() as connection:
        days = [_Partition(stream.table, day) for day in span for stream in streams]
        missing = [one for one in days if not one.is_there(connection)]
    made = [one.name for one in missing if _attempt_to_make(engine, one)]
    return sorted(made)


@retry(
    retry=retry_if_exception_type(DatabaseUnavailable),
    stop=stop_after_delay(TRIED_FOR),
    wait=wait_random_exponential(multiplier=0.05, max=1),
    reraise=True,
)
def _attempt_to_make(engine: Engine, partition: "_Partition") -> bool:
    """Make a partition, unless another consumer has; whether it was made. Raises WeirError."""
    with translated(), engine.begin() as connection:
        # Nobody waits behind this lock but consumers that start together.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        if partition.is_there(connection):
            return False
        connection.execute(text(f"SET LOCAL lock_timeout = {PATIENCE // timedelta(milliseconds=1)}"))
        has_rows = partition.has_rows_waiting(connection)
        if has_rows:
            # A partition is seen at once, whatever a snapshot says, and rows that moved only by later snapshots: who reads
            # already would find them nowhere. It is the lock of `shared.cold.manifest.snapshot`, and taken before those
            # of attaching, for which readers who have it may wait.
            connection.execute(text("LOCK TABLE cold_files IN ACCESS EXCLUSIVE MODE"))
        if partition.make(connection) and not has_rows:
            raise DatabaseUnavailable("records came for a day while its partition was made")
        return True


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
        """Make it beside the table, move its rows along, and attach it. Returns how many moved.

        Attaching locks the default partition against everybody, and looks through it for rows of this day; those of other
        days should be few there. It does not look through the new partition, whose CHECK says what is in it. The default
        partition gets no such CHECK: it would make good rows dead letters until the partition is attached.
        """
        start, end = self.span
        connection.execute(text(f"CREATE TABLE {self.name} (LIKE {self.table} INCLUDING ALL)"))
        inside = f"time >= {start} AND time < {end}"
        connection.execute(text(f"ALTER TABLE {self.name} ADD CONSTRAINT inside CHECK ({inside})"))
        move = f"""
            WITH moved AS (DELETE FROM {self.table}_default WHERE {inside} RETURNING *)
            INSERT INTO {self.name} SELECT * FROM moved
        """  # noqa: S608
        moved = connection.execute(text(move)).rowcount
        attach = f"ALTER TABLE {self.table} ATTACH PARTITION {self.name} FOR VALUES FROM ({start}) TO ({end})"
        connection.execute(text(attach))
        connection.execute(text(f"ALTER TABLE {self.name} DROP CONSTRAINT inside"))  # the bounds say so from now on
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
