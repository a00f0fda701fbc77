"""What is in hand: messages as they arrive, and the batch they make."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from consumer.deliveries import Delivery, Reader
from shared.broker.channel import Channel, Message


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries of one channel that are written together and acked together: a prefix of what is unacked on it."""

    channel: Channel
    deliveries: list[Delivery]
    size_bytes: int

    @property
    def last_tag(self) -> int:
        return self.deliveries[-1].tag


@dataclass(slots=True)
class Intake:
    """What one channel has delivered and nobody has written yet.

    Its bounds are the channel's prefetch and `limit_bytes`: over the second nothing more is read from the broker until
    half of it is written.
    """

    channel: Channel
    limit_bytes: int
    size_bytes: int = 0
    waiting: deque[tuple[float, Message]] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def deliver(self, message: Message) -> None:
        """Take a message in. The connection reads nothing more meanwhile, so this does nothing else."""
        self.waiting.append((asyncio.get_running_loop().time(), message))
        self.arrived.set()
        self.size_bytes += len(message.body)
        if self.size_bytes > self.limit_bytes:
            self.channel.line.pause_reading()

    async def gather(self, reader: Reader, limit: int, wait: timedelta) -> Batch | None:
        """Return the next batch once it is full or due, or None when the channel delivers no more.

        Full: `limit` records or more. Due: its first message has been here for `wait`.
        """
        deliveries: list[Delivery] = []
        records = size_bytes = 0
        due: float | None = None
        loop = asyncio.get_running_loop()
        while records < limit:
            if self.waiting:
                arrival, message = self.waiting.popleft()
                due = due or arrival + wait.total_seconds()
                deliveries.append(reader.read(message))
                records += max(deliveries[-1].records, 1)
                size_bytes += len(message.body)
                continue
            if self.ended or (due is not None and loop.time() >= due):
                break
            self.arrived.clear()
            try:
                async with asyncio.timeout_at(due):
                    await self.arrived.wait()
            except TimeoutError:
                break
        return Batch(self.channel, deliveries, size_bytes) if deliveries else None

    def settled(self, batch: Batch) -> None:
        """Ack a batch that is written; its memory is free for what comes next."""
        self.channel.ack(batch.last_tag, multiple=True)  # were it lost, a redelivery would find its receipt
        self.size_bytes -= batch.size_bytes
        if self.size_bytes <= self.limit_bytes // 2:
            self.channel.line.resume_reading()

    async def cancel(self) -> None:
        """Have nothing more delivered. The answer comes after all that is on its way, so that is let in."""
        self.channel.line.resume_reading()
        await self.channel.cancel()

    @property
    def ended(self) -> bool:
        """Whether the broker will deliver nothing more here."""
        return not self.channel.is_consuming

    def wake(self, *_: object) -> None:
        """Let `gather` look whether the end has come."""
        self.arrived.set()
