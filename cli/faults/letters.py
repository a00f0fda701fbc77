"""What the harness itself says to the broker: messages straight to the exchange, and a look into the queues."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from pamqp.commands import Basic

from cli.faults.database import Database
from cli.faults.readings import Device, Row, row_of, row_of_json
from shared.broker.amqp import Connection
from shared.broker.channel import Channel
from shared.streams import READINGS
from shared.streams.stream import COPY, EXCHANGE, split_rows

_HEARTBEAT = timedelta(seconds=10)
_SECONDS = 15

#: A message as it is published: its properties and its body.
Raw = tuple[Basic.Properties, bytes]


@asynccontextmanager
async def _channel(url: str) -> AsyncIterator[Channel]:
    async with asyncio.timeout(_SECONDS):
        connection = await Connection.open(url, _HEARTBEAT)
        try:
            yield await connection.channel()
        finally:
            await connection.close()


def publish(url: str, messages: Iterable[Raw]) -> None:
    """Publish to the stream's exchange and wait for every confirm. Raises WeirError, or TimeoutError."""

    async def publish_all() -> None:
        async with _channel(url) as channel:
            confirms = [channel.publish(EXCHANGE, READINGS.name, body, properties) for properties, body in messages]
            await asyncio.gather(*confirms)

    asyncio.run(publish_all())


def ready(url: str, queue: str) -> int:
    """How many messages are ready. Raises WeirError, or TimeoutError."""

    async def ask() -> int:
        async with _channel(url) as channel:
            # A quorum queue that is slow to answer says 0, so 0 must be said twice.
            return await channel.ready_messages(queue) or await channel.ready_messages(queue)

    return asyncio.run(ask())


def dead(database: Database, devices: Iterable[Device]) -> list[Row | None]:
    """Read every archived dead letter: the reading in it, or None when there is none. What was replayed is none any more."""
    keys = {device.id: device.key for device in devices}
    found = database.rows("SELECT body, content_type FROM dead_letters WHERE state <> 'replayed'")
    return [row for body, content_type in found for row in rows_of(bytes(body), content_type, keys)]


def rows_of(body: bytes, content_type: str, keys: Mapping[UUID, int]) -> Sequence[Row | None]:
    """The readings of one letter, by the keys of their devices. A whole submission holds its rows back to back."""
    if content_type != COPY:
        return [_row_of_json(body, keys)]
    try:
        return [row_of(row) for row in split_rows(body)] or [None]
    except (ValueError, struct.error):
        return [None]


def _row_of_json(body: bytes, keys: Mapping[UUID, int]) -> Row | None:
    try:
        return row_of_json(json.loads(body), keys)
    except (ValueError, KeyError, TypeError):
        return None
