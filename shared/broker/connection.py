"""A connection to the broker that comes back by itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import structlog

from shared.broker.amqp import Connection
from shared.broker.channel import Channel
from shared.errors import BrokerUnavailable, Misconfigured, PublishRefused, WeirError

log = structlog.get_logger()

#: First wait before a new attempt to connect; it doubles up to the second, each with jitter.
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
DEADLINE = timedelta(seconds=5)


@asynccontextmanager
async def within(deadline: timedelta) -> AsyncIterator[None]:
    """End the body when it takes longer. Raises BrokerUnavailable."""
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            yield
    except TimeoutError as error:
        raise BrokerUnavailable("the broker did not answer in time") from error


class BrokerConnection:
    """Keeps one connection with one channel open; `run` does the work and never returns by itself.

    `on_channel` prepares each new channel: topology, consuming. Publisher and consumer each have a connection of their
    own, because an alarm stops the broker from reading a connection that publishes.
    """

    def __init__(self, url: str, heartbeat: timedelta, on_channel: Callable[[Channel], Awaitable[None]]) -> None:
        self._url = url
        self._heartbeat = heartbeat
        self._on_channel = on_channel
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._opened = asyncio.Event()
        self._given_up = asyncio.Event()
        self.fault: WeirError | None = BrokerUnavailable("not connected yet")

    @property
    def blocked(self) -> bool:
        """Whether the broker has stopped reading from us: an alarm over memory or disk."""
        return self._connection is not None and self._connection.blocked

    @property
    def frame_bytes(self) -> int:
        """Largest frame that was agreed upon with the broker; 0 while there is no connection."""
        return 0 if self._connection is None else self._connection.frame_bytes

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
            say = log.error if isinstance(self.fault, Misconfigured) else log.warning
            say("broker connection lost", reason=str(self.fault), retry_seconds=round(wait, 1))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)

    async def channel(self) -> Channel:
        """Wait for an open channel. The caller sets the deadline."""
        while self._channel is None or self._channel.is_closed:
            self._opened.clear()  # `run` may not have noticed yet
            await self._opened.wait()
        return self._channel

    def reset(self) -> None:
        """Give the connection up, so that `run` makes a new one and everything on it anew."""
        self._opened.clear()
        self._channel = None
        self._given_up.set()

    async def check(self, inspect: Callable[[Channel], Awaitable[None]], deadline: timedelta) -> None:
        """Run `inspect` on a channel of its own, whose loss harms nothing. Raises WeirError."""
        if self._connection is None or self._connection.is_closed:
            raise self.fault or BrokerUnavailable("not connected")
        if self.blocked:
            raise blocked()
        async with within(deadline):
            channel = await self._connection.channel()
            await inspect(channel)
            await channel.close()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Channel]:
        self._given_up.clear()
        async with within(DEADLINE):
            self._connection = await Connection.open(self._url, self._heartbeat)
        try:
            async with within(DEADLINE):
                channel = await self._connection.channel()
                await self._on_channel(channel)
            self._channel, self.fault = channel, None
            self._opened.set()
            log.info("broker connected")
            yield channel
        finally:
            self._opened.clear()
            self._channel = None
            try:
                if not self._given_up.is_set():  # who did not answer will not answer a goodbye
                    with suppress(WeirError):
                        async with within(DEADLINE):
                            await self._connection.close()
            finally:
                self._connection.abort()

    async def _lost(self, channel: Channel) -> WeirError:
        """Return why, once the channel is closed, whoever closed it, or given up."""
        given_up = asyncio.ensure_future(self._given_up.wait())
        ends: set[asyncio.Future[Any]] = {channel.closing, given_up}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            given_up.cancel()
        return channel.closing.result() if channel.is_closed else BrokerUnavailable("the connection was given up")


def blocked() -> PublishRefused:
    return PublishRefused("the broker is blocked by an alarm over its memory or disk")
