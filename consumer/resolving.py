"""Encodes JSON bodies, which needs the keys of their devices."""

import asyncio
from collections.abc import Sequence

from consumer.deliveries import Delivery
from consumer.writer import Writer


async def resolve(writer: Writer, deliveries: Sequence[Delivery]) -> None:
    """Encode those of the deliveries that wait for it; a record of an unknown device becomes a dead one.

    Raises:
        Unavailable, Misconfigured: the keys cannot be looked up; trying again is safe.
    """
    waiting = [delivery for delivery in deliveries if delivery.submission is not None]
    if not waiting:
        return
    ids = {device_id for one in waiting if one.submission for device_id in one.submission.device_ids}
    keys = await writer.device_keys(ids)
    for delivery in waiting:
        await asyncio.to_thread(delivery.resolve, keys)
