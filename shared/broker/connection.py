"""A connection to the broker that comes back by itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
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
        case aiormq.exceptions.ChannelPreconditionFailed():
            return Misconfigured(f"the broker's topology is not as designed: {error}")
        case aiormq.exceptions.AuthenticationError() | aiormq.exceptions.ChannelAccessRefused():
            return Misconfigured("the broker refuses our user or its permissions")
        case _:
            return BrokerUnavailable("the broker did not answer")


#: What aiormq lets through: AMQP's own errors, RuntimeError for a closed channel, the socket's.
DRIVER_ERRORS = (AMQPError, RuntimeError, OSError, TimeoutError, EOFError)


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
        self.fault: WeirError | None = BrokerUnavailable("not connected yet")

    async def run(self) -> None:
        """Connect, wait until the channel is lost, connect again; until cancelled."""
        wait = FIRST_WAIT
        while True:
            try:
                async with self._open():
                    wait = FIRST_WAIT
                    await self._lost()
                    self.fault = BrokerUnavailable("the connection to the broker was lost")
            except (*DRIVER_ERRORS, WeirError) as error:
                self.fault = translate(error)
            log.warning("broker connection lost", reason=str(self.fault), retry_seconds=round(wait, 1))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)

    async def channel(self) -> Channel:
        """Wait for an open channel. The caller sets the deadline."""
        while True:
            await self._opened.wait()
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            self._opened.clear()

    async def reset(self) -> None:
        """Drop the connection, so that `run` makes a new one."""
        if self._connection is not None:
            with suppress(*DRIVER_ERRORS):
                await self._connection.close()

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
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                channel = await self._new_channel()
                await inspect(channel)
                await channel.close()
        except DRIVER_ERRORS as error:
            raise translate(error) from error

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with asyncio.timeout(CONNECT_DEADLINE):
            self._connection = aiormq.Connection(self._url)
            await self._connection.connect()
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                channel = await self._new_channel()
                await self._on_channel(channel)
            self._channel, self.fault = channel, None
            self._opened.set()
            log.info("broker connected")
            yield
        finally:
            self._opened.clear()
            self._channel = None
            with suppress(*DRIVER_ERRORS):
                async with asyncio.timeout(CONNECT_DEADLINE):
                    await self._connection.close()

    async def _new_channel(self) -> Channel:
        assert self._connection is not None
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        assert isinstance(channel, Channel)
        return channel

    async def _lost(self) -> None:
        """Return when the channel or its connection is closed, whoever closed it."""
        assert self._channel is not None
        await asyncio.wait({asyncio.ensure_future(self._channel.closing)})
