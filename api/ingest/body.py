"""Reads a request's body: bounded as sent and as unpacked."""

import asyncio
import types
import zlib
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from api.errors import BadRequest, RequestTimeout, UnsupportedMediaType
from api.ingest.room import Part, Room
from shared.errors import PublishRefused, TooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: A request's headers by name in lower case, as ASGI gives them; of one sent twice the last counts.
Headers = Mapping[bytes, bytes]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: zlib's window bits for a gzip header and trailer.
_GZIP = 31
#: RFC 9110, section 8.4.1.3: the second is to be taken for the first.
_GZIP_NAMES = (b"gzip", b"x-gzip")
#: Members of one gzip stream (RFC 1952, section 2.2): what is packed in parallel or in blocks has one for each 64 KB or so.
MOST_MEMBERS = 1_000
#: As much of a stream is unpacked at a time.
_PIECE_BYTES = 1 << 16

#: Time for a body, once its head is here: enough for the largest at 1.2 Mbit/s, and nothing else would end one that
#: stalls.
BODY_SECONDS = 30
_TOO_SLOW = f"the whole body must come within {BODY_SECONDS} s"


class Disconnected(Exception):
    """The client went away before its body was complete; there is nobody to answer."""


async def read_body(headers: Headers, receive: Receive, limit: int, room: Room) -> bytes:
    """Read the whole body and unpack it, as its headers say.

    Raises:
        TooLarge: over `limit` bytes, whether announced, chunked or unpacked.
        BadRequest: its gzip is broken.
        UnsupportedMediaType: it is encoded otherwise.
        RequestTimeout: it does not come, or not to its end.
        PublishRefused: there is no room for it beside the others.
        Disconnected: the client went away.
    """
    if _announced(headers) > limit:
        raise _too_large(limit)
    # A deadline costs as much as all the rest of this, and most bodies are here already: look before setting one.
    receiving = receive().__await__()
    try:
        waits_for = next(receiving)
    except StopIteration as here:
        message: Message = here.value
        body = _bytes(message)
        if message.get("more_body"):
            body = await _in_time(_rest(body, receive, limit, room))
    else:
        body = await _in_time(_all(receiving, waits_for, receive, limit, room))
    if len(body) > limit:
        raise _too_large(limit)
    encoding = headers.get(b"content-encoding")
    if not encoding or encoding.lower() == b"identity":
        return body
    if encoding.lower() not in _GZIP_NAMES:
        raise UnsupportedMediaType("Content-Encoding must be gzip or absent")
    return _unpack(body, limit)


def _bytes(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    return body


async def _in_time(coming: Awaitable[bytes]) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await coming
    except TimeoutError as error:
        raise RequestTimeout(_TOO_SLOW) from error


async def _all(
    receiving: Generator[Any, Any, Message], waits_for: Any, receive: Receive, limit: int, room: Room
) -> bytes:
    message = await _go_on(receiving, waits_for)
    first = _bytes(message)
    return await _rest(first, receive, limit, room) if message.get("more_body") else first


@types.coroutine
def _go_on(begun: Generator[Any, Any, Message], waits_for: Any) -> Generator[Any, Any, Message]:
    """Await what was begun by hand, and waits for this."""
    try:
        yield waits_for
    except BaseException as error:  # cancelled, as a rule: it is the coroutine's to raise
        begun.throw(error)
        raise
    return (yield from begun)


async def _rest(first: bytes, receive: Receive, limit: int, room: Room) -> bytes:
    parts, size = [first], len(first)
    with room.part() as held:
        held.take(size)
        while size <= limit:
            message = await receive()
            part = _bytes(message)
            held.take(len(part))
            parts.append(part)
            size += len(part)
            if not message.get("more_body"):
                break
    return b"".join(parts)


def _unpack(body: bytes, limit: int) -> bytes:
    """Unpack every member of a gzip stream. Raises BadRequest, TooLarge."""
    parts: list[bytes] = []
    rest, left = memoryview(body), limit
    while rest or not parts:
        if len(parts) == MOST_MEMBERS:
            raise BadRequest(f"the body has more than {MOST_MEMBERS} gzip members")
        unpacked, rest = _member(rest, left)
        left -= len(unpacked)
        if left < 0:
            raise TooLarge(f"the body may have {limit} bytes at most once unpacked")
        parts.append(unpacked)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _member(packed: memoryview, limit: int) -> tuple[bytes, memoryview]:
    """Unpack the first member of a gzip stream, one byte beyond the limit at most; return it and what follows it.

    Raises:
        BadRequest: it is no gzip, or cut.
    """
    unpacker = zlib.decompressobj(_GZIP)
    parts, left, place = [], limit + 1, 0
    try:
        while left > 0 and not unpacker.eof and (unpacker.unconsumed_tail or place < len(packed)):
            piece: bytes | memoryview = unpacker.unconsumed_tail
            if not piece:  # a piece at a time, because what follows a member is copied, and there may be many
                piece, place = packed[place : place + _PIECE_BYTES], min(place + _PIECE_BYTES, len(packed))
            parts.append(unpacker.decompress(piece, left))
            left -= len(parts[-1])
    except zlib.error as error:
        raise BadRequest("the body is not valid gzip") from error
    if left > 0 and not unpacker.eof:
        raise BadRequest("the body is not a whole gzip stream")
    return b"".join(parts), packed[place - len(unpacker.unused_data) :] if left > 0 else packed[:0]


def _announced(headers: Headers) -> int:
    """How long the sender says the body will be; 0 when it does not say."""
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body may have {limit} bytes at most")


class BodyLimit:
    """ASGI middleware: no route reads more than `limit` bytes of a body, all routes together no more than there is room
    for, and none waits for one for ever.

    FastAPI's own `max_body_size` answers an announced length in plain text; this leaves the answer to our handlers.
    """

    def __init__(self, app: App, limit: int, room: Room) -> None:
        self._app = app
        self._limit = limit
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _announced(dict(scope["headers"]))
        deadline: float | None = asyncio.get_running_loop().time() + BODY_SECONDS

        async def bounded() -> Message:
            nonlocal deadline
            if announced > self._limit:
                raise self._error
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, _TOO_SLOW) from error
            if not message.get("more_body"):
                deadline = None  # the next message would be that the client has gone
            self._take(held, len(message.get("body", b"")))
            return message

        with self._room.part() as held:
            await self._app(scope, bounded, send)

    def _take(self, held: Part, size: int) -> None:
        try:
            held.take(size)
        except PublishRefused as error:
            raise HTTPException(503, str(error)) from error
        if held.size > self._limit:
            raise self._error

    @property
    def _error(self) -> HTTPException:
        # FastAPI takes any other error while it reads for a body that cannot be parsed.
        return HTTPException(413, str(_too_large(self._limit)))
