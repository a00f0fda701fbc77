"""A database connection with a thread of its own, and a deadline that does not depend on the server."""

import asyncio
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TypeAlias, TypeVar

import psycopg2
import psycopg2.extensions

from shared.database import ENCODING, KEEPALIVE, meaning, translated
from shared.errors import DatabaseUnavailable, Unavailable

Connection: TypeAlias = psycopg2.extensions.connection
Result = TypeVar("Result")


class Session:
    """Runs work in transactions, one after the other.

    Every call ends within `deadline`: a frozen server never answers, so the thread that waits for it is left behind
    with its connection, and its socket shut. The outcome is then unknown.
    """

    def __init__(self, database_url: str, deadline: timedelta) -> None:
        self._dsn = database_url.replace("+psycopg2", "", 1)
        self._deadline = deadline.total_seconds()
        self._line = _Line(self._dsn, self._deadline)

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction and commit. Raises WeirError."""
        line = self._line
        running = asyncio.get_running_loop().run_in_executor(line.thread, line.in_transaction, work)
        try:
            async with asyncio.timeout(self._deadline):
                return await running
        except TimeoutError as error:
            self._line = _Line(self._dsn, self._deadline)
            line.leave_behind()
            raise DatabaseUnavailable("the database did not answer in time") from error

    def close(self) -> None:
        self._line.leave_behind()


class _Line:
    """One thread and the connection that only this thread opens, uses and closes."""

    def __init__(self, dsn: str, deadline: float) -> None:
        self.thread = ThreadPoolExecutor(1, "session")
        self._dsn = dsn
        self._deadline = deadline
        self._connection: Connection | None = None
        self._left_behind = False

    def in_transaction(self, work: Callable[[Connection], Result]) -> Result:
        with translated():
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            if self._left_behind:
                self._connection.close()
                raise DatabaseUnavailable("nobody waits for this any more")
            try:
                with self._connection as connection:
                    return work(connection)
            except psycopg2.Error as error:
                self._close_after(error)
                raise

    def leave_behind(self) -> None:
        """Shut the socket, which wakes the thread if anything can."""
        self._left_behind = True
        self.thread.shutdown(wait=False, cancel_futures=True)
        if self._connection is not None:
            with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(self._connection.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)  # of the connection; closing the twin leaves libpq its descriptor

    def _close_after(self, error: psycopg2.Error) -> None:
        """After an outage begin on a new connection: a server that was a standby, or read-only, stays so for those
        who came before it changed.
        """
        if self._connection is not None and isinstance(meaning(error), Unavailable):
            self._connection.close()

    def _connect(self) -> Connection:
        milliseconds = int(self._deadline * 1000)
        options = f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds}"
        return psycopg2.connect(
            self._dsn, application_name="weir consumer", client_encoding=ENCODING, options=options, **KEEPALIVE
        )
