"""Publishes what the consumer gives back to the broker, and waits for the confirm."""

import asyncio
from datetime import timedelta

from pamqp.commands import Basic

from shared.broker.connection import BrokerConnection, blocked
from shared.errors import BrokerUnavailable


class ConfirmedPublisher:
    """Publishes on a connection of its own: an alarm stops the broker from reading it, and must not stop the acks."""

    def __init__(self, connection: BrokerConnection, deadline: timedelta) -> None:
        self._connection = connection
        self._deadline = deadline.total_seconds()

    async def publish(self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties) -> None:
        """Return once the broker has confirmed.

        Raises:
            PublishRefused: the queue is full, or the broker has an alarm.
            BrokerUnavailable: no confirm came in time; whether the message is kept is unknown.
            Misconfigured: no queue takes it.
        """
        try:
            async with asyncio.timeout(self._deadline):
                channel = await self._connection.channel()
                if self._connection.blocked:
                    raise blocked()
                await channel.publish(exchange, routing_key, body, properties)
        except TimeoutError as error:
            if self._connection.fault is None and not self._connection.blocked:
                self._connection.reset()  # it takes messages and confirms none
            raise self._connection.fault or BrokerUnavailable("the broker did not confirm in time") from error
