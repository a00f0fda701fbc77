"""Runs the consumer: `python -m consumer`, one task per stream."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from functools import partial

import structlog
import uvloop

from consumer import forgetting, partitions
from consumer.archiver import Archiver
from consumer.confirmed import ConfirmedPublisher
from consumer.consumer import StreamConsumer
from consumer.dead_letters import DeadLetters
from consumer.deliveries import Reader
from consumer.parking import Parking
from consumer.writer import Writer
from shared import logs
from shared.broker import topology
from shared.broker.connection import BrokerConnection
from shared.broker.inspection import Inspection
from shared.broker.management import Management
from shared.config import Settings, load
from shared.database import DatabaseThreads, connect
from shared.errors import Misconfigured
from shared.streams import STREAMS, Stream
from shared.tasks import exit_code, in_background

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Consume until SIGTERM or SIGINT, then drain."""
    stop, alone = asyncio.Event(), asyncio.Lock()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = connect(settings.database_url, pool_size=2, statement_deadline=settings.statement_deadline)
    threads = DatabaseThreads(2)
    management = Management(settings.management_url, settings.amqp_url) if settings.management_url else None
    terms = forgetting.terms(settings.receipt_retention, settings.settled_retention)
    inspection = Inspection(management, STREAMS)
    # Today's partition comes first: rows that arrive before it would have to be moved.
    if not await _unless(stop, partitions.attempt(threads, engine, STREAMS, settings.partitions_ahead)):
        return
    archiving = [_archive(stream, settings) for stream in STREAMS]
    upkeep = (
        partitions.keep(threads, engine, STREAMS, settings.partitions_ahead),
        forgetting.keep_forgetting(threads, engine, terms),
    )
    background = in_background(*upkeep, inspection.run(), *archiving)
    async with background, asyncio.TaskGroup() as group:
        for stream in STREAMS:
            group.create_task(_consume(stream, settings, alone, stop))
    threads.close()
    engine.dispose()


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, object]) -> bool:
    """Await the work and say so, or leave it to itself once it is time to stop."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        working.cancel()
        return False
    await working
    return True


async def _consume(stream: Stream, settings: Settings, alone: asyncio.Lock, stop: asyncio.Event) -> None:
    dead = BrokerConnection(settings.amqp_url, settings.heartbeat, partial(topology.declare, streams=STREAMS))
    publisher = ConfirmedPublisher(dead, settings.publish_deadline)
    writers = [Writer(settings.database_url, stream, settings.write_deadline) for _ in range(settings.writers)]
    consumer = StreamConsumer(
        Reader(stream, settings.earliest_timestamp, settings.timestamp_ahead, settings.submission_limit),
        writers,
        DeadLetters(stream, publisher),
        Parking(stream, publisher),
        alone,
        prefetch=settings.prefetch,
        intake_limit_bytes=settings.intake_limit_bytes,
        batch_limit=settings.batch_limit,
        batch_wait=settings.batch_wait,
        dead_in_a_row=settings.dead_in_a_row,
    )
    intake = BrokerConnection(settings.amqp_url, settings.heartbeat, consumer.on_channel)
    async with in_background(dead.run(), intake.run()):
        running = asyncio.create_task(consumer.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        try:
            async with asyncio.timeout(settings.drain_deadline.total_seconds()):
                await consumer.drain()
                await running
            log.info("drained", stream=stream.name)
        except TimeoutError:
            log.warning("not drained in time; the broker will deliver the rest again", stream=stream.name)
    for writer in writers:
        writer.close()


async def _archive(stream: Stream, settings: Settings) -> None:
    """Archive the stream's dead letters until cancelled."""
    archiver = Archiver(settings.database_url, stream, settings.write_deadline)
    connection = BrokerConnection(settings.amqp_url, settings.heartbeat, archiver.on_channel)
    try:
        async with in_background(connection.run()):
            await archiver.run()
    finally:
        archiver.close()


def main() -> int:
    try:
        settings = load()
    except Misconfigured as error:
        print(f"weir consumer: {error}", file=sys.stderr)  # noqa: T201
        return 1
    logs.configure(settings.log_level, as_json=settings.log_json)
    uvloop.run(run(settings))
    return exit_code()


if __name__ == "__main__":
    sys.exit(main())
