"""The ingest lane: answers submissions before FastAPI's middleware and routing see them."""

from collections.abc import Awaitable, Coroutine
from typing import Any

import structlog

from api.errors import INTERNAL, Answer, problem, problem_of
from api.ingest.body import App, Disconnected, Receive, Scope, Send
from api.ingest.events import PATHS, EventIngest
from api.ingest.readings import ReadingIngest
from api.query_names import refusal
from shared import metrics
from shared.errors import Misconfigured, WeirError

log = structlog.get_logger()

_DEVICES = "/devices/"
#: Each path with and without its last slash: a client that is redirected loses the body of its POST.
_ONE, _BATCH, _GATEWAY = ("stats/", "stats"), ("stats/batch", "stats/batch/"), ("/stats/batch", "/stats/batch/")
_EVENTS = frozenset(f"{path}{end}" for path in PATHS for end in ("", "/"))


class Lane:
    """An ASGI application: submissions it answers itself, everything else goes to the application behind it."""

    def __init__(self, readings: ReadingIngest, events: EventIngest, behind: App) -> None:
        self._readings = readings
        self._events = events
        #: The routes of the same names there document what is answered here, and answer the same.
        self.behind = behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            answering = self._answering(scope, receive)
            if answering is not None:
                if query := scope["query_string"]:  # what it was to say would be ignored
                    answering.close()
                    answering = _refused(query)
                await respond(answering, send)
                return
        await self.behind(scope, receive, send)

    def _answering(self, scope: Scope, receive: Receive) -> Coroutine[Any, Any, Answer] | None:
        path: str = scope["path"]
        if path.startswith(_DEVICES):
            device, _, rest = path[len(_DEVICES) :].partition("/")
            if device and rest in _ONE:
                return self._readings.one(device, scope, receive)
            if device and rest in _BATCH:
                return self._readings.batch(device, scope, receive)
        elif path in _GATEWAY:
            return self._readings.gateway(scope, receive)
        elif path in _EVENTS:
            return self._events.batch(scope, receive)
        return None


async def _refused(query: bytes) -> Answer:
    """Answer a submission with a query: it takes none."""
    return refusal(query, ()) or problem(422, "invalid", "The input is not valid", "a submission takes no query")


async def respond(answering: Awaitable[Answer], send: Send) -> None:
    """Send an answer, or the problem that came instead."""
    try:
        status, headers, body = await answering
    except WeirError as error:
        metrics.refused_submissions.labels(type(error).__name__).inc()
        if isinstance(error, Misconfigured):
            log.error("submission refused", reason=str(error))
        status, headers, body = problem_of(error)
    except Disconnected:
        return
    except Exception:
        log.exception("a submission failed")
        status, headers, body = INTERNAL
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
