"""Every error the API answers: problem+json (RFC 9457), a stable type, the field, and never the input."""

import json
import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.errors import (
    ColdFileDamaged,
    ColdUnavailable,
    Conflict,
    DatabaseUnavailable,
    Expired,
    InvalidRecord,
    JobCancelled,
    Misconfigured,
    NoRoom,
    NotCancelled,
    NotFound,
    PublishRefused,
    TooLarge,
    Unavailable,
    WeirError,
)

PROBLEM = b"application/problem+json"
JSON = b"application/json"

#: Bounds of Retry-After, in seconds.
SOONEST, LATEST = 1, 60
#: Where nothing tells how long it will take: about the time of a reconnect.
USUAL_WAIT = 4


class Answer(NamedTuple):
    """An HTTP response, complete, for the lane and the routes alike."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class BadRequest(WeirError):
    """The request cannot be read at all."""


class UnsupportedMediaType(WeirError):
    """The body comes in an encoding this service does not know."""


class NotAcceptable(WeirError):
    """None of the formats there are is one the client accepts."""


class KeyReused(WeirError):
    """Its Idempotency-Key was used for another body: one of them must be a mistake."""


class RequestTimeout(WeirError):
    """The body began and did not come to its end in time."""


class JobFailed(WeirError):
    """The job that was waited for ended without an answer; the text is its own reason."""


class TooSlow(Unavailable):
    """What was asked for is too much to be read in time, or too much is read already."""


class Ambiguous(Conflict):
    """Several things answer to this name: the request must say which one it means."""


class NotOpen(Conflict):
    """The dead letter is settled, or on its way: it cannot be changed any more."""


#: First match wins, so subclasses stand before their parents.
_PROBLEMS: tuple[tuple[type[WeirError], int, str, str], ...] = (
    (TooLarge, 413, "too-large", "The body is too large"),
    (BadRequest, 400, "bad-request", "The request cannot be read"),
    (RequestTimeout, 408, "request-timeout", "The body did not come in time"),
    (UnsupportedMediaType, 415, "unsupported-media-type", "The body's encoding is not supported"),
    (NotAcceptable, 406, "not-acceptable", "None of the formats there are is accepted"),
    (KeyReused, 422, "key-reused", "The Idempotency-Key was used before"),
    (NotFound, 404, "not-found", "There is no such thing"),
    (Expired, 410, "expired", "It was kept as long as promised"),
    (Ambiguous, 409, "ambiguous", "Several have this name"),
    (NotOpen, 409, "not-open", "It cannot be changed any more"),
    (NotCancelled, 409, "not-cancelled", "The task was not cancelled"),
    (Conflict, 400, "conflict", "It exists already"),
    (PublishRefused, 503, "busy", "Too much is waiting; come again"),
    (DatabaseUnavailable, 503, "database-unavailable", "The database is not available; come again"),
    (ColdUnavailable, 503, "cold-unavailable", "The cold files are not available; come again"),
    (NoRoom, 503, "no-room", "The disk has no room for it; ask for less, or come again"),
    (TooSlow, 503, "too-slow", "It takes too long; ask for less, or come again"),
    (Unavailable, 503, "broker-unavailable", "The broker is not available; come again"),
    (JobCancelled, 503, "job-cancelled", "The job was cancelled; asking again starts a new one"),
    (JobFailed, 500, "job-failed", "The job ended without an answer"),
    (ColdFileDamaged, 500, "cold-file-damaged", "A cold file is damaged; the service needs its operator"),
    (Misconfigured, 503, "misconfigured", "The service needs its operator; come again"),
)


def retry_after(seconds: float | None = None) -> int:
    """Say when a refused sender should come again: so long at most, bounded, and not all senders at once."""
    wait = min(max(USUAL_WAIT if seconds is None else seconds, SOONEST), LATEST)
    return math.ceil(wait * random.uniform(0.5, 1.0))


def problem(
    status: int,
    name: str,
    title: str,
    detail: str | None = None,
    errors: Sequence[dict[str, Any]] = (),
    seconds: float | None = None,
) -> Answer:
    """Build a problem. `errors` lists {field, code, message} for each fault in the input; `seconds` is for a 503."""
    content: dict[str, Any] = {"type": f"urn:weir:problem:{name}", "title": title, "status": status}
    if detail:
        content["detail"] = detail
    if errors:
        content["errors"] = list(errors)
    body = json.dumps(content).encode()
    headers = [(b"content-type", PROBLEM), (b"content-length", str(len(body)).encode())]
    if status == 503:  # noqa: PLR2004
        headers.append((b"retry-after", str(retry_after(seconds)).encode()))
    if status == 408:  # noqa: PLR2004
        headers.append((b"connection", b"close"))  # what is left of the body would be read for the next request
    return Answer(status, headers, body)


INTERNAL = problem(500, "internal", "Something went wrong here")


def problem_of(error: WeirError) -> Answer:
    """Say what one of our errors means to a client."""
    if isinstance(error, InvalidRecord):
        fault = {"field": error.field, "code": error.code, "message": str(error)}
        if error.code == "malformed":
            return problem(400, "malformed", "The body is not valid JSON in UTF-8", errors=[fault])
        return problem(422, "invalid", "The input is not valid", errors=[fault])
    for kind, status, name, title in _PROBLEMS:
        if isinstance(error, kind):
            # Why the inside is out of order is for its operator, in the log.
            detail = None if isinstance(error, Misconfigured) else str(error)
            seconds = error.seconds if isinstance(error, PublishRefused) else None
            return problem(status, name, title, detail, seconds=seconds)
    return INTERNAL


def problem_of_rejected(rejected: Sequence[Any]) -> Answer:
    """Answer a submission of which nothing can be kept."""
    detail = "none of the records is valid" if rejected else "there is no record in it"
    faults = [{"index": one.index, "field": one.field, "code": one.code} for one in rejected]
    return problem(422, "invalid", "The input is not valid", detail, faults)
