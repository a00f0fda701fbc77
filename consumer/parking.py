"""Parks messages of which nothing can be written while nearly every message fails: they stay in the broker, out of the way."""

import asyncio
from collections.abc import Sequence

from consumer.confirmed import ConfirmedPublisher
from shared.broker.content import Message
from shared.broker.parked import moved
from shared.streams.stream import Stream

#: Messages that wait for their confirm at the same time.
IN_FLIGHT = 100


class Parking:
    """Gives messages to the parking queue of a stream. One that is parked twice has one receipt, so it counts once."""

    def __init__(self, stream: Stream, publisher: ConfirmedPublisher) -> None:
        self._stream = stream
        self._publisher = publisher

    async def park(self, messages: Sequence[Message]) -> None:
        """Return once all are confirmed. Raises as `ConfirmedPublisher.publish`: then all may be parked again."""
        for start in range(0, len(messages), IN_FLIGHT):
            await asyncio.gather(*(self._park(message) for message in messages[start : start + IN_FLIGHT]))

    async def _park(self, message: Message) -> None:
        properties = moved(message.properties, is_released=False)
        await self._publisher.publish("", self._stream.parked_queue, message.body, properties)
