"""Reads a request's body: bounded as sent and as unpacked."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from api.errors import BadRequest, RequestTimeout, UnsupportedMediaType
from shared.errors import TooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: A request's headers by name in lower case, as ASGI gives them; of one sent twice the last counts.
Headers = Mapping[bytes, bytes]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: zlib's window bits for a gzip header and trailer.
_GZIP = 31

#: Time for the rest of a body, once its beginning is here: enough for the largest at 1.2 Mbit/s, and nothing else
#: would end one that stalls.
BODY_SECONDS = 30
_TOO_SLOW = f"the rest of the body must come within {BODY_SECONDS} s"


class Disconnected(Exception):
    """The client went away before its body was complete; there is nobody to answer."""


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """Read the whole body and unpack it, as its headers say.

    Raises:
        TooLarge: over `limit` bytes, whether announced, chunked or unpacked.
        BadRequest: its gzip is broken.
        UnsupportedMediaType: it is encoded otherwise.
        RequestTimeout: it began, and its rest does not come.
        Disconnected: the client went away.
    """
    if _announced(headers) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Disconnected
    if message.get("more_body"):
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _rest(body, receive, limit)
        except TimeoutError as error:
            raise RequestTimeout(_TOO_SLOW) from error
    if len(body) > limit:
        raise _too_large(limit)
    encoding = headers.get(b"content-encoding")
    if not encoding or encoding.lower() == b"identity":
        return body
    if encoding.lower() != b"gzip":
        raise UnsupportedMediaType("Content-Encoding must be gzip or absent")
    return _unpack(body, limit)


async def _rest(first: bytes, receive: Receive, limit: int) -> bytes:
    parts, size = [first], len(first)
    while size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if not message.get("more_body"):
            break
    return b"".join(parts)


def _unpack(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest("the body is not valid gzip") from error
    if len(unpacked) > limit:
        raise TooLarge(f"the body may have {limit} bytes at most once unpacked")
    if not unpacker.eof or unpacker.unused_data:
        raise BadRequest("the body is not one whole gzip stream")
    return unpacked


def _announced(headers: Headers) -> int:
    """How long the sender says the body will be; 0 when it does not say."""
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body may have {limit} bytes at most")


class BodyLimit:
    """ASGI middleware: no route reads more than `limit` bytes of a body, or waits for its rest for ever.

    FastAPI's own `max_body_size` answers an announced length in plain text; this leaves the answer to our handlers.
    """

    def __init__(self, app: App, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size, announced = 0, _announced(dict(scope["headers"]))
        deadline: float | None = None

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal size, deadline
            if announced > self._limit:
                raise self._error
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, _TOO_SLOW) from error
            if not message.get("more_body"):
                deadline = None  # the next message would be that the client has gone
            elif deadline is None:
                deadline = asyncio.get_running_loop().time() + BODY_SECONDS
            size += len(message.get("body", b""))
            if size > self._limit:
                raise self._error
            return message

        await self._app(scope, bounded, send)

    @property
    def _error(self) -> HTTPException:
        # FastAPI takes any other error while it reads for a body that cannot be parsed.
        return HTTPException(413, str(_too_large(self._limit)))
