"""Has parked messages tried again: out of the parking queue, back into the stream's own, confirmed before the ack."""

import asyncio
from datetime import timedelta
from functools import partial

from shared.broker.channel import Channel
from shared.broker.connection import BrokerConnection
from shared.broker.content import Message
from shared.broker.parked import moved
from shared.streams.stream import EXCHANGE, Stream

#: Most messages that wait for their confirm at the same time.
IN_FLIGHT = 100
#: A request goes on for this long; the next one takes the rest.
SECONDS = 10.0
#: When no message comes for so long, there is none.
PATIENCE_SECONDS = 1.0
DEADLINE = timedelta(seconds=SECONDS + 10)


async def release(broker: BrokerConnection, stream: Stream, limit: int) -> int:
    """Give at most so many messages to the consumer again, and return how many it were.

    One that is published and not yet acked when this ends is parked still and tried twice: its receipt keeps it from
    being stored twice. A released message is not parked again, so what still fails becomes a dead letter.

    Raises:
        PublishRefused: the stream's queue is full, or the broker has an alarm.
        BrokerUnavailable: the broker is away, or did not confirm.
        Misconfigured: a queue is missing.
    """
    released = 0

    async def move(channel: Channel) -> None:
        nonlocal released
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        await channel.consume(stream.parked_queue, min(limit, IN_FLIGHT), arrived.put_nowait)
        clock = asyncio.get_running_loop().time
        end = clock() + SECONDS
        while released < limit and clock() < end:
            messages = await _arrived(arrived, limit - released)
            if not messages:
                break
            await asyncio.gather(*map(partial(_publish, channel, stream), messages))
            channel.ack(messages[-1].tag, multiple=True)
            released += len(messages)
        await channel.cancel()

    await broker.check(move, DEADLINE)
    return released


async def parked(broker: BrokerConnection, stream: Stream, deadline: timedelta) -> int:
    """Ask how many messages are parked; a queue that is slow to answer says 0. Raises WeirError as `release` does."""
    count = 0

    async def ask(channel: Channel) -> None:
        nonlocal count
        count = await channel.ready_messages(stream.parked_queue)

    await broker.check(ask, deadline)
    return count


async def _publish(channel: Channel, stream: Stream, message: Message) -> None:
    await channel.publish(EXCHANGE, stream.name, message.body, moved(message.properties, is_released=True))


async def _arrived(queue: asyncio.Queue[Message], limit: int) -> list[Message]:
    """Take what has arrived, so many at most; wait for the first, and return nothing when none comes."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            messages = [await queue.get()]
    except TimeoutError:
        return []
    while not queue.empty() and len(messages) < limit:
        messages.append(queue.get_nowait())
    return messages
