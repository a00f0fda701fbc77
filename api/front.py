"""What stands before FastAPI: HEAD for every GET, paths with and without their last slash, redirects that survive a proxy."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match

from api.errors import Answer
from api.ingest.body import App, Message, Receive, Scope, Send
from api.query_names import names_of, refusal

_REDIRECTS = range(300, 400)


class Front:
    """An ASGI application before another one, whose routes it knows.

    * HEAD is answered as GET is, without the body (RFC 9110, section 9.3.2). A download is told that its client has gone, so
      that it makes no more than its head.
    * A path that lacks its last slash, or has one too many, is answered as the path that there is, unless it is read: then
      it is redirected, so that each page has one address. A redirected POST would lose its body in many clients.
    * A query parameter that a path does not have is refused by name.
    * A redirect leads to a path and names no scheme or host: behind a proxy these are not ours to know.
    """

    def __init__(self, app: App, routes: Sequence[BaseRoute]) -> None:
        #: The application behind.
        self.app = app
        self._routes = routes
        self._names = {id(route): names_of(route) for route in routes if isinstance(route, APIRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["query_string"] and (refused := self._refusal(scope)):
            await _answer(refused, send)
            return
        if scope["method"] == "HEAD":
            await self._head(scope, receive, send)
            return
        if scope["method"] != "GET" and not self._is_known(scope):
            scope = self._with_other_end(scope)
        await self.app(scope, receive, _redirecting_to_a_path(send))

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def receiving() -> Message:
            return {"type": "http.disconnect"} if has_begun else await receive()

        async def sending(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                await send(message)
                await send({"type": "http.response.body", "body": b""})

        await self.app({**scope, "method": "GET"}, receiving, _redirecting_to_a_path(sending))

    def _refusal(self, scope: Scope) -> Answer | None:
        """Answer a query with names that its path does not have; None when all are known, or the path is not."""
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        for route in self._routes:
            if route.matches(asked)[0] is Match.FULL:
                return refusal(scope["query_string"], self._names[id(route)])
        return None

    def _is_known(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._routes)

    def _with_other_end(self, scope: Scope) -> Scope:
        """Give the request the path with the other end, if that is one of ours."""
        path: str = scope["path"]
        other = {**scope, "path": path[:-1] if path.endswith("/") else f"{path}/"}
        return other if self._is_known(other) else scope


async def _answer(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


def allowed(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """List every method that a path takes, as the Allow field has them (RFC 9110, section 10.2.1)."""
    found: set[str] = set()
    for route in routes:
        if route.matches(scope)[0] is not Match.NONE:
            methods: Any = getattr(route, "methods", None) or ()
            found.update(methods)
    if "GET" in found:
        found.add("HEAD")
    return ", ".join(sorted(found))


def _redirecting_to_a_path(send: Send) -> Send:
    """Send the same, with redirects that name no host."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in _REDIRECTS:
            message = {**message, "headers": [_relative(*header) for header in message["headers"]]}
        await send(message)

    return sending


def _relative(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    if name != b"location":
        return name, value
    there = urlsplit(value.decode("latin-1"))
    return name, (there.path + (f"?{there.query}" if there.query else "")).encode("latin-1")
