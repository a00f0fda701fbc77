"""Ends waits for a database that does not answer, where a thread of our own does the waiting."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import Engine, event

log = structlog.get_logger()


class Watchdog:
    """Cuts the connections of an engine that one thread uses, when what this thread does with them takes too long.

    A frozen server answers nothing, and its time limits, which are the server's own, do not come to pass. A cut
    connection is to its user one that was lost: DatabaseUnavailable, and the outcome is unknown.
    """

    def __init__(self, engine: Engine) -> None:
        self._connections: set[Any] = set()
        self._changing = threading.Lock()
        event.listen(engine, "connect", self._opened)
        event.listen(engine, "close", self._closed)
        event.listen(engine, "close_detached", lambda connection: self._closed(connection, None))

    @contextmanager
    def within(self, deadline: timedelta) -> Iterator[None]:
        """Cut every connection when the body takes longer."""
        timer = threading.Timer(deadline.total_seconds(), self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _opened(self, connection: Any, _: object) -> None:
        with self._changing:
            self._connections.add(connection)

    def _closed(self, connection: Any, _: object) -> None:
        with self._changing:
            self._connections.discard(connection)

    def _cut(self) -> None:
        log.error("the database did not answer in time; its connections are cut")
        with self._changing:
            for connection in self._connections:
                # Of one closed meanwhile there is no descriptor; closing the twin leaves the driver its own.
                with (
                    suppress(OSError, self._fault(connection)),
                    socket.socket(fileno=os.dup(connection.fileno())) as twin,
                ):
                    twin.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _fault(connection: Any) -> type[Exception]:
        """The driver's error, which every DB-API connection names."""
        fault: type[Exception] = connection.Error
        return fault
