"""Reads a request's body: bounded as sent and as unpacked."""

import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from api.errors import BadRequest, UnsupportedMediaType
from shared.errors import TooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: zlib's window bits for a gzip header and trailer.
_GZIP = 31


class Disconnected(Exception):
    """The client went away before its body was complete; there is nobody to answer."""


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the value of a header, empty when it is not there. ASGI gives names in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return b""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read the whole body and unpack it.

    Raises:
        TooLarge: over `limit` bytes, whether announced, chunked or unpacked.
        BadRequest: its gzip is broken.
        UnsupportedMediaType: it is encoded otherwise.
        Disconnected: the client went away.
    """
    if _announced(scope) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Disconnected
    if message.get("more_body"):
        body = await _rest(body, receive, limit)
    if len(body) > limit:
        raise _too_large(limit)
    encoding = header(scope["headers"], b"content-encoding").lower()
    if not encoding or encoding == b"identity":
        return body
    if encoding != b"gzip":
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


def _announced(scope: Scope) -> int:
    """How long the sender says the body will be; 0 when it does not say."""
    length = header(scope["headers"], b"content-length")
    return int(length) if length.isdigit() else 0


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body may have {limit} bytes at most")


class BodyLimit:
    """ASGI middleware: no route reads more than `limit` bytes of a body.

    FastAPI's own `max_body_size` answers an announced length in plain text; this leaves the answer to our handlers.
    """

    def __init__(self, app: App, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal size
            if _announced(scope) > self._limit:
                raise self._error
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise self._error
            return message

        await self._app(scope, bounded, send)

    @property
    def _error(self) -> HTTPException:
        # FastAPI takes any other error while it reads for a body that cannot be parsed.
        return HTTPException(413, str(_too_large(self._limit)))
