"""Runs what blocks beside the event loop, each call under a deadline on our side."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import TypeVar

from shared.errors import Unavailable

#: Calls that may wait for a thread; those given up on count until a thread comes to them.
WAITING_LIMIT = 1_000

T = TypeVar("T")


class Threads:
    """So many threads for the calls of one server.

    A server that is frozen answers nothing and a thread that waits for it cannot be stopped. It is left to itself, and
    is of use again when the server is; so these are all that can hang. They are daemons: a process that is told to end
    does not wait for them.
    """

    def __init__(self, size: int, server: str, unavailable: type[Unavailable]) -> None:
        self._size = size
        self._server = server
        self._unavailable = unavailable
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING_LIMIT)
        self._threads: list[threading.Thread] = []

    async def call(self, work: Callable[[], T], deadline: timedelta) -> T:
        """Call `work` in a thread and return what it does.

        Raises:
            Unavailable: it did not end in time, and may still happen; or too many calls wait already.
        """
        self._start()
        future: Future[T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return  # nobody waits for it any more
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is for whoever waits
                future.set_exception(error)

        try:
            self._calls.put_nowait(call)
        except queue.Full as error:
            raise self._unavailable(f"too many requests wait for the {self._server} already") from error
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise self._unavailable(f"the {self._server} did not answer in time") from error

    def close(self) -> None:
        """Let the threads end once they are free."""
        for _ in self._threads:
            try:
                self._calls.put_nowait(None)
            except queue.Full:
                return
        self._threads.clear()

    def _start(self) -> None:
        while len(self._threads) < self._size:
            thread = threading.Thread(target=self._serve, name=self._server, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
