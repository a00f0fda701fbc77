"""The consumer of one stream: does what the core decides, with a real broker and a real database."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import cast

import structlog

from consumer.breaker import Breaker
from consumer.core import Core, ToBeParked, Work
from consumer.dead_letters import DeadLetters
from consumer.deliveries import Delivery, Part, Reader, Suspect
from consumer.intake import Intake
from consumer.parking import Parking
from consumer.resolving import resolve
from consumer.writer import KeyReused, Writer
from shared.broker import topology
from shared.broker.channel import Channel
from shared.broker.connection import within
from shared.broker.content import Message
from shared.errors import InvalidRecord, Misconfigured, WeirError
from shared.streams import STREAMS

log = structlog.get_logger()

#: Time for the broker to stop delivering when we drain.
CANCEL_DEADLINE = timedelta(seconds=5)


class StreamConsumer:
    """Writes what the broker delivers, each record once, and acks only what is committed.

    Nothing but a record's own fault makes it a dead letter: everything else is waited for, with what is in hand.
    """

    def __init__(
        self,
        reader: Reader,
        writers: Sequence[Writer],
        dead_letters: DeadLetters,
        parking: Parking,
        alone: asyncio.Lock,
        *,
        prefetch: int,
        intake_limit_bytes: int,
        batch_limit: int,
        batch_wait: timedelta,
        dead_in_a_row: int,
    ) -> None:
        self._reader = reader
        self._dead_letters = dead_letters
        self._parking = parking
        #: Held by whoever tries a suspect, of whichever stream: were two tried at one time, both would be blamed.
        self._alone = alone
        self._prefetch = prefetch
        self._intake_limit_bytes = intake_limit_bytes
        self._core = Core(
            batch_limit=batch_limit,
            batch_wait=batch_wait.total_seconds(),
            writers=len(writers),
            breaker=Breaker(dead_in_a_row),
            chance=random.Random(),
        )
        self._writers = writers
        self._free: asyncio.LifoQueue[Writer] = asyncio.LifoQueue()
        for writer in writers:
            self._free.put_nowait(writer)
        self._choosing = asyncio.Lock()
        self._intake: Intake | None = None
        self._woken = asyncio.Event()
        self._draining = self._is_parking = False
        self._is_first_channel = True

    async def on_channel(self, channel: Channel) -> None:
        """Start consuming on a new channel; what an old one still had in hand will be delivered again."""
        await topology.declare(channel, STREAMS)
        if self._is_first_channel and await channel.ready_messages(self._reader.stream.parked_queue):
            self._core.breaker.open(_now(), "messages are parked already")  # so that no restart lets more through
        self._is_first_channel = False
        if self._draining:
            return
        self._core.lose()
        intake = self._intake = Intake(channel, self._prefetch, self._intake_limit_bytes, self._deliver)
        channel.closing.add_done_callback(lambda _: self._lose(intake))
        await intake.open(self._reader.stream.queue)

    async def run(self) -> None:
        """Write batch after batch; return when drained."""
        async with asyncio.TaskGroup() as writing:
            while True:
                self._woken.clear()
                step = self._core.next(_now())
                if step.settled and self._intake is not None:
                    done = [one for work in step.settled for one in _deliveries(work)]
                    self._intake.settle(done[-1].tag, sum(one.size_bytes for one in done))
                self._say_whether_the_breaker_is_open()
                for work in step.writes:
                    writing.create_task(self._perform(work))
                if step.is_drained:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(step.at):
                        await self._woken.wait()
        for writer in self._writers:
            await writer.suspects.acquit_all()

    async def drain(self) -> None:
        """Take no more; `run` returns when what is in hand is written."""
        self._draining = True
        if self._intake is not None and not self._intake.channel.is_closed:
            with suppress(WeirError):
                async with within(CANCEL_DEADLINE):
                    await self._intake.cancel()
        self._core.drain()
        self._woken.set()

    def _say_whether_the_breaker_is_open(self) -> None:
        breaker, stream = self._core.breaker, self._reader.stream.name
        if breaker.is_open and not self._is_parking:
            advice = "find the cause, then `weir dead-letters release`"
            log.error(
                "operator action required: messages are parked", stream=stream, reason=breaker.reason, advice=advice
            )
        elif self._is_parking and not breaker.is_open:
            log.info("messages that fail are dead-lettered again", stream=stream)
        self._is_parking = breaker.is_open

    def _deliver(self, message: Message) -> None:
        self._core.deliver(self._reader.take(message), _now())
        self._woken.set()

    def _lose(self, intake: Intake) -> None:
        if intake is self._intake:
            self._intake = None
            self._core.lose()
            self._woken.set()

    async def _perform(self, work: Work) -> None:
        # A write of a lost channel may still be at work, and has to end before one that must be alone.
        async with self._choosing:
            writers = [await self._free.get() for _ in range(len(self._writers) if work.is_alone else 1)]
        writer = self._writers[0] if work.is_alone else writers[0]  # who remembers what could not be acquitted
        try:
            if work.park:
                await self._parking.park([one.message for one in _deliveries(work) if one.message is not None])
                self._core.parked(work, _now())
            else:
                alone = work.is_alone
                dead = await self._write_alone(writer, work) if alone else await self._write_batch(writer, work)
                self._core.written(work, _now(), dead=dead)
        except WeirError as error:
            self._say_why(work, error)
            self._core.failed(work, error, _now())
        finally:
            for one in writers:
                self._free.put_nowait(one)
            self._woken.set()

    def _say_why(self, work: Work, error: WeirError) -> None:
        stream, reason = self._reader.stream.name, str(error)
        if work.park:
            log.error(
                "operator action required: nothing can be parked, the stream stands still", stream=stream, reason=reason
            )
        elif isinstance(error, Misconfigured):
            log.error("operator action required: nothing can be written", stream=stream, reason=reason)
        elif not isinstance(error, InvalidRecord | ToBeParked):
            log.warning("waiting to write", stream=stream, reason=reason)

    async def _write_alone(self, writer: Writer, work: Work) -> int:
        """Write one message with which the consumer died before, or put it away when it did so again and again.

        That it is tried is written down first and struck out when it was survived, whatever became of it.
        """
        (suspect,) = cast(Sequence[Suspect], work.deliveries)
        receipt = self._reader.receipt_of(suspect.message)
        async with self._alone:
            delivery = self._reader.read_suspect(suspect.message, await writer.suspects.attempt(receipt))
            try:
                await resolve(writer, [delivery])
                return await self._write(writer, [delivery], sift=work.sift)
            finally:
                await writer.suspects.acquit(receipt)

    async def _write_batch(self, writer: Writer, work: Work) -> int:
        """Write a batch, unless it turns out to hold what is to be parked."""
        deliveries = _deliveries(work)
        await resolve(writer, deliveries)
        self._keep_what_is_to_be_parked(deliveries)
        return await self._write(writer, deliveries, sift=work.sift)

    async def _write(self, writer: Writer, deliveries: Sequence[Delivery], *, sift: bool) -> int:
        """Write all of it, or, to be sifted, all but its dead records; return of how many messages nothing was."""
        arrived_dead = [part for one in deliveries for part in one.parts if part.announced < len(part.dead)]
        await self._announce(writer, arrived_dead)
        if sift:
            await self._write_without_dead(writer, deliveries[0])
        else:
            await self._write_all(writer, deliveries)
        return sum(one.is_dead and not one.is_released for one in deliveries)

    def _keep_what_is_to_be_parked(self, deliveries: Sequence[Delivery]) -> None:
        """Raise ToBeParked when nothing of a message can be written, as of nearly every one."""
        if self._core.breaker.is_open and any(one.is_dead and not one.is_released for one in deliveries):
            raise ToBeParked("nothing of a message can be written, as of nearly every one")

    async def _write_all(self, writer: Writer, deliveries: Sequence[Delivery]) -> None:
        """Write; what brings another body under a key that is taken is dead-lettered first."""
        while True:
            try:
                await writer.write(deliveries)
            except KeyReused as error:
                for part in error.parts:
                    part.refuse_key()
                await self._dead_letters.publish(error.parts)
            else:
                return

    async def _write_without_dead(self, writer: Writer, delivery: Delivery) -> None:
        try:
            found = await writer.find_dead(delivery)
            self._keep_what_is_to_be_parked([delivery])
            await self._dead_letters.publish(found)
            await self._write_all(writer, [delivery])
        except InvalidRecord as error:
            # It would be found in none of the records again and again, without a pause.
            raise Misconfigured(f"{error} (SQLSTATE {error.code}), and no record is to blame for it") from error

    async def _announce(self, writer: Writer, parts: Sequence[Part]) -> None:
        """Publish what was dead on arrival, unless an earlier delivery of it is written already."""
        if parts:
            seen = await writer.seen(parts)
            await self._dead_letters.publish([part for part in parts if part.receipt not in seen])


def _deliveries(work: Work) -> Sequence[Delivery]:
    return cast(Sequence[Delivery], work.deliveries)


def _now() -> float:
    return asyncio.get_running_loop().time()
