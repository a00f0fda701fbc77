"""The limit of the broker: one message after the other, each published only when the last is confirmed.

Reads from stdin what to publish, as JSON: url, exchange, routing_key, type, content_type, headers, body (base64) and
seconds. Every message has an id of its own. Prints how many were confirmed and how long one took.
"""

import asyncio
import base64
import json
import statistics
import sys
import time
from typing import Any
from uuid import uuid4

import aiormq
from pamqp.commands import Basic

PERSISTENT = 2


async def publish(order: dict[str, Any]) -> list[float]:
    """Milliseconds from publish to confirm, of each message."""
    connection = await aiormq.connect(order["url"])
    channel = await connection.channel(publisher_confirms=True)
    body, took = base64.b64decode(order["body"]), []
    end = time.perf_counter() + order["seconds"]
    while (began := time.perf_counter()) < end:
        properties = Basic.Properties(
            message_id=str(uuid4()),
            message_type=order["type"],
            content_type=order["content_type"],
            delivery_mode=PERSISTENT,
            headers=order["headers"],
        )
        await channel.basic_publish(
            body, exchange=order["exchange"], routing_key=order["routing_key"], properties=properties, mandatory=True
        )
        took.append((time.perf_counter() - began) * 1000)
    await connection.close()
    return took


if __name__ == "__main__":
    milliseconds = asyncio.run(publish(json.load(sys.stdin)))
    percentiles = statistics.quantiles(milliseconds, n=100)
    print(json.dumps({"confirmed": len(milliseconds), "p50_ms": percentiles[49], "p99_ms": percentiles[98]}))
