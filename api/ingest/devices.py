"""Which devices there are, remembered: a known device costs no query."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine, select

from shared.database import LOOKUP_DEADLINE, DatabaseThreads, Device, translated, within
from shared.errors import DatabaseUnavailable

#: Queries for devices at one time, and how many requests may wait for one: a storm of unknown ids stops here.
LOOKUPS, WAITING = 4, 1_000
#: Of the ids that may be remembered, one in so many may be one that nobody has.
STRANGERS = 10


#: A device's key and when that is forgotten, by id and by the id's text. Ordered, because a plain dictionary takes ever
#: longer to find its first entry once many were taken from its front.
Remembered = OrderedDict[UUID | str, tuple[int, float]]


class Devices:
    """Remembers devices' keys, and ids that nobody has. Both expire, both count against one limit."""

    def __init__(
        self, engine: Engine, threads: DatabaseThreads, memory: timedelta, unknown_memory: timedelta, limit: int
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._memory = memory.total_seconds()
        self._unknown_memory = unknown_memory.total_seconds()
        self._limit = limit
        self._known: Remembered = OrderedDict()
        #: Apart from the others, and fewer: however many strangers come, nobody known is forgotten for them.
        self._unknown: Remembered = OrderedDict()
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._waiting = 0

    def remembered(self, device_id: UUID | str) -> int | None:
        """Return the device's key, 0 when there is no such device, None when a query must tell."""
        found = self._known.get(device_id) or self._unknown.get(device_id)
        if found is None or found[1] < time.monotonic():
            return None
        return found[0]

    async def key(self, device_id: UUID) -> int:
        """Return the device's key, or 0. Raises DatabaseUnavailable."""
        return (await self.keys((device_id,)))[device_id]

    async def keys(self, device_ids: Iterable[UUID]) -> dict[UUID, int]:
        """Return each device's key, 0 for those that do not exist; at most one query. Raises DatabaseUnavailable."""
        known = {device_id: self.remembered(device_id) for device_id in device_ids}
        missing = [device_id for device_id, key in known.items() if key is None]
        found: dict[UUID, int] = {}
        if missing:
            found = await self._look_up(missing)
        return {device_id: found.get(device_id, 0) if key is None else key for device_id, key in known.items()}

    def remember(self, device_id: UUID, key: int) -> None:
        """Remember a device under its id, and under the id's usual text so that the lane need not parse it."""
        memory, expires, most = self._known, time.monotonic() + self._memory, 2 * self._limit
        if not key:
            memory, expires, most = self._unknown, time.monotonic() + self._unknown_memory, 2 * self._limit // STRANGERS
        for name in (device_id, str(device_id)):
            self._unknown.pop(name, None)
            memory.pop(name, None)
            memory[name] = (key, expires)
        while len(memory) > most:
            memory.popitem(last=False)

    async def _look_up(self, device_ids: list[UUID]) -> dict[UUID, int]:
        if self._waiting >= WAITING:
            raise DatabaseUnavailable("too many devices are being looked up already")
        self._waiting += 1
        try:
            async with within(LOOKUP_DEADLINE), self._lookups:
                # Whoever waited for another's query of the same device finds its answer here.
                known = {device_id: self.remembered(device_id) for device_id in device_ids}
                missing = [device_id for device_id, key in known.items() if key is None]
                found = await self._threads.run(self._query, missing) if missing else {}
                for device_id in missing:
                    self.remember(device_id, found.get(device_id, 0))
        finally:
            self._waiting -= 1
        return {device_id: found.get(device_id, 0) if key is None else key for device_id, key in known.items()}

    def _query(self, device_ids: list[UUID]) -> dict[UUID, int]:
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(select(Device.id, Device.key).where(Device.id.in_(device_ids)))
            return {row.id: row.key for row in rows}
