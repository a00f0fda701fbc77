"""What the harness itself says to the broker: messages straight to the exchange, and a look into the queues."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from pamqp.commands import Basic

from cli.faults.database import Database
from cli.faults.numbered import Device, Numbered, Row
from shared.broker.amqp import Connection
from shared.broker.channel import Channel
from shared.streams import Stream
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


def publish(url: str, stream: Stream, messages: Iterable[Raw]) -> None:
    """Publish to a stream's queue and wait for every confirm. Raises WeirError, or TimeoutError."""

    async def publish_all() -> None:
        async with _channel(url) as channel:
            confirms = [channel.publish(EXCHANGE, stream.name, body, properties) for properties, body in messages]
            await asyncio.gather(*confirms)

    asyncio.run(publish_all())


def ready(url: str, queue: str) -> int:
    """How many messages are ready. Raises WeirError, or TimeoutError."""

    async def ask() -> int:
        async with _channel(url) as channel:
            # A quorum queue that is slow to answer says 0, so 0 must be said twice.
            return await channel.ready_messages(queue) or await channel.ready_messages(queue)

    return asyncio.run(ask())


def dead(database: Database, numbered: Numbered, devices: Iterable[Device]) -> list[Row | None]:
    """Read every archived dead letter of a stream: the record in it, or None when there is none.

    What was replayed is none any more.
    """
    keys = {device.id: device.key for device in devices}
    query = "SELECT body, content_type FROM dead_letters WHERE stream = %(stream)s AND state <> 'replayed'"
    found = database.rows(query, {"stream": numbered.stream.name})
    return [row for body, content_type in found for row in rows_of(numbered, bytes(body), content_type, keys)]


def rows_of(numbered: Numbered, body: bytes, content_type: str, keys: Mapping[UUID, int]) -> Sequence[Row | None]:
    """The records of one letter, by the keys of their devices. A whole submission holds its rows back to back."""
    if content_type != COPY:
        return [_row_of_json(numbered, body, keys)]
    try:
        return [numbered.row_of(row) for row in split_rows(body)] or [None]
    except ValueError:
        return [None]


def _row_of_json(numbered: Numbered, body: bytes, keys: Mapping[UUID, int]) -> Row | None:
    try:
        return numbered.row_of_json(json.loads(body), keys)
    except (ValueError, KeyError, TypeError):
        return None
