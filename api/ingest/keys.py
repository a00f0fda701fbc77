"""Which body came under which Idempotency-Key, so that another one under the same key is refused."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine

from api.errors import KeyReused
from shared.database import DatabaseThreads, translated
from shared.errors import DatabaseUnavailable, WeirError

log = structlog.get_logger()

#: Longest that a lookup takes. A keyed submission waits for two at most: one that was on its way, and its own. The
#: consumer looks again.
DEADLINE = timedelta(seconds=0.5)
#: After a lookup that failed none is tried for so long.
PAUSE_SECONDS = 1.0

#: The same connection is asked for so long: after a failover an old one leads to what is now a standby.
CONNECTION_SECONDS = 60.0

_PREPARE = """
    PREPARE find (uuid[]) AS SELECT id::text, digest FROM receipts WHERE id = ANY($1) AND digest IS NOT NULL
"""
_FIND = "EXECUTE find (%s)"

#: A receipt that is asked for, and whoever waits to be told the digest of what is stored under it.
Waiting = tuple[UUID, asyncio.Future[bytes | None]]


@dataclass(frozen=True, slots=True)
class _Connection:
    driver: Any
    opened: float


class Keys:
    """Knows what the last so many keys were used for: remembered here, or looked up in what is stored.

    Lookups that wait at the same time are one query. A database that is away is not waited for: then only what is
    remembered counts, and another body that comes through is dead-lettered by the consumer. A key it has never heard
    of is then bound to a guess, the body that came first here, and is looked up at its next use.
    """

    def __init__(self, engine: Engine, threads: DatabaseThreads, limit: int) -> None:
        self._engine = engine
        self._threads = threads
        self._limit = limit
        self._used: OrderedDict[UUID, bytes] = OrderedDict()
        #: Those of the used keys whose lookup failed.
        self._guessed: set[UUID] = set()
        self._next: list[Waiting] = []
        self._asking: asyncio.Task[None] | None = None
        self._paused_until = 0.0
        self._connection: _Connection | None = None

    async def claim(self, receipt: UUID, digest: bytes) -> None:
        """Use a key, known by the receipt that follows from it, for a body. Raises KeyReused."""
        used = self._used.get(receipt)
        if used is None or receipt in self._guessed:
            used = await self._looked_up(receipt, digest)
        if used != digest:
            raise KeyReused("this Idempotency-Key was used for another body")

    async def _looked_up(self, receipt: UUID, digest: bytes) -> bytes:
        """Return what a key was used for, and remember it: what is stored, else what came first."""
        try:
            stored = await self._stored(receipt)
        except WeirError:
            if receipt not in self._used:  # another may have been quicker meanwhile
                self._guessed.add(receipt)
        else:
            self._guessed.discard(receipt)
            if stored is not None:
                self._used[receipt] = stored
        used = self._used.setdefault(receipt, digest)
        if len(self._used) > self._limit:
            self._guessed.discard(self._used.popitem(last=False)[0])
        return used

    async def _stored(self, receipt: UUID) -> bytes | None:
        """Look a key up, together with whatever waits for that as well. Raises WeirError."""
        told: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._next.append((receipt, told))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return await told

    async def _ask_all(self) -> None:
        """Ask for what waits until nothing does; meanwhile others join the next question."""
        try:
            while self._next:
                waiting, self._next = self._next, []
                await self._answer(waiting)
        finally:
            self._asking = None

    async def _answer(self, waiting: list[Waiting]) -> None:
        """Tell those who wait what is stored, or why nobody knows."""
        try:
            _tell(waiting, await self._ask([receipt for receipt, _ in waiting]))
        except asyncio.CancelledError:
            for _, told in [*waiting, *self._next]:
                told.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours, too, is for whoever waits
            for _, told in waiting:
                if not told.done():
                    told.set_exception(error)

    async def _ask(self, receipts: list[UUID]) -> dict[UUID, bytes]:
        if time.monotonic() < self._paused_until:
            raise DatabaseUnavailable("the database did not answer a moment ago")
        try:
            return await self._threads.run(self._query, receipts, deadline=DEADLINE)
        except WeirError as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("keys are not looked up", reason=str(error))
            raise

    def _query(self, receipts: list[UUID]) -> dict[UUID, bytes]:
        """Ask the driver itself, over a connection kept for this: the pool's care costs as much as the question."""
        kept, self._connection = self._connection, None
        if kept is not None and time.monotonic() - kept.opened < CONNECTION_SECONDS:
            with suppress(DatabaseUnavailable):  # it may have broken while nobody used it
                return self._find(kept, receipts)
        elif kept is not None:
            kept.driver.close()
        with translated():
            fresh = _connect(self._engine)
        return self._find(fresh, receipts)

    def _find(self, connection: _Connection, receipts: list[UUID]) -> dict[UUID, bytes]:
        with translated(), connection.driver.cursor() as cursor:
            cursor.execute(_FIND, ("{" + ",".join(map(str, receipts)) + "}",))
            found = {UUID(receipt): bytes(digest) for receipt, digest in cursor.fetchall()}
        self._connection = connection  # only now: one that failed, or hangs, is not asked again
        return found


def _tell(waiting: list[Waiting], found: Mapping[UUID, bytes]) -> None:
    for receipt, told in waiting:
        if not told.done():  # its sender may have gone away
            told.set_result(found.get(receipt))


def _connect(engine: Engine) -> _Connection:
    """Take a connection out of the pool for good. One question needs no transaction."""
    pooled = engine.raw_connection()
    driver: Any = pooled.driver_connection
    pooled.detach()
    driver.rollback()
    driver.autocommit = True
    with driver.cursor() as cursor:
        cursor.execute(_PREPARE)
    return _Connection(driver, time.monotonic())
