"""Messages as they arrive on one channel, within a bound of bytes."""

from collections.abc import Callable

from shared.broker.channel import Channel
from shared.broker.content import Message


class Intake:
    """Hands on what one channel delivers.

    Its bounds are the channel's prefetch and `limit_bytes`: over the second nothing more is read from the broker until
    half of it is settled.
    """

    def __init__(self, channel: Channel, limit_bytes: int, deliver: Callable[[Message], None]) -> None:
        self.channel = channel
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._deliver = deliver
        self._is_cancelling = self._is_dropping = False

    def deliver(self, message: Message) -> None:
        """Take a message in. The connection reads nothing else meanwhile."""
        if self._is_dropping:
            return
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
        await self.channel.cancel()
