"""What is in hand: messages as they arrive, and the batch they make."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from consumer.deliveries import Delivery, Reader
from shared.broker.connection import Channel, Message


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries of one channel that are written together and acked together: a prefix of what is unacked on it."""

    channel: Channel
    deliveries: list[Delivery]

    @property
    def last_tag(self) -> int:
        return self.deliveries[-1].tag


@dataclass(slots=True)
class Intake:
    """What one channel has delivered and nobody has written yet; the channel's prefetch is its bound."""

    channel: Channel
    consumer_tag: str = ""
    waiting: deque[tuple[float, Message]] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliver(self, message: Message) -> None:
        """Take a message in. aiormq runs this as a task of the channel, so it does nothing else."""
        self.waiting.append((asyncio.get_running_loop().time(), message))
        self.arrived.set()

    async def gather(self, reader: Reader, limit: int, wait: timedelta) -> Batch | None:
        """Return the next batch once it is full or due, or None when the channel delivers no more.

        Full: `limit` records or more. Due: its first message has been here for `wait`.
        """
        deliveries: list[Delivery] = []
        records = 0
        due: float | None = None
        loop = asyncio.get_running_loop()
        while records < limit:
            if self.waiting:
                arrival, message = self.waiting.popleft()
                due = due or arrival + wait.total_seconds()
                deliveries.append(reader.read(message))
                records += max(deliveries[-1].records, 1)
                continue
            if self.ended or (due is not None and loop.time() >= due):
                break
            self.arrived.clear()
            try:
                async with asyncio.timeout_at(due):
                    await self.arrived.wait()
            except TimeoutError:
                break
        return Batch(self.channel, deliveries) if deliveries else None

    @property
    def ended(self) -> bool:
        """Whether the broker will deliver nothing more here."""
        return self.channel.is_closed or self.consumer_tag not in self.channel.consumers

    def wake(self, *_: object) -> None:
        """Let `gather` look whether the end has come."""
        self.arrived.set()
