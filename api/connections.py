"""Open connections: how many there may be, and how long one may take to say what it wants."""

import asyncio
import resource
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

from api.errors import problem_of
from api.ingest.body import Receive, Scope, Send
from api.upgrades import UpgradeIgnoringProtocol
from shared.errors import PublishRefused

#: Share of the limit that is taken beyond it, to be told that it is reached.
_TOLD = 0.1
#: Files that a process needs beside its connections: to the database and the broker, of downloads, of its libraries.
RESERVED_FILES = 100
#: Looks at all connections per deadline: a timer for each request would cost more than all of them.
_LOOKS = 4


class Bounds:
    """The bounds of one server's connections, and since when each awaits the head of its next request."""

    def __init__(self, limit: int, head_deadline: timedelta) -> None:
        self._limit = limit
        self._head_seconds = head_deadline.total_seconds()
        self._awaited: dict[object, tuple[object, float]] = {}
        self._next_look: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many connections there may be now: as many as were allowed, and no more than this process has files for.

        It is asked for at each new connection, because the limit of open files can be lowered while a process runs.
        """
        return max(1, min(self._limit, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES))

    def watch(self, connections: Collection[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Close those that take too long, from now on, as long as there are any."""
        if self._next_look is None:
            self._next_look = loop.call_later(self._head_seconds / _LOOKS, self._look, connections, loop)

    def _look(self, connections: Collection[Any], loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        awaited: dict[object, tuple[object, float]] = {}
        for one in connections:
            if isinstance(one, BoundedProtocol) and one.awaits_head:
                request, since = self._awaited.get(one, (one.scope, now))
                since = since if request is one.scope else now
                awaited[one] = one.scope, since
                if now - since >= self._head_seconds:
                    one.transport.close()
        self._awaited, self._next_look = awaited, None
        if connections:
            self.watch(connections, loop)


class BoundedProtocol(UpgradeIgnoringProtocol):
    """uvicorn's HTTP with two bounds: connections at one time, and time for the head of a request.

    A connection over the limit is answered 503 and closed. uvicorn itself has no deadline for one that was opened and
    says nothing, or says it byte by byte.
    """

    bounds: ClassVar[Bounds]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # For an answer that cannot be finished: closing would wait for a client that takes nothing.
        self.app_state = {**self.app_state, "cut": transport.abort}
        limit = self.bounds.limit
        if len(self.connections) > limit * (1 + _TOLD):
            transport.abort()
        elif len(self.connections) > limit:
            self.app = _refuse
        self.bounds.watch(self.connections, self.loop)

    @property
    def awaits_head(self) -> bool:
        """Between two requests uvicorn's own timer runs until the first byte of the next."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and self.timeout_keep_alive_task is None


def bounded_protocol(limit: int, head_deadline: timedelta) -> type[BoundedProtocol]:
    """Make the protocol class of one server, and allow this process the files it takes."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return type("Protocol", (BoundedProtocol,), {"bounds": Bounds(limit, head_deadline)})


async def _refuse(_: Scope, __: Receive, send: Send) -> None:
    status, headers, body = problem_of(PublishRefused("too many connections are open"))
    headers = [*headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
