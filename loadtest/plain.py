"""The plain way to put a queue before a database, as most would write it; what Weir is compared with.

FastAPI and pydantic; one persistent message and one confirm per request, to a durable queue; one INSERT per message,
acked once it is committed.

    uvicorn plain:app          # the API
    python plain.py            # the consumer

AMQP_URL and DATABASE_URL say where; both declare what they need.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import aio_pika
import psycopg2
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field, FiniteFloat

QUEUE = "plain"
PREFETCH = 100

SCHEMA = """
    CREATE TABLE IF NOT EXISTS readings (
        id bigserial PRIMARY KEY,
        device_id uuid NOT NULL,
        time timestamptz NOT NULL,
        x double precision NOT NULL,
        y double precision NOT NULL,
        z double precision NOT NULL
    );
    CREATE INDEX IF NOT EXISTS readings_device_time ON readings (device_id, time);
"""
INSERT = "INSERT INTO readings (device_id, time, x, y, z) VALUES (%s, %s, %s, %s, %s)"


class Reading(BaseModel):
    x: FiniteFloat
    y: FiniteFloat
    z: FiniteFloat
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Message(Reading):
    device_id: UUID


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    connection = await aio_pika.connect_robust(os.environ["AMQP_URL"])
    async with connection:
        channel = await connection.channel()  # with publisher confirms, which is aio-pika's default
        await channel.declare_queue(QUEUE, durable=True)
        app.state.exchange = channel.default_exchange
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/devices/{device_id}/stats/", status_code=202)
async def submit(device_id: UUID, reading: Reading, request: Request) -> dict[str, str]:
    message = Message(device_id=device_id, **reading.model_dump())
    await request.app.state.exchange.publish(
        aio_pika.Message(message.model_dump_json().encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT),
        routing_key=QUEUE,
    )
    return {"status": "ok"}


async def consume() -> None:
    database = psycopg2.connect(os.environ["DATABASE_URL"])
    with database, database.cursor() as cursor:
        cursor.execute(SCHEMA)
    connection = await aio_pika.connect_robust(os.environ["AMQP_URL"])
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.declare_queue(QUEUE, durable=True)
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process(requeue=True):
                    reading = Message.model_validate_json(message.body)
                    with database, database.cursor() as cursor:
                        values = (str(reading.device_id), reading.timestamp, reading.x, reading.y, reading.z)
                        cursor.execute(INSERT, values)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asyncio.run(consume())
