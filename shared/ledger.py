"""The ledger: per stream and minute, what was accepted and what became of it.

accepted = stored + duplicate + dead + in flight. The API adds what it accepted; the consumer adds the rest in the
transaction that writes the rows. A minute is the one in which the message was made.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Connection, Engine, text

from shared.broker.messages import Group
from shared.database import LOOKUP_DEADLINE, DatabaseThreads, translated, within
from shared.errors import WeirError

log = structlog.get_logger()

#: Adds to one minute of a stream. Always the last statement of a transaction: its row lock is shared by all writers.
ADD = """
    INSERT INTO ledger AS l (stream, minute, accepted, stored, duplicate, dead)
    VALUES (%(stream)s, to_timestamp(%(minute)s * 60), %(accepted)s, %(stored)s, %(duplicate)s, %(dead)s)
    ON CONFLICT (stream, minute) DO UPDATE SET
        accepted = l.accepted + excluded.accepted,
        stored = l.stored + excluded.stored,
        duplicate = l.duplicate + excluded.duplicate,
        dead = l.dead + excluded.dead
"""

_QUEUED = text("""
    SELECT coalesce(sum(accepted - stored - duplicate - dead), 0)::bigint FROM ledger
    WHERE stream = :stream AND accepted > stored + duplicate + dead
""")


def queued(connection: Connection, stream: str) -> int:
    """Return how many records of a stream were accepted and are not settled yet.

    Counted minute by minute: what an API that was killed had not written down yet cannot make another minute wrong.
    """
    return int(connection.execute(_QUEUED, {"stream": stream}).scalar_one())


#: Says whether a flush is new. Its id is kept for longer than a commit's outcome may stay unknown.
_FLUSH = text("INSERT INTO acceptance_flushes (id) VALUES (:id) ON CONFLICT DO NOTHING RETURNING id")
_FORGET = text("""
    DELETE FROM acceptance_flushes WHERE id IN (
        SELECT id FROM acceptance_flushes WHERE at < now() - interval '1 hour' FOR UPDATE SKIP LOCKED
    )
""")


@dataclass(frozen=True)
class _Flush:
    """Counts that are added once, however often they are sent."""

    counts: Counter[tuple[str, int]]
    id: UUID = field(default_factory=uuid4)


class Acceptances:
    """What this API process accepted, written to the ledger every second and whenever an answer depends on it."""

    def __init__(self, engine: Engine, threads: DatabaseThreads, every: timedelta = timedelta(seconds=1)) -> None:
        self._engine = engine
        self._threads = threads
        self._every = every.total_seconds()
        self._counts: Counter[tuple[str, int]] = Counter()
        self._unsettled: _Flush | None = None
        self._writing = asyncio.Lock()

    def add(self, group: Group) -> None:
        """Count a group that the broker has confirmed."""
        self._counts[group.stream.name, group.minute] += group.records

    async def flush(self) -> None:
        """Write down everything counted so far. Raises WeirError; then nothing is forgotten, and nothing counted twice."""
        async with within(LOOKUP_DEADLINE), self._writing:
            await self._settle()
            if self._counts:
                self._unsettled, self._counts = _Flush(self._counts), Counter()
                await self._settle()

    async def run(self) -> None:
        """Flush again and again, until cancelled; a database that is away is waited for."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.flush()
            except WeirError as error:
                log.warning("the ledger waits", reason=str(error))

    async def _settle(self) -> None:
        if self._unsettled is not None:
            await self._threads.run(self._write, self._unsettled)
            self._unsettled = None

    def _write(self, flush: _Flush) -> None:
        with translated(), self._engine.begin() as connection:
            if connection.execute(_FLUSH, {"id": flush.id}).first() is None:
                return  # an earlier attempt was committed after all
            connection.execute(_FORGET)
            for (stream, minute), accepted in sorted(flush.counts.items()):
                connection.exec_driver_sql(
                    ADD,
                    {"stream": stream, "minute": minute, "accepted": accepted, "stored": 0, "duplicate": 0, "dead": 0},
                )
