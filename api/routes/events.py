"""Events in, as documentation for what the lane answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from api.dependencies import ServicesOf
from api.ingest.events import PATHS
from api.ingest.ingest import KEY_LIMIT
from api.problems import problems
from api.routes.readings import as_response
from api.schemas import BatchAccepted
from shared.streams.events import TEXT_LIMIT

router = APIRouter(tags=["events"])

_TEXT = {"type": "string", "minLength": 1, "maxLength": TEXT_LIMIT}
_INTEGER = {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}
_EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "event_id": {"type": "string", "format": "uuid"},
        "occurred_at": {"type": "string", "format": "date-time"},
        "user_id": {"oneOf": [_TEXT, _INTEGER]},
        "event_type": _TEXT,
        "properties": {"type": ["object", "null"]},
    },
    "required": ["event_id", "occurred_at", "user_id", "event_type"],
    "additionalProperties": False,
}
_CONTENT = {
    "application/json": {"schema": {"oneOf": [{"type": "array", "items": _EVENT}, _EVENT]}},
    "application/x-ndjson": {"schema": {"type": "string"}},
}

#: Its length is described here and checked where submissions are answered.
IdempotencyKey = Annotated[
    str | None,
    Header(json_schema_extra={"maxLength": KEY_LIMIT}, description="The same key is stored once, whoever sends it."),
]


async def submit_events(request: Request, services: ServicesOf, _idempotency_key: IdempotencyKey = None) -> Response:
    """Submit events: an array, one per line, or a single one; gzip if you like. Valid ones are kept.

    Each is stored once by its `event_id`, however often and in whatever submission it comes.
    """
    return as_response(await services.events.batch(request.scope, request.receive))


for path in PATHS:
    router.add_api_route(
        path,
        submit_events,
        methods=["POST"],
        status_code=202,
        response_model=BatchAccepted,
        responses=problems(400, 408, 413, 415, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
    )
