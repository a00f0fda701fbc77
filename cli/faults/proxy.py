"""A TCP proxy between Weir and a server, which loses bytes where it is told to."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from cli.programs import HOST, free_ports

_PIECE_BYTES = 64 * 1024
_SECONDS = 5
Result = TypeVar("Result")


class Direction(Enum):
    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


@dataclass
class Trap:
    """Waits for these bytes on their way to the server; then nothing more comes back on that connection."""

    pattern: bytes
    #: Whether the bytes themselves still reach the server.
    forward: bool
    #: How often they pass unhindered first.
    skip: int = 0
    sprung: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class _Link:
    """One connection: both its ends, and how many bytes more it carries each way (None: all)."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    left: dict[Direction, int | None] = field(default_factory=lambda: dict.fromkeys(Direction))

    def abort(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Listens on `port` and passes everything on to a port of this machine, in a thread of its own."""

    def __init__(self, target: int) -> None:
        (self.port,) = free_ports(1)
        self._target = target
        self._links: set[_Link] = set()
        self._trap: Trap | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(lambda: asyncio.start_server(self._serve, HOST, self.port))

    def lose(self, direction: Direction, after_bytes: int = 0) -> None:
        """Carry so many bytes more on every connection there is, and lose the rest. New connections are whole."""

        async def limit() -> None:
            for link in self._links:
                link.left[direction] = after_bytes

        self._run(limit)

    def reset(self) -> None:
        """Cut every connection there is, without a goodbye."""

        async def abort() -> None:
            for link in list(self._links):
                link.abort()

        self._run(abort)

    def set_trap(self, trap: Trap | None) -> None:
        """Lie in wait for some bytes, once; or no longer."""

        async def replace() -> None:
            self._trap = trap

        self._run(replace)

    def close(self) -> None:
        async def close() -> None:
            self._server.close()
            for link in list(self._links):
                link.abort()
            pumps = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.wait(pumps, timeout=1) if pumps else None

        self._run(close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    def _run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        async def call() -> Result:
            return await work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        for one in (writer, far_writer):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(writer, far_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(link, reader, far_writer, Direction.TO_SERVER),
                self._pump(link, far_reader, writer, Direction.TO_CLIENT),
            )
        finally:
            link.abort()
            self._links.discard(link)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        """Carry one direction until either end goes; then the other end is closed too."""
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                trap = self._sprung_by(piece) if direction is Direction.TO_SERVER else None
                if trap is not None:
                    link.left[Direction.TO_CLIENT] = 0
                    if not trap.forward:
                        link.left[Direction.TO_SERVER] = 0
                left = link.left[direction]
                if left is not None:
                    piece = piece[:left]
                    link.left[direction] = left - len(piece)
                writer.write(piece)
                await writer.drain()
                if trap is not None:
                    trap.sprung.set()
        writer.transport.abort() if reader.exception() else writer.close()

    def _sprung_by(self, piece: bytes) -> Trap | None:
        """The trap, when these bytes spring it. What is waited for is small, and written in one piece."""
        trap = self._trap
        if trap is None or trap.pattern not in piece:
            return None
        if trap.skip:
            trap.skip -= 1
            return None
        self._trap = None
        return trap
