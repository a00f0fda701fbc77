"""Which body came under which Idempotency-Key, so that another one under the same key is refused."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import Engine, text

from api.errors import KeyReused
from shared.database import DatabaseThreads, translated
from shared.errors import WeirError

log = structlog.get_logger()

#: Longest that a keyed submission waits to be told what is stored; the consumer looks again.
DEADLINE = timedelta(seconds=0.5)
#: After a lookup that failed none is tried for so long.
PAUSE_SECONDS = 1.0

_FIND = text("SELECT id, digest FROM receipts WHERE id = ANY(:ids) AND digest IS NOT NULL")


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Receipts that are asked for together, and what was found of them."""

    receipts: list[UUID]
    found: asyncio.Future[dict[UUID, bytes]]


class Keys:
    """Knows what the last so many keys were used for: remembered here, or looked up in what is stored.

    Lookups that wait at the same time are one query. A database that is away is not waited for: then only what is
    remembered counts, and another body that comes through is dead-lettered by the consumer.
    """

    def __init__(self, engine: Engine, threads: DatabaseThreads, limit: int) -> None:
        self._engine = engine
        self._threads = threads
        self._limit = limit
        self._used: dict[UUID, bytes] = {}
        self._next: _Lookup | None = None
        self._asking = asyncio.Lock()
        self._paused_until = 0.0

    async def claim(self, receipt: UUID, digest: bytes) -> None:
        """Use a key, known by the receipt that follows from it, for a body. Raises KeyReused."""
        used = self._used.get(receipt)
        if used is None:
            stored = await self._stored(receipt)
            used = self._used.setdefault(receipt, stored or digest)  # another may have been quicker meanwhile
            if len(self._used) > self._limit:
                del self._used[next(iter(self._used))]
        if used != digest:
            raise KeyReused("this Idempotency-Key was used for another body")

    async def _stored(self, receipt: UUID) -> bytes | None:
        lookup = self._next
        if lookup is not None:
            lookup.receipts.append(receipt)
            return (await asyncio.shield(lookup.found)).get(receipt)
        self._next = lookup = _Lookup([receipt], asyncio.get_running_loop().create_future())
        found: dict[UUID, bytes] = {}
        try:
            async with self._asking:  # meanwhile others join
                self._next = None
                found = await self._ask(lookup.receipts)
        finally:
            if self._next is lookup:
                self._next = None
            lookup.found.set_result(found)
        return found.get(receipt)

    async def _ask(self, receipts: list[UUID]) -> dict[UUID, bytes]:
        if time.monotonic() < self._paused_until:
            return {}
        try:
            return await self._threads.run(self._query, receipts, deadline=DEADLINE)
        except WeirError as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("keys are not looked up", reason=str(error))
            return {}

    def _query(self, receipts: list[UUID]) -> dict[UUID, bytes]:
        with translated(), self._engine.connect() as connection:
            # One question needs no transaction, which would be two more ways to the server and back.
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")  # noqa: PLW2901
            return {row.id: bytes(row.digest) for row in connection.execute(_FIND, {"ids": receipts})}
