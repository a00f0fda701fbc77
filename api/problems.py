"""Describes in the OpenAPI document which problems an operation may answer."""

from typing import Any

from api.schemas import Problem

_PROBLEM = "application/problem+json"
_MEANINGS = {
    400: "The body is no JSON, or the request cannot be read; or what is to be made exists already",
    404: "There is no such thing",
    408: "The body did not come in time",
    410: "It was kept as long as promised",
    413: "The body is too large",
    415: "The body's encoding is not supported",
    422: "The input is not valid; `errors` names the fields. Or the Idempotency-Key was used for another body",
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
            responses: dict[str, Any] = operation["responses"]
            implied = () if path == "/healthz" else (503,)
            if "requestBody" in operation:
                implied = (400, 408, 413, 422, *implied)
            elif "422" in responses:
                implied = (422, *implied)
            for status in implied:
                if str(status) != "503" or str(status) not in responses or _is_problem(responses[str(status)]):
                    responses[str(status)] = {"description": _MEANINGS[status], "content": {_PROBLEM: _schema()}}
            for status, response in responses.items():
                if _is_problem(response):
                    response["content"] = {_PROBLEM: _schema()}
                if status == "503" and _is_problem(response):
                    response["headers"] = _RETRY_AFTER
    return document


def _schema() -> dict[str, Any]:
    return {"schema": {"$ref": "#/components/schemas/Problem"}}


def _is_problem(response: dict[str, Any]) -> bool:
    return any(one == _schema() for one in response.get("content", {}).values())
