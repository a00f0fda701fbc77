"""The ingest lane: answers submissions before FastAPI's middleware and routing see them."""

from collections.abc import Awaitable, Callable

import structlog

from api.errors import Answer, problem_of
from api.ingest.body import Disconnected, Receive, Scope, Send
from api.ingest.readings import ReadingIngest
from shared.errors import Misconfigured, WeirError

log = structlog.get_logger()

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_DEVICES = "/devices/"


class Lane:
    """An ASGI application: submissions it answers itself, everything else goes to the application behind it."""

    def __init__(self, ingest: ReadingIngest, behind: App) -> None:
        self._ingest = ingest
        self._behind = behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            answering = self._answering(scope, receive)
            if answering is not None:
                await respond(answering, send)
                return
        await self._behind(scope, receive, send)

    def _answering(self, scope: Scope, receive: Receive) -> Awaitable[Answer] | None:
        path: str = scope["path"]
        if path.startswith(_DEVICES):
            device, _, rest = path[len(_DEVICES) :].partition("/")
            if rest == "stats/":
                return self._ingest.one(device, scope, receive)
            if rest == "stats/batch":
                return self._ingest.batch(device, scope, receive)
        elif path == "/stats/batch":
            return self._ingest.gateway(scope, receive)
        return None


async def respond(answering: Awaitable[Answer], send: Send) -> None:
    """Send an answer, or the problem that came instead."""
    try:
        status, headers, body = await answering
    except WeirError as error:
        if isinstance(error, Misconfigured):
            log.error("submission refused", reason=str(error))
        status, headers, body = problem_of(error)
    except Disconnected:
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
