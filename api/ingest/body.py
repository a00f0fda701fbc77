"""Reads a request's body: bounded as sent and as unpacked."""

import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from api.errors import BadRequest, TooLarge, UnsupportedMediaType

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

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
    """
    Read the whole body and unpack it.

    Raises:
        TooLarge: over `limit` bytes, whether announced, chunked or unpacked.
        BadRequest: its gzip is broken.
        UnsupportedMediaType: it is encoded otherwise.
        Disconnected: the client went away.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Disconnected
    if message.get("more_body"):
        body = await _rest(body, receive, limit)
    if len(body) > limit:
        raise TooLarge(f"the body may have {limit} bytes at most")
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
