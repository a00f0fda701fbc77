"""What stands in the broker: two exchanges, and for each stream a queue and a queue for its dead letters.

Queues carry one argument, their type, because arguments can never be changed. Bounds are policies, in
deploy/rabbitmq/definitions.json.
"""

from collections.abc import Iterable

from shared.broker.connection import Channel
from shared.streams.stream import DEAD_EXCHANGE, EXCHANGE, Stream

_QUORUM = {"x-queue-type": "quorum"}


async def declare(channel: Channel, streams: Iterable[Stream]) -> None:
    """Make what is missing. A queue of another type closes the channel with a precondition failure."""
    for exchange in (EXCHANGE, DEAD_EXCHANGE):
        await channel.exchange_declare(exchange, exchange_type="direct", durable=True)
    for stream in streams:
        for exchange, queue in ((EXCHANGE, stream.queue), (DEAD_EXCHANGE, stream.dead_queue)):
            await channel.queue_declare(queue, durable=True, arguments=dict(_QUORUM))
            await channel.queue_bind(queue, exchange, stream.name)


async def check(channel: Channel, streams: Iterable[Stream]) -> None:
    """Look whether everything is there, without making it. A missing queue closes the channel."""
    for exchange in (EXCHANGE, DEAD_EXCHANGE):
        await channel.exchange_declare(exchange, passive=True)
    for stream in streams:
        for queue in (stream.queue, stream.dead_queue):
            await channel.queue_declare(queue, passive=True)
