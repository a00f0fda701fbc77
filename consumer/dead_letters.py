"""Gives dead records to the broker, confirmed, before their message is acked."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pamqp.commands import Basic
from pamqp.common import FieldTable

from consumer.deliveries import DeadRecord, Part
from shared.broker.connection import BrokerConnection, blocked
from shared.broker.messages import PERSISTENT, letter_id
from shared.errors import BrokerUnavailable
from shared.streams.stream import DEAD_EXCHANGE, Stream

#: Letters that wait for their confirm at the same time.
IN_FLIGHT = 100


class DeadLetters:
    """Publishes dead letters of one stream, on a connection of its own: an alarm must not stop the acks."""

    def __init__(self, stream: Stream, connection: BrokerConnection, deadline: timedelta) -> None:
        self._stream = stream
        self._connection = connection
        self._deadline = deadline.total_seconds()

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
            "reason": record.reason,
            "at": datetime.now(UTC).isoformat(),
        }
        properties = Basic.Properties(
            message_id=str(letter_id(self._stream, receipt, record.index)),
            message_type=self._stream.message_type,
            content_type=record.content_type,
            delivery_mode=PERSISTENT,
            headers=headers,
        )
        try:
            async with asyncio.timeout(self._deadline):
                channel = await self._connection.channel()
                if self._connection.blocked:
                    raise blocked()
                await channel.publish(DEAD_EXCHANGE, self._stream.name, record.body, properties)
        except TimeoutError as error:
            if self._connection.fault is None and not self._connection.blocked:
                self._connection.reset()  # it takes letters and confirms none
            raise self._connection.fault or BrokerUnavailable("no confirm for a dead letter") from error
