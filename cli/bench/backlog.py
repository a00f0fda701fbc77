"""A backlog: messages as the API publishes them, given to the broker while nobody consumes."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from cli.bench.rig import Rig
from shared.broker import topology
from shared.broker.connection import BrokerConnection
from shared.broker.messages import Group
from shared.streams import READINGS, STREAMS
from shared.streams.readings import ROW_BYTES
from shared.streams.stream import EXCHANGE

#: Messages that wait for their confirm at the same time.
IN_FLIGHT = 200


def split(rows: bytes, records: int) -> list[bytes]:
    """Cut rows into bodies of so many records; the last may have fewer."""
    size = records * ROW_BYTES
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def publish(rig: Rig, bodies: Sequence[bytes]) -> float:
    """Publish a message of each body and wait for every confirm; return the seconds it took."""
    return asyncio.run(_publish(rig.amqp_url, bodies))


async def _publish(url: str, bodies: Sequence[bytes]) -> float:
    broker = BrokerConnection(url, timedelta(seconds=10), partial(topology.declare, streams=STREAMS))
    connecting = asyncio.create_task(broker.run())
    slots = asyncio.Semaphore(IN_FLIGHT)
    channel = await broker.channel()

    async def give(body: bytes) -> None:
        group = Group(READINGS, opened=0.0)
        group.add(body, len(body) // ROW_BYTES)
        try:
            await channel.publish(EXCHANGE, READINGS.name, group.body(), group.properties())
        finally:
            slots.release()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as giving:
        for body in bodies:
            await slots.acquire()
            giving.create_task(give(body))
    took = time.perf_counter() - began
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    return took
