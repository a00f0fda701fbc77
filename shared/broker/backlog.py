"""How much waits for the broker and in its queue, and how fast it goes: how long a refused sender should stay away."""

import asyncio
import math
import time
from datetime import timedelta

import structlog

from shared.broker.channel import Channel
from shared.broker.connection import BrokerConnection
from shared.errors import WeirError

log = structlog.get_logger()

#: Seconds between two looks at the queue.
EVERY_SECONDS = 5.0
DEADLINE = timedelta(seconds=2)
#: A rate is the mean of about the last so many seconds.
MEMORY_SECONDS = 10.0


class Rate:
    """Things per second of late; the older, the less they count."""

    def __init__(self, now: float) -> None:
        self._began = self._last = now
        self._count = 0.0

    def add(self, count: int, now: float) -> None:
        self._count = self._faded(now) + count
        self._last = now

    def per_second(self, now: float) -> float:
        """Return the rate; 0 when nothing came."""
        seen = MEMORY_SECONDS * -math.expm1((self._began - now) / MEMORY_SECONDS)
        return self._faded(now) / seen if seen > 0 else 0.0

    def _faded(self, now: float) -> float:
        return self._count * math.exp((self._last - now) / MEMORY_SECONDS)


class Backlog:
    """What one process's publisher knows of its queue. `run` looks at it now and then, until cancelled."""

    def __init__(self, queue: str, connection: BrokerConnection) -> None:
        self._queue = queue
        self._connection = connection
        self._confirmed = Rate(time.monotonic())
        #: Messages of ours that the queue took since the last look.
        self._published = 0
        self._ready: int | None = None
        self._looked_at = 0.0
        #: Messages per second that left the queue, as far as this process can tell.
        self._leaving: float | None = None

    def confirmed(self, records: int) -> None:
        """Count a message of so many records that the broker has taken."""
        self._published += 1
        self._confirmed.add(records, time.monotonic())

    def until_confirmed(self, records: int) -> float | None:
        """Seconds until so many records that wait here are confirmed; None when nothing tells."""
        rate = self._confirmed.per_second(time.monotonic())
        return records / rate if rate > 0 else None

    def until_empty(self) -> float | None:
        """Seconds until the queue is empty at the speed it is going; None when nothing tells.

        Whoever stays away so long at most leaves the consumer no moment without work.
        """
        if not self._ready or self._leaving is None:
            return None
        return self._ready / self._leaving if self._leaving > 0 else math.inf

    def looked(self, ready: int, now: float) -> None:
        """Take in how many messages wait in the queue."""
        if self._ready is not None and now > self._looked_at:
            left = self._ready + self._published - ready
            of_late = max(left, 0) / (now - self._looked_at)
            self._leaving = of_late if self._leaving is None else (self._leaving + of_late) / 2
        self._ready, self._published, self._looked_at = ready, 0, now

    async def run(self) -> None:
        """Look at the queue again and again; a broker that is away is waited for."""

        async def look(channel: Channel) -> None:
            self.looked(await channel.ready_messages(self._queue), time.monotonic())

        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self._connection.check(look, DEADLINE)
            except WeirError as error:
                log.debug("the queue does not tell its length", queue=self._queue, reason=str(error))
