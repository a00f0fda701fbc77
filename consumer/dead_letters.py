"""Gives dead records to the broker, confirmed, before their message is acked."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from pamqp.commands import Basic
from pamqp.common import FieldTable

from consumer.confirmed import ConfirmedPublisher
from consumer.deliveries import DeadRecord, Part
from shared.broker.messages import PERSISTENT, letter_id
from shared.streams.stream import DEAD_EXCHANGE, Stream

#: Longest reason, in characters: headers must fit one frame, of which a broker may insist on 4,096 bytes.
REASON = 700
#: Letters that wait for their confirm at the same time.
IN_FLIGHT = 100


class DeadLetters:
    """Publishes dead letters of one stream."""

    def __init__(self, stream: Stream, publisher: ConfirmedPublisher) -> None:
        self._stream = stream
        self._publisher = publisher

    async def publish(self, parts: Iterable[Part]) -> int:
        """Publish the dead records of these parts, as far as they are not, and wait for each confirm; return how many.

        A letter's id follows from receipt and index, so one published twice can be told.

        Raises:
            PublishRefused, Unavailable, Misconfigured: the rest should be published again.
        """
        count = 0
        for part in parts:
            while part.announced < len(part.dead):
                some = part.dead[part.announced : part.announced + IN_FLIGHT]
                await asyncio.gather(*(self._publish(part.receipt, record) for record in some))
                part.announced += len(some)
                count += len(some)
        return count

    async def _publish(self, receipt: UUID, record: DeadRecord) -> None:
        headers: FieldTable = {
            "receipt": str(receipt),
            "index": -1 if record.index is None else record.index,
            "code": record.code,
            "reason": record.reason[:REASON],
            "at": datetime.now(UTC).isoformat(),
        }
        properties = Basic.Properties(
            message_id=str(letter_id(self._stream, receipt, record.index)),
            message_type=self._stream.message_type,
            content_type=record.content_type,
            delivery_mode=PERSISTENT,
            headers=headers,
        )
        await self._publisher.publish(DEAD_EXCHANGE, self._stream.name, record.body, properties)
