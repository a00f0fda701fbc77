"""For those who run Weir: alive, ready, metrics."""

import asyncio
from datetime import timedelta
from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from sqlalchemy import text

from api.dependencies import Services, ServicesOf
from shared.broker import topology
from shared.broker.channel import Channel
from shared.database import translated
from shared.errors import WeirError
from shared.streams import STREAMS

router = APIRouter(tags=["operations"])

_DEADLINE = timedelta(seconds=2)


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Ready when broker and database are `ok`; otherwise they say what they lack.

    `topology` says what about queues and policies is not as designed, for its operator: readings are taken all the same.
    `parked` says for each stream how many messages failed while nearly every message did, and wait for an operator.
    """

    ready: bool
    broker: str
    database: str
    topology: str
    parked: dict[str, int]


@router.get("/healthz")
async def alive() -> Health:
    """Answer as long as the process can."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness}})
async def ready(response: Response, services: ServicesOf) -> Readiness:
    """Tell whether a reading would be kept now: broker connected and not blocked, topology there, database reachable."""
    (broker, parked), database = await asyncio.gather(_broker(services), _database(services))
    is_ready = broker == database == "ok"
    if not is_ready:
        response.status_code = 503
    return Readiness(
        ready=is_ready, broker=broker, database=database, topology=services.inspection.verdict, parked=parked
    )


@router.get("/metrics", include_in_schema=False)
def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _broker(services: Services) -> tuple[str, dict[str, int]]:
    """Say how the broker is, and how many messages are parked in each stream."""
    parked: dict[str, int] = {}

    async def look(channel: Channel) -> None:
        await topology.check(channel, STREAMS)
        for stream in STREAMS:
            parked[stream.name] = await channel.ready_messages(stream.parked_queue)

    try:
        await services.broker.check(look, _DEADLINE)
    except WeirError as error:
        return str(error), parked
    return "ok", parked


async def _database(services: Services) -> str:
    def ask() -> None:
        with translated(), services.engine.connect() as connection:
            connection.execute(text("SELECT 1 FROM receipts LIMIT 1"))

    try:
        await services.threads.run(ask, deadline=_DEADLINE)
    except WeirError as error:
        return str(error)
    return "ok"
