"""Downloads: any number of rows, a piece at a time, no faster than the client takes them, and never half a file."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta

import pyarrow as pa
import structlog
from fastapi import Response

from api.export.formats import Format
from api.ingest.body import Receive, Scope, Send
from shared.errors import PublishRefused, WeirError
from shared.threads import Threads

log = structlog.get_logger()

#: Longest that one piece may take to be made: a statement, or a few row groups.
PIECE_DEADLINE = timedelta(seconds=60)
#: What is given to the connection at one time: how much a client must take for its patience to begin anew.
_SLICE_BYTES = 64 * 1024
#: For a connection that was cut to be told so.
_CUT_SECONDS = 5.0

Batches = Iterator[pa.RecordBatch]


class Downloads:
    """As many at one time as there may be. Between two pieces none of them holds a thread or a connection.

    Attributes:
        patience: longest that a client may take nothing.
    """

    def __init__(self, threads: Threads, limit: int, patience: timedelta) -> None:
        self.threads = threads
        self.patience = patience
        self._free = limit

    def __enter__(self) -> None:
        """Raises PublishRefused: there are as many as there may be."""
        if not self._free:
            raise PublishRefused("as many downloads are under way as there may be")
        self._free -= 1

    def __exit__(self, *_: object) -> None:
        self._free += 1

    def response(self, made: Format, schema: pa.Schema, batches: Callable[[], Batches], name: str) -> "Download":
        """Answer with what `batches` yields, as a file of that format. Nothing is read before it is sent."""
        headers = {"content-disposition": f'attachment; filename="{name}.{made.suffix}"', "vary": "accept"}
        return Download(self, lambda: pieces(made, schema, batches()), made.media_type, headers)


def pieces(made: Format, schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    """Yield the bytes of a file of these rows. Empty ones only say that there is no end yet."""
    encoder = made.encoder(schema)
    beginning = encoder.begin()
    for batch in batches:
        yield beginning + encoder.encode(batch)
        beginning = b""
    yield beginning + encoder.end()


class Download(Response):
    """One download. What goes wrong before its first byte is a problem like any other.

    After that the connection is cut, so that no client takes what it has for the whole.
    """

    def __init__(
        self,
        downloads: Downloads,
        pieces: Callable[[], Iterator[bytes]],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._downloads = downloads
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._downloads:
            source = self._pieces()
            piece = await self._next(source)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            gone = asyncio.create_task(_gone(receive))
            try:
                while piece is not None and not gone.done():
                    await self._send(piece, send, gone)
                    piece = await self._next(source)
                if piece is None:
                    await self._send(b"", send, gone, more=False)
            except (WeirError, TimeoutError) as error:
                reason = "the client took nothing" if isinstance(error, TimeoutError) else str(error)
                log.warning("a download was cut", reason=reason)
                await _cut(scope, gone, error)
            finally:
                gone.cancel()
                _close(source)

    async def _next(self, source: Iterator[bytes]) -> bytes | None:
        return await self._downloads.threads.call(lambda: next(source, None), PIECE_DEADLINE)

    async def _send(self, piece: bytes, send: Send, gone: "asyncio.Task[None]", *, more: bool = True) -> None:
        for start in range(0, len(piece), _SLICE_BYTES) or (0,):
            if gone.done():
                return
            async with asyncio.timeout(self._downloads.patience.total_seconds()):
                body = piece[start : start + _SLICE_BYTES]
                await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(scope: Scope, gone: "asyncio.Task[None]", error: Exception) -> None:
    """End the connection without the mark that ends a whole body, and without waiting for what was not taken."""
    cut: Callable[[], None] | None = scope.get("state", {}).get("cut")
    if cut is None:
        raise RuntimeError("the rest cannot be sent, and this server cannot be told so") from error
    cut()
    await asyncio.wait([gone], timeout=_CUT_SECONDS)


def _close(source: Iterator[bytes]) -> None:
    """Give up what it holds, unless a thread is still at it: then that ends when the thread does."""
    with suppress(ValueError):
        source.close()  # type: ignore[attr-defined]
