"""What is stored already of readings that somebody has at hand: for imports that must not store anything twice."""

from functools import partial

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.dependencies import ServicesOf
from api.ingest.ingest import media_type
from api.ingest.readings import parse_device_id
from api.problems import problems
from api.routes.readings import BATCH, DeviceId
from api.stored import count_stored, decode_any_time
from shared.errors import NotFound

router = APIRouter(tags=["readings"])


class StoredCounts(BaseModel):
    """For each reading of the request, in its order, how many equal ones are stored."""

    stored: list[int] = Field(description="How many stored readings have the same timestamp, x, y and z.")


@router.post(
    "/devices/{device_id}/stats/stored",
    responses=problems(400, 404, 408, 413, 422, 503),
    openapi_extra=BATCH,
)
async def count_stored_readings(device_id: DeviceId, request: Request, services: ServicesOf) -> StoredCounts:
    """Say which of these readings are stored already, hot or cold. Nothing is stored.

    Takes what a batch of one device takes. A reading that is not valid, or has no timestamp, counts 0. What was
    accepted and is not stored yet is not seen; `/ops/ledger` says whether there is such.
    """
    key = await services.devices.key(parse_device_id(device_id))
    if not key:
        raise NotFound("no device has this id")
    settings, readers = services.settings, services.readers
    body, kind = await request.body(), media_type(dict(request.scope["headers"]))
    decode = partial(decode_any_time, body, kind, key, settings.submission_limit)
    deadline = settings.statement_deadline
    count = partial(count_stored, readers.engine, readers.store, key, decode)
    return StoredCounts(stored=await readers.pieces.call(partial(count, deadline), deadline))
