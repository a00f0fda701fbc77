"""Parked messages for those who run Weir: how many there are, and having them tried again."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api import parked
from api.dependencies import ServicesOf
from api.problems import problems
from shared.errors import NotFound
from shared.streams import STREAMS, Stream

router = APIRouter(prefix="/ops/parked", tags=["operations"])

_DEADLINE = timedelta(seconds=2)


class Parked(BaseModel):
    """Messages, not records, that failed while nearly every message did."""

    stream: str
    queue: str
    messages: int


class Release(BaseModel):
    stream: Annotated[str, Field(max_length=100)]
    limit: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000_000


class Released(BaseModel):
    """How many messages this request gave to the consumer again, and how many are parked after it."""

    released: int
    parked: int


@router.get("")
async def list_parked(services: ServicesOf) -> list[Parked]:
    """Tell how many messages of each stream are parked. A broker that is slow to answer says 0."""
    return [
        Parked(
            stream=stream.name,
            queue=stream.parked_queue,
            messages=await parked.parked(services.broker, stream, _DEADLINE),
        )
        for stream in STREAMS
    ]


@router.post("/release", responses=problems(404))
async def release(release: Release, services: ServicesOf) -> Released:
    """Have parked messages tried again, once the cause is mended. What still fails becomes a dead letter.

    A request goes on for ten seconds at most: ask again while `parked` is not 0.
    """
    stream = _stream(release.stream)
    released = await parked.release(services.broker, stream, release.limit)
    return Released(released=released, parked=await parked.parked(services.broker, stream, _DEADLINE))


def _stream(name: str) -> Stream:
    for one in STREAMS:
        if one.name == name:
            return one
    raise NotFound(f"there is no such stream; there are {', '.join(one.name for one in STREAMS)}")
