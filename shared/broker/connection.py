"""A connection to the broker that comes back by itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta

import aiormq
import aiormq.abc
import structlog
from aiormq.exceptions import AMQPError, DeliveryError, PublishError
from yarl import URL

from shared.errors import BrokerUnavailable, Misconfigured, PublishRefused, WeirError

log = structlog.get_logger()

#: First wait before a new attempt to connect; it doubles up to the second, each with jitter.
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
CONNECT_DEADLINE = 5.0

Channel = aiormq.Channel
Message = aiormq.abc.DeliveredMessage


def translate(error: BaseException) -> WeirError:
    """Turn whatever the driver raises into one of our errors."""
    match error:
        case WeirError():
            return error
        case PublishError():
            return Misconfigured("the broker has no queue for this message")
        case DeliveryError():
            return PublishRefused("the queue is full")
        case aiormq.exceptions.ChannelNotFoundEntity() | aiormq.exceptions.ChannelPreconditionFailed():
            return Misconfigured(f"the broker's topology is not as designed: {error}")
        case aiormq.exceptions.AuthenticationError() | aiormq.exceptions.ChannelAccessRefused():
            return Misconfigured("the broker refuses our user or its permissions")
        case _:
            return BrokerUnavailable("the broker did not answer")


#: What aiormq lets through: AMQP's own errors, RuntimeError for a closed channel, the socket's.
_DRIVER_ERRORS = (AMQPError, RuntimeError, OSError, TimeoutError, EOFError)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours, whichever way they come. Every await of aiormq stands in one of these."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # aiormq cancels whatever waits on a channel that it closes; nobody has cancelled us.
        raise BrokerUnavailable("the channel was closed") from None
    except _DRIVER_ERRORS as error:
        raise translate(error) from error


class BrokerConnection:
    """Keeps one connection with one channel open; `run` does the work and never returns by itself.

    `on_channel` prepares each new channel: topology, prefetch, consuming. Publisher and consumer each have a
    connection of their own, because an alarm stops the broker from reading a connection that publishes.
    """

    def __init__(self, url: str, heartbeat: timedelta, on_channel: Callable[[Channel], Awaitable[None]]) -> None:
        self._url = URL(url).update_query(heartbeat=int(heartbeat.total_seconds()))
        self._on_channel = on_channel
        self._connection: aiormq.Connection | None = None
        self._channel: Channel | None = None
        self._opened = asyncio.Event()
        self._given_up = asyncio.Event()
        self.fault: WeirError | None = BrokerUnavailable("not connected yet")

    async def run(self) -> None:
        """Connect, wait until the channel is lost, connect again; until cancelled."""
        wait = FIRST_WAIT
        while True:
            try:
                async with self._open() as channel:
                    wait = FIRST_WAIT
                    self.fault = await self._lost(channel)
            except WeirError as error:
                self.fault = error
            log.warning("broker connection lost", reason=str(self.fault), retry_seconds=round(wait, 1))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)

    async def channel(self) -> Channel:
        """Wait for an open channel. The caller sets the deadline."""
        while True:
            await self._opened.wait()
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            self._opened.clear()  # `run` has not noticed yet

    def reset(self) -> None:
        """Give the connection up, so that `run` makes a new one and everything on it anew."""
        self._opened.clear()
        self._given_up.set()

    async def blocked(self) -> bool:
        """Whether the broker has stopped reading from us: an alarm over memory or disk."""
        if self._connection is None:
            return False
        try:
            async with asyncio.timeout(0.05):
                await self._connection.ready()
        except TimeoutError:
            return True
        return False

    async def check(self, inspect: Callable[[Channel], Awaitable[None]], deadline: timedelta) -> None:
        """Run `inspect` on a channel of its own, whose loss harms nothing. Raises WeirError."""
        if self._connection is None or self._connection.is_closed:
            raise self.fault or BrokerUnavailable("not connected")
        if await self.blocked():
            raise PublishRefused("the broker is blocked by an alarm over its memory or disk")
        with translated():
            async with asyncio.timeout(deadline.total_seconds()):
                channel = await self._new_channel()
                await inspect(channel)
                await channel.close()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Channel]:
        self._given_up.clear()
        with translated():
            async with asyncio.timeout(CONNECT_DEADLINE):
                self._connection = aiormq.Connection(self._url)
                await self._connection.connect()
        try:
            with translated():
                async with asyncio.timeout(CONNECT_DEADLINE):
                    channel = await self._new_channel()
                    await self._on_channel(channel)
            self._channel, self.fault = channel, None
            self._opened.set()
            log.info("broker connected")
            yield channel
        finally:
            self._opened.clear()
            self._channel = None
            with suppress(WeirError), translated():
                async with asyncio.timeout(CONNECT_DEADLINE):
                    await self._connection.close()

    async def _new_channel(self) -> Channel:
        assert self._connection is not None
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        assert isinstance(channel, Channel)
        return channel

    async def _lost(self, channel: Channel) -> WeirError:
        """Return why, once the channel is closed, whoever closed it, or given up."""
        closing = asyncio.ensure_future(channel.closing)
        given_up = asyncio.ensure_future(self._given_up.wait())
        try:
            await asyncio.wait({closing, given_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            given_up.cancel()
        reason = closing.exception() if closing.done() and not closing.cancelled() else None
        return BrokerUnavailable(f"the connection to the broker was lost ({reason or 'no reason given'})")
