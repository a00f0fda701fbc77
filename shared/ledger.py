"""The ledger: per stream, minute and series, what was accepted and what became of it.

accepted = stored + duplicate + dead + in flight. A minute is the one in which the message was made. How many were
accepted is told twice over: by the API, which writes down how far each of its series has come, and by every message,
which says the same. The larger counts, so neither order nor repetition nor the death of one of them changes it.
"""

import asyncio
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, text

from shared.broker.messages import Group
from shared.database import LOOKUP_DEADLINE, DatabaseThreads, translated, within
from shared.errors import WeirError

log = structlog.get_logger()

#: Stands for the series of messages that have none: other producers'. They count as accepted when they are settled.
NO_SERIES = UUID(int=0)

#: Adds to one series of a minute: `added` and what was settled on top, `reached` as the least that was accepted.
#: Always the last statements of a transaction, but for ADD_STORED, in the order of minute and series: row locks are shared
#: by all writers.
ADD = """
    INSERT INTO ledger AS l (stream, minute, series, accepted, stored, duplicate, dead)
    VALUES (%(stream)s, to_timestamp(%(minute)s * 60), %(series)s, greatest(%(added)s, %(reached)s),
            %(stored)s, %(duplicate)s, %(dead)s)
    ON CONFLICT (stream, minute, series) DO UPDATE SET
        accepted = greatest(l.accepted + %(added)s, %(reached)s),
        stored = l.stored + excluded.stored,
        duplicate = l.duplicate + excluded.duplicate,
        dead = l.dead + excluded.dead
"""

#: Adds to what was ever stored of a stream, which is the sum of its parts. After all of `ADD`, with which it has no lock in
#: common. Each writer has mostly a part of its own: those of one wait for one another's
#: commit.
ADD_STORED = """
    INSERT INTO ledger_stored AS s (stream, part, stored) VALUES (%(stream)s, %(part)s, %(stored)s)
    ON CONFLICT (stream, part) DO UPDATE SET stored = s.stored + excluded.stored
"""
STORED_PARTS = 64
_STORED = text("SELECT coalesce(sum(stored), 0)::bigint FROM ledger_stored WHERE stream = :stream")

_QUEUED = text("""
    SELECT coalesce(sum(accepted - stored - duplicate - dead), 0)::bigint FROM ledger
    WHERE stream = :stream AND accepted > stored + duplicate + dead
""")

#: Stream, minute (since 1970) and series.
_Place: TypeAlias = tuple[str, int, str]


def queued(connection: Connection, stream: str) -> int:
    """Return how many records of a stream were accepted and are not settled yet."""
    return int(connection.execute(_QUEUED, {"stream": stream}).scalar_one())


def stored(connection: Connection, stream: str) -> int:
    """Return how many records of a stream were ever stored: a number that changes with each batch and never comes again."""
    return int(connection.execute(_STORED, {"stream": stream}).scalar_one())


class Acceptances:
    """What this API process accepted, written to the ledger every second and whenever an answer depends on it."""

    def __init__(self, engine: Engine, threads: DatabaseThreads, every: timedelta = timedelta(seconds=1)) -> None:
        self._engine = engine
        self._threads = threads
        self._every = every.total_seconds()
        self._reached: dict[_Place, int] = {}
        self._writing = asyncio.Lock()

    def add(self, group: Group) -> None:
        """Count a group that the broker has confirmed."""
        assert group.series is not None
        self._reached[group.stream.name, group.minute, group.series] = group.reached

    async def flush(self) -> None:
        """Write down everything counted so far. Raises WeirError; then nothing is forgotten, and nothing counted twice."""
        async with within(LOOKUP_DEADLINE), self._writing:
            written = dict(self._reached)
            if written:
                await self._threads.run(self._write, written)
                self._reached = {place: n for place, n in self._reached.items() if n != written.get(place)}

    async def run(self) -> None:
        """Flush again and again, until cancelled; a database that is away is waited for."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.flush()
            except WeirError as error:
                log.warning("the ledger waits", reason=str(error))

    def _write(self, reached: dict[_Place, int]) -> None:
        nothing = {"added": 0, "stored": 0, "duplicate": 0, "dead": 0}
        with translated(), self._engine.begin() as connection:
            for (stream, minute, series), records in sorted(reached.items()):
                place = {"stream": stream, "minute": minute, "series": series}
                connection.exec_driver_sql(ADD, {**place, "reached": records, **nothing})
