"""Describes in the OpenAPI document which problems an operation may answer."""

from http import HTTPStatus
from typing import Any

from api.schemas import Problem

_OF_FASTAPI = ("HTTPValidationError", "ValidationError")
#: What the body of a problem is said to be before we say it.
_PROBLEMS = (None, "Problem", *_OF_FASTAPI)
_MEANINGS = {
    400: "The body is no JSON, or the request cannot be read; or what is to be made exists already",
    404: "There is no such thing",
    406: "None of the formats there are is accepted; `detail` lists them",
    408: "The body did not come in time",
    409: "It cannot be changed any more; the task was not cancelled; or several streams use this id",
    410: "It was kept as long as promised",
    413: "The body is too large",
    415: "The body's encoding is not supported",
    422: "The input is not valid; `errors` names the fields. Or the Idempotency-Key was used for another body",
    500: "It will be no better the next time: a cold file is damaged, a job failed, or something went wrong here",
    503: "Not done, or not known to be; come again after `Retry-After`",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1, "maximum": 60}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route gives FastAPI as `responses`; those that all routes have need not be named."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to every operation the problems that follow from what it takes, and name their media type."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            responses: dict[str, dict[str, Any]] = operation["responses"]
            for implied in _implied(path, operation):
                responses.setdefault(str(implied), {})
            for status, response in responses.items():
                if int(status) >= HTTPStatus.BAD_REQUEST and _model(response) in _PROBLEMS:
                    response.update(_description(int(status)))
    for replaced in _OF_FASTAPI:
        document["components"]["schemas"].pop(replaced, None)
    return document


def _implied(path: str, operation: dict[str, Any]) -> tuple[int, ...]:
    if path == "/healthz":
        return ()
    return (400, 408, 413, 422, 500, 503) if "requestBody" in operation else (500, 503)


def _description(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found = {"description": _MEANINGS[status], "content": content}
    return found | {"headers": _RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else found


def _model(response: dict[str, Any]) -> str | None:
    """The name of what a response holds, or None when it is not described yet."""
    for content in response.get("content", {}).values():
        return str(content["schema"].get("$ref", "")).rpartition("/")[2]
    return None
