"""What stands in the broker: two exchanges, and for each stream a queue, one for its dead letters and one for what is parked.

Queues carry one argument, their type, because arguments can never be changed. Bounds are policies, in
deploy/rabbitmq/definitions.json.
"""

from collections.abc import Iterable

from shared.broker.channel import Channel
from shared.streams.stream import DEAD_EXCHANGE, EXCHANGE, Stream


async def declare(channel: Channel, streams: Iterable[Stream]) -> None:
    """Make what is missing. A queue of another type closes the channel: Misconfigured."""
    for exchange in (EXCHANGE, DEAD_EXCHANGE):
        await channel.declare_exchange(exchange)
    for stream in streams:
        for exchange, queue in ((EXCHANGE, stream.queue), (DEAD_EXCHANGE, stream.dead_queue)):
            await channel.declare_queue(queue, "quorum")
            await channel.bind(queue, exchange, stream.name)
        await channel.declare_queue(stream.parked_queue, "quorum")


async def check(channel: Channel, streams: Iterable[Stream]) -> None:
    """Look whether everything is there, without making it. What is missing closes the channel: Misconfigured."""
    for exchange in (EXCHANGE, DEAD_EXCHANGE):
        await channel.declare_exchange(exchange, passive=True)
    for stream in streams:
        for queue in (stream.queue, stream.dead_queue, stream.parked_queue):
            await channel.ready_messages(queue)
