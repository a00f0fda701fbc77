"""Group commit: submissions that wait for the broker at the same time share one message and one confirm."""

import asyncio
from collections.abc import Callable, Iterable
from copy import copy
from datetime import timedelta
from uuid import UUID

import structlog

from shared.broker.backlog import Backlog
from shared.broker.channel import Channel
from shared.broker.connection import BrokerConnection, blocked
from shared.broker.messages import NO_DIGEST, Group, Series
from shared.errors import BrokerUnavailable, Misconfigured, PublishRefused, WeirError
from shared.streams.stream import EXCHANGE, Stream

log = structlog.get_logger()

#: Turns of the event loop that a group may gather, so that senders who never pause cannot hold it back.
LONGEST_GATHERING = 50
#: Bytes that a keyed submission takes in the header of its message: receipt, records, size, digest.
KEYED_BYTES = 40
#: More than everything else in a header takes. A header is one frame and cannot be split.
HEADER_BYTES = 600
#: Smallest frame that a broker may insist on, which is what counts before the first connection.
LEAST_FRAME_BYTES = 4_096
#: Most bytes of a message, which only one that is a single submission exceeds: RabbitMQ 4 takes 16 MiB.
MESSAGE_BYTES = 8 * 1024 * 1024
#: How much longer than a group's deadline draining may take.
DRAIN_SECONDS = 1.0
#: Wait before the same message is given to the broker again after its connection was lost.
RETRY_SECONDS = 0.05


class Publisher:
    """Publishes submissions of one stream.

    There is no timer: while one message waits for its confirm, the next group gathers. A lone submission leaves at
    once; under load a group is as large as what came in during one round trip, and on its heels.

    A group has `deadline` from its first submission to its confirm. In that time a lost connection is waited for and
    the group published again under the same receipt, which is why that is safe.
    """

    def __init__(
        self,
        stream: Stream,
        connection: BrokerConnection,
        *,
        deadline: timedelta,
        message_limit: int,
        waiting_limit: int,
        waiting_limit_bytes: int,
        on_confirm: Callable[[Group], None],
    ) -> None:
        self.stream = stream
        self.waiting = self.waiting_bytes = 0
        #: Its `run` is to be run beside ours.
        self.backlog = Backlog(stream.queue, connection)
        self._connection = connection
        self._deadline = deadline.total_seconds()
        self._message_limit = message_limit
        self._waiting_limit = waiting_limit
        self._waiting_limit_bytes = waiting_limit_bytes
        self._on_confirm = on_confirm
        self._series: Series | None = None
        self._groups: list[tuple[Group, list[asyncio.Future[None]]]] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._has_ended = False

    async def submit(self, rows: bytes, records: int, receipt: UUID | None = None, digest: bytes = NO_DIGEST) -> str:
        """Return where the receipt will be found (`Group.add`), once the broker has confirmed the message that carries these rows.

        Raises:
            PublishRefused: too much waits here already, or the queue is full.
            Unavailable, Misconfigured: as `Channel.publish`.
        """
        if self._has_ended:
            raise BrokerUnavailable("the publisher ended, and this process with it")
        size = len(rows)
        if self.waiting + records > self._waiting_limit or self.waiting_bytes + size > self._waiting_limit_bytes:
            seconds = self.backlog.until_confirmed(self.waiting)
            raise PublishRefused("too many submissions wait for the broker already", seconds)
        group, confirmed = self._gathering(records, size)
        kept_under = group.add(rows, records, receipt, digest)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        confirmed.append(future)
        self.waiting += records
        self.waiting_bytes += size
        self._wake.set()
        await future
        return kept_under

    async def run(self) -> None:
        """Publish group after group, until cancelled. However it ends, nobody is left waiting."""
        try:
            await self._publish_groups()
        finally:
            fault = BrokerUnavailable("the publisher ended; whether the broker has this submission is unknown")
            for group, confirmed in self._groups:
                self.waiting -= group.records
                self.waiting_bytes -= group.size
                _settle(confirmed, fault)
            self._groups.clear()
            self._has_ended = True
            self._idle.set()

    async def _publish_groups(self) -> None:
        while True:
            while not self._groups:
                self._wake.clear()
                self._idle.set()
                await self._wake.wait()
            self._idle.clear()
            group, confirmed = await self._gathered()
            fault: WeirError | None = BrokerUnavailable("whether the broker has this submission is unknown")
            try:
                fault = await self._outcome(group)
            finally:
                self.waiting -= group.records
                self.waiting_bytes -= group.size
                _settle(confirmed, fault)

    async def _outcome(self, group: Group) -> WeirError | None:
        """Publish a group and count it; return why it is not kept, or may not be."""
        series = self._series_of(group)
        try:
            await self._publish(group)
        except PublishRefused as error:
            error.seconds = self.backlog.until_empty()
            return error
        except WeirError as error:
            return error
        series.confirmed = group.reached
        self.backlog.confirmed(group.records)
        self._on_confirm(group)
        return None

    async def drain(self) -> None:
        """Wait until nothing waits here, for as long as every group has to its deadline, and no longer."""
        try:
            async with asyncio.timeout(self._deadline + DRAIN_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            log.error("the publisher did not drain in time", stream=self.stream.name, waiting=self.waiting)

    @property
    def _keyed_limit(self) -> int:
        """Keyed submissions whose header fits one frame of the connection there is, or of any when there is none."""
        return ((self._connection.frame_bytes or LEAST_FRAME_BYTES) - HEADER_BYTES) // KEYED_BYTES

    def _gathering(self, records: int, size: int) -> tuple[Group, list[asyncio.Future[None]]]:
        """Give the group that is being gathered, or start one when the last has no room."""
        last = self._groups[-1][0] if self._groups else None
        if (
            last is None
            or last.records + records > self._message_limit
            or last.size + size > MESSAGE_BYTES
            or len(last.keyed) >= self._keyed_limit
        ):
            self._groups.append((Group(self.stream, asyncio.get_running_loop().time()), []))
        return self._groups[-1]

    async def _gathered(self) -> tuple[Group, list[asyncio.Future[None]]]:
        """Take the next group, once a turn of the event loop has brought nothing more for it.

        Answers to the last group make its senders send again; those who did so at once come along. This is no timer:
        a lone submission waits for one empty turn of the loop, some microseconds.
        """
        for _ in range(LONGEST_GATHERING):
            waiting = self.waiting
            await asyncio.sleep(0)
            if self.waiting == waiting:
                break
        return self._groups.pop(0)

    def _series_of(self, group: Group) -> Series:
        if self._series is None or self._series.minute != group.minute:
            self._series = Series(group.minute)
        group.join(self._series)
        return self._series

    async def _channel_for(self, group: Group) -> Channel:
        """Wait for a channel that takes this group; the deadline is the caller's. Raises PublishRefused."""
        channel = await self._connection.channel()
        if self._connection.blocked:
            raise blocked()
        if len(group.keyed) > self._keyed_limit:
            raise PublishRefused("it was gathered for larger frames than the broker takes now, and was not published")
        return channel

    async def _publish(self, group: Group) -> None:
        deadline, began = group.opened + self._deadline, asyncio.get_running_loop().time()
        if began >= deadline:
            raise PublishRefused("it waited behind others until its time was over, and was not published")
        body, properties = group.body(), group.properties()
        unknown = False
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    channel = await self._channel_for(group)
                    try:
                        return await channel.publish(EXCHANGE, self.stream.name, body, properties)
                    except BrokerUnavailable:
                        unknown = True
                        self._series = None  # the next message cannot say whether this one is kept
                        log.warning("publishing again", stream=self.stream.name, receipt=group.receipt)
                        await asyncio.sleep(RETRY_SECONDS)
        except (PublishRefused, Misconfigured) as error:
            if isinstance(error, Misconfigured):
                self._connection.reset()  # what is missing is declared anew on the next channel
            if unknown:  # an attempt before this one may have been kept
                raise BrokerUnavailable("the broker did not confirm, and then refused") from error
            raise
        except TimeoutError as error:
            self._series = None
            fault = self._connection.fault
            waited = asyncio.get_running_loop().time() - began
            if fault is None and not self._connection.blocked and waited >= self._deadline / 2:
                self._connection.reset()  # a connection that is open but dead would go on swallowing groups
            raise fault or BrokerUnavailable("the broker did not confirm in time") from error


def _settle(confirmed: Iterable[asyncio.Future[None]], fault: WeirError | None) -> None:
    """Tell those who wait that the broker has it, or why it has not; one whose request has gone is told nothing."""
    for future in confirmed:
        if future.done():
            continue
        if fault is None:
            future.set_result(None)
        else:
            future.set_exception(copy(fault))  # one each: a raised exception gathers its traceback
