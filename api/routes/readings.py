"""Readings in, as documentation for what the lane answers, and stored readings out."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Request, Response

from api import queries
from api.dependencies import Cursor, Limit, Services, ServicesOf, WindowOf, link_next
from api.errors import Answer
from api.ingest.ingest import KEY_LIMIT
from api.ingest.readings import parse_device_id
from api.places import Place
from api.problems import problems
from api.queries import Wanted
from api.schemas import Accepted, BatchAccepted, Stored
from api.window import Window
from shared.errors import NotFound

router = APIRouter(tags=["readings"])

_NUMBER = {"type": "number"}
_MOMENT = {"type": "string", "format": "date-time"}
_UUID = {"type": "string", "format": "uuid"}


def _record(of: Callable[[dict[str, Any]], dict[str, Any]], *, names_device: bool) -> dict[str, Any]:
    """Describe a reading, or its columns when `of` makes an array of each field."""
    properties = {axis: of(_NUMBER) for axis in "xyz"} | {"timestamp": of(_MOMENT)}
    required = ["x", "y", "z"]
    if names_device:
        properties["device_id"] = of(_UUID)
        required.append("device_id")
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _content(*, batch: bool, names_device: bool = False) -> dict[str, Any]:
    one = _record(lambda kind: kind, names_device=names_device)
    if not batch:
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": one}}}}
    columns = _record(lambda kind: {"type": "array", "items": kind}, names_device=names_device)
    either = {"oneOf": [{"type": "array", "items": one}, columns]}
    content = {"application/json": {"schema": either}, "application/x-ndjson": {"schema": {"type": "string"}}}
    return {"requestBody": {"required": True, "content": content}}


#: What a batch of one device's readings looks like.
BATCH = _content(batch=True)

_FAULTS = problems(400, 404, 408, 413, 415, 422, 503)

#: Its length is described here and checked where submissions are answered.
IdempotencyKey = Annotated[
    str | None,
    Header(json_schema_extra={"maxLength": KEY_LIMIT}, description="The same key from the same device is stored once."),
]
DeviceId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]


@router.post(
    "/devices/{device_id}/stats/",
    status_code=202,
    response_model=Accepted,
    responses=_FAULTS,
    openapi_extra=_content(batch=False),
)
async def submit_reading(
    device_id: DeviceId, request: Request, services: ServicesOf, _idempotency_key: IdempotencyKey = None
) -> Response:
    """Submit one reading. `Location` leads to its receipt."""
    return as_response(await services.readings.one(device_id, request.scope, request.receive))


@router.post(
    "/devices/{device_id}/stats/batch",
    status_code=202,
    response_model=BatchAccepted,
    responses=_FAULTS,
    openapi_extra=BATCH,
)
async def submit_batch(
    device_id: DeviceId, request: Request, services: ServicesOf, _idempotency_key: IdempotencyKey = None
) -> Response:
    """Submit many readings of one device: an array, lines, or columns; gzip if you like. Valid ones are kept."""
    return as_response(await services.readings.batch(device_id, request.scope, request.receive))


@router.post(
    "/stats/batch",
    status_code=202,
    response_model=BatchAccepted,
    responses={status: fault for status, fault in _FAULTS.items() if status != 404},  # noqa: PLR2004
    openapi_extra=_content(batch=True, names_device=True),
)
async def submit_gateway_batch(
    request: Request, services: ServicesOf, _idempotency_key: IdempotencyKey = None
) -> Response:
    """Submit readings of many devices, each naming its own."""
    return as_response(await services.readings.gateway(request.scope, request.receive))


@router.get("/stats/")
async def list_readings(
    request: Request,
    response: Response,
    services: ServicesOf,
    window: WindowOf,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> list[Stored]:
    """List stored readings of all devices, newest first; the `Link` header leads to the next page."""
    found, following = await _newest(services, None, window, limit, cursor)
    if following:
        response.headers.update(link_next(request, following.token()))
    return found


@router.get("/stats/{device_id}/", responses=problems(404))
async def list_device_readings(
    device_id: DeviceId,
    request: Request,
    response: Response,
    services: ServicesOf,
    window: WindowOf,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> list[Stored]:
    """List stored readings of one device, newest first; the `Link` header leads to the next page."""
    device: UUID = parse_device_id(device_id)
    key = await services.devices.key(device)
    if not key:
        raise NotFound("no device has this id")
    found, following = await _newest(services, key, window, limit, cursor)
    if following:
        response.headers.update(link_next(request, following.token()))
    return found


async def _newest(
    services: Services, key: int | None, window: Window, limit: int, cursor: str | None
) -> tuple[list[Stored], Place | None]:
    place = None if cursor is None else Place.of(cursor)
    # Not a lookup: over much data it may take as long as any statement may.
    deadline = services.settings.statement_deadline
    wanted = Wanted.of(key, window, place, limit + 1)
    hot = await services.threads.run(queries.hot, services.engine, wanted, deadline=deadline)
    found = hot.rows
    if hot.files:
        readers = services.readers
        cold = await readers.pieces.call(partial(readers.tails.newest, wanted, hot), deadline)
        found = queries.page([hot.rows, cold], wanted.limit)
    shown = found[:limit]
    page = [Stored(device_id=one.id, timestamp=one.time, x=one.x, y=one.y, z=one.z) for one in shown]
    return page, Place.after(shown, place) if len(found) > limit else None


def as_response(answer: Answer) -> Response:
    """Give an answer of the lane the form FastAPI wants."""
    response = Response(answer.body, answer.status)
    response.raw_headers = answer.headers
    return response
