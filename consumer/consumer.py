"""The consumer of one stream: gather, write, settle; and what to do when that fails."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import structlog

from consumer.batch import Batch, Intake
from consumer.dead_letters import DeadLetters
from consumer.deliveries import Delivery, Part, Reader
from consumer.writer import KeyReused, Writer
from shared.broker import topology
from shared.broker.channel import Channel
from shared.broker.connection import within
from shared.errors import InvalidRecord, Misconfigured, PublishRefused, Unavailable, WeirError
from shared.streams import STREAMS

log = structlog.get_logger()

#: Waits between attempts to write the same batch; the second is for faults that only a person can mend.
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
#: Time for the broker to stop delivering when we drain.
CANCEL_DEADLINE = timedelta(seconds=5)


class StreamConsumer:
    """Writes what the broker delivers, each record once, and acks only what is committed.

    Nothing but a record's own fault makes it a dead letter: everything else is waited for, with the batch in hand.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        dead_letters: DeadLetters,
        *,
        prefetch: int,
        intake_limit_bytes: int,
        batch_limit: int,
        batch_wait: timedelta,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._dead_letters = dead_letters
        self._prefetch = prefetch
        self._intake_limit_bytes = intake_limit_bytes
        self._batch_limit = batch_limit
        self._batch_wait = batch_wait
        self._intake: Intake | None = None
        self._connected = asyncio.Event()
        self._draining = False

    async def on_channel(self, channel: Channel) -> None:
        """Start consuming on a new channel; what an old one still had in hand will be delivered again."""
        await topology.declare(channel, STREAMS)
        if self._draining:
            return
        intake = Intake(channel, self._intake_limit_bytes)
        await channel.consume(self._reader.stream.queue, self._prefetch, intake.deliver)
        channel.closing.add_done_callback(intake.wake)
        self._intake = intake
        self._connected.set()

    async def run(self) -> None:
        """Write batch after batch; return when drained."""
        while True:
            intake = self._intake
            if intake is None:
                if self._draining:
                    return
                self._connected.clear()
                await self._connected.wait()
                continue
            batch = await intake.gather(self._reader, self._batch_limit, self._batch_wait)
            if batch is not None:
                await self._settle(intake, batch)
            elif intake is self._intake:
                self._intake = None  # its channel is gone or cancelled; wait for the next

    async def drain(self) -> None:
        """Take no more; `run` returns when what is in hand is written."""
        self._draining = True
        self._connected.set()
        if self._intake is not None:
            with suppress(WeirError):
                async with within(CANCEL_DEADLINE):
                    await self._intake.cancel()
            self._intake.wake()

    async def _settle(self, intake: Intake, batch: Batch) -> None:
        """Write the batch and ack it. One whose channel is lost is let go: it is delivered again."""
        wait = FIRST_WAIT
        while not batch.channel.is_closed:
            try:
                await self._write(batch.deliveries)
                break
            except (Unavailable, PublishRefused) as error:
                log.warning("waiting to write", stream=self._reader.stream.name, reason=str(error))
            except Misconfigured as error:
                log.error("cannot write: call a person", stream=self._reader.stream.name, reason=str(error))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)
        intake.settled(batch)

    async def _write(self, deliveries: Sequence[Delivery]) -> None:
        await self._resolve(deliveries)
        await self._announce([part for one in deliveries for part in one.parts if part.announced < len(part.dead)])
        await self._write_or_halve(deliveries)

    async def _write_or_halve(self, deliveries: Sequence[Delivery]) -> None:
        """Write all; where that fails for a record's sake, each half by itself, down to the delivery that has it."""
        try:
            counts = await self._writer.write(deliveries)
        except InvalidRecord as error:
            if len(deliveries) > 1:
                middle = len(deliveries) // 2
                await self._write_or_halve(deliveries[:middle])
                await self._write_or_halve(deliveries[middle:])
                return
            await self._write_without_dead(deliveries[0], error)
        except KeyReused as error:
            for part in error.parts:
                part.refuse_key()
            await self._dead_letters.publish(error.parts)
            await self._write_or_halve(deliveries)
        else:
            log.debug("written", stream=self._reader.stream.name, messages=len(deliveries), **counts)

    async def _write_without_dead(self, delivery: Delivery, fault: InvalidRecord) -> None:
        parts = await self._writer.find_dead(delivery) or delivery.condemn(fault)
        await self._dead_letters.publish(parts)
        try:
            await self._writer.write([delivery])
        except InvalidRecord as error:
            raise Misconfigured(f"not even the receipt of a message can be written: {error}") from error

    async def _announce(self, parts: Sequence[Part]) -> None:
        """Publish what was dead on arrival, unless an earlier delivery of it is written already."""
        if parts:
            seen = await self._writer.seen(parts)
            await self._dead_letters.publish([part for part in parts if part.receipt not in seen])

    async def _resolve(self, deliveries: Sequence[Delivery]) -> None:
        """Encode JSON bodies, which needs the keys of their devices."""
        waiting = [delivery for delivery in deliveries if delivery.submission is not None]
        if not waiting:
            return
        ids = {device_id for one in waiting if one.submission for device_id in one.submission.device_ids}
        keys = await self._writer.device_keys(ids)
        for delivery in waiting:
            await asyncio.to_thread(delivery.resolve, keys)
