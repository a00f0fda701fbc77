"""The ledger, for those who run Weir: does everything that was accepted come to an end?"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
from fastapi import APIRouter, Query
from pydantic import BaseModel

from api import balance
from api.dependencies import Services, ServicesOf
from api.window import Moment, in_utc
from shared.broker.channel import Channel
from shared.errors import WeirError
from shared.streams import STREAMS, Stream

router = APIRouter(prefix="/ops", tags=["operations"])
log = structlog.get_logger()

_DEADLINE = timedelta(seconds=2)
_SPAN = timedelta(hours=1)


class Queue(BaseModel):
    """Messages, not records. None: it cannot be known; without a management API that is so for `unacked`. `parked` are
    those that failed while nearly every message did: their records are in flight until they are released.

    `empty` is true only where that is certain: a slow queue says 0, too. `consumers` is the broker's count: a process of
    ours counts twice once it takes its whole prefetch.
    """

    name: str
    ready: int | None
    consumers: int | None
    unacked: int | None
    parked: int | None
    empty: bool | None


class Minute(BaseModel):
    minute: datetime
    accepted: int
    stored: int
    duplicate: int
    dead: int
    in_flight: int
    balanced: bool
    why: str | None


class StreamLedger(BaseModel):
    stream: str
    queue: Queue
    in_flight: int
    balanced: bool
    minutes: list[Minute]


class Ledger(BaseModel):
    as_of: datetime
    since: datetime
    balanced: bool
    streams: list[StreamLedger]


@router.get("/ledger")
async def ledger(
    services: ServicesOf,
    since: Annotated[
        Moment | None, Query(description="First minute; UTC unless it says so. An hour ago by default.")
    ] = None,
) -> Ledger:
    """Tell per stream and minute what was accepted and what became of it: accepted = stored + duplicate + dead + in
    flight. Minutes before `since` are told while something of them is in flight.

    A minute does not balance when more was settled than accepted, or when something of it is in flight though it has
    been over for a minute and the queue is empty.
    """
    start = in_utc(since, "since") or datetime.now(UTC) - _SPAN
    await services.acceptances.flush()
    streams = [await _of_stream(services, stream, start) for stream in STREAMS]
    return Ledger(as_of=datetime.now(UTC), since=start, balanced=all(one.balanced for one in streams), streams=streams)


async def _of_stream(services: Services, stream: Stream, since: datetime) -> StreamLedger:
    queue = await _queue(services, stream)
    found = await services.threads.run(balance.minutes, services.engine, stream, since, queue)
    return StreamLedger(
        stream=stream.name,
        queue=Queue(
            name=stream.queue,
            ready=queue.ready,
            consumers=queue.consumers,
            unacked=queue.unacked,
            parked=queue.parked,
            empty=queue.is_empty,
        ),
        in_flight=sum(one.in_flight for one in found),
        balanced=not any(one.why for one in found),
        minutes=[Minute(**vars(one), balanced=one.why is None) for one in found],
    )


async def _queue(services: Services, stream: Stream) -> balance.QueueState:
    """Look into a queue: a broker that is away leaves it unknown."""
    state = balance.QueueState()

    async def ask(channel: Channel) -> None:
        nonlocal state
        state = await balance.look(channel, stream)

    try:
        await services.broker.check(ask, _DEADLINE)
        if services.management is not None:
            state = await asyncio.to_thread(balance.from_afar, services.management, stream, state)
    except WeirError as error:
        log.info("a queue cannot be looked into", queue=stream.queue, reason=str(error))
    return state
