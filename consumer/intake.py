"""Messages as they arrive on one channel, within a bound of bytes and, after a death, of few messages."""

import asyncio
from collections.abc import Callable

import structlog

from shared.broker.channel import Channel
from shared.broker.content import Message
from shared.errors import BrokerUnavailable, WeirError

log = structlog.get_logger()

#: How often a quorum queue has handed a message out in vain.
_DELIVERY_COUNT = "x-delivery-count"

#: Messages ahead of their acks until one comes that nobody had in hand before: what the broker delivers again comes
#: first, and should it be our death once more, so many have died with it and not as many as a backlog needs.
CAUTIOUS = 100


def deaths(message: Message) -> int:
    """How often the broker has delivered a message to somebody who is gone."""
    count = (message.properties.headers or {}).get(_DELIVERY_COUNT, 0)
    return count if isinstance(count, int) else 0


class Intake:
    """Hands on what one channel delivers.

    Its bounds are the prefetch and `limit_bytes`: over the second nothing more is read from the broker until half of it
    is settled.
    """

    def __init__(self, channel: Channel, prefetch: int, limit_bytes: int, deliver: Callable[[Message], None]) -> None:
        self.channel = channel
        self._prefetch = prefetch
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._deliver = deliver
        self._is_cancelling = self._is_dropping = False
        self._queue = ""
        self._widening: asyncio.Task[None] | None = None

    async def open(self, queue: str) -> None:
        """Have the queue's messages delivered: few at a time, until it is clear that they do no harm."""
        self._queue = queue
        await self.channel.consume(queue, min(CAUTIOUS, self._prefetch), self.deliver)

    def deliver(self, message: Message) -> None:
        """Take a message in. The connection reads nothing else meanwhile."""
        if self._is_dropping:
            return
        if self._widening is None and self._prefetch > CAUTIOUS and not self._is_cancelling and not deaths(message):
            self._widening = asyncio.create_task(self._widen())
        self._deliver(message)
        self._size_bytes += len(message.body)
        if self._size_bytes > self._limit_bytes and self._is_cancelling:
            self._is_dropping = True
        elif self._size_bytes > self._limit_bytes:
            self.channel.line.pause_reading()

    def settle(self, last_tag: int, size_bytes: int) -> None:
        """Ack everything up to a tag, so many bytes; their memory is free for what comes next."""
        self.channel.ack(last_tag, multiple=True)  # were it lost, a redelivery would find its receipt
        self._size_bytes -= size_bytes
        if self._size_bytes <= self._limit_bytes // 2:
            self.channel.line.resume_reading()

    async def cancel(self) -> None:
        """Have nothing more delivered. The answer comes after all that is on its way: that is read, but over the bound
        it is dropped, unacked, and so delivered again.
        """
        self._is_cancelling = True
        self.channel.line.resume_reading()
        if self._widening is not None:
            await self._widening
        await self.channel.cancel()

    async def _widen(self) -> None:
        try:
            await self.channel.consume(self._queue, self._prefetch - CAUTIOUS, self.deliver)
        except WeirError:
            pass  # the channel is lost, which whoever waits for it is told
        except Exception:
            log.exception("no more messages can be asked for", queue=self._queue)
            self.channel.lose(BrokerUnavailable("it is not known what this channel delivers"))
