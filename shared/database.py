"""The database: how to connect, the tables, and what its errors mean."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg2
from sqlalchemy import JSON, Engine, create_engine, func
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.errors import DatabaseUnavailable, InvalidRecord, Misconfigured, WeirError

#: Ends waiting for a server that has gone without saying so. A frozen one still answers TCP: only a deadline of
#: our own helps there.
KEEPALIVE: dict[str, int] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

#: Longest that a request waits for a database that should answer in milliseconds.
LOOKUP_DEADLINE = timedelta(seconds=5)
#: Calls that may wait for a thread; those given up on count until a thread comes to them.
WAITING_LIMIT = 1_000

T = TypeVar("T")

#: SQLSTATE prefixes and what they mean; the longest prefix wins, what is not listed needs a person.
#: https://www.postgresql.org/docs/18/errcodes-appendix.html
_MEANING: dict[str, type[WeirError]] = {
    "08": DatabaseUnavailable,  # connection
    "25006": DatabaseUnavailable,  # read-only: a standby, or a disk being rescued
    "40": DatabaseUnavailable,  # serialization failure, deadlock
    "53": DatabaseUnavailable,  # disk full, out of memory, too many connections
    "55P03": DatabaseUnavailable,  # lock not available
    "57": DatabaseUnavailable,  # shutdown, cancelled by a time-out
    "58": DatabaseUnavailable,  # the server's own I/O
    "22": InvalidRecord,  # a value that does not fit
    "23": InvalidRecord,  # a constraint
}


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]


class Device(Base):
    """A device is known outside by its UUID, and inside by a key a quarter as long: it stands in every row."""

    __tablename__ = "devices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[int] = mapped_column(server_default="")
    user_id: Mapped[int]
    name: Mapped[str | None]


class Job(Base):
    """An asked-for calculation. This row is the truth; the message to the worker is only a nudge."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(server_default="queued")
    attempts: Mapped[int] = mapped_column(server_default="0")
    #: The id of the message whose worker runs it.
    started_by: Mapped[UUID | None]
    sent_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None]


def connect(url: str, *, pool_size: int, statement_deadline: timedelta) -> Engine:
    """Make an engine: bounded, no wait without an end. It connects when it is first used."""
    milliseconds = int(statement_deadline.total_seconds() * 1000)
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=60,  # a failover leaves old connections on what is now a standby
        connect_args={
            **KEEPALIVE,
            "options": f"-c statement_timeout={milliseconds} -c timezone=UTC",
            "application_name": "weir",
        },
    )


@asynccontextmanager
async def within(deadline: timedelta) -> AsyncIterator[None]:
    """End the body when it takes longer. Raises DatabaseUnavailable."""
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            yield
    except TimeoutError as error:
        raise DatabaseUnavailable("the database did not answer in time") from error


class DatabaseThreads:
    """Runs calls of the database beside the event loop, each under a deadline on our side.

    A server that is frozen answers nothing and a thread that waits for it cannot be stopped. It is left to itself, and
    is of use again when the server is. There are as many threads as connections, so they are all that can hang. They
    are daemons: a process that is told to end does not wait for them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING_LIMIT)
        self._threads: list[threading.Thread] = []

    async def run(self, work: Callable[..., T], *args: object, deadline: timedelta = LOOKUP_DEADLINE) -> T:
        """Call `work` in a thread and return what it does.

        Raises:
            DatabaseUnavailable: it did not end in time, and may still happen; or too many calls wait already.
        """
        self._start()
        future: Future[T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return  # nobody waits for it any more
            try:
                future.set_result(work(*args))
            except BaseException as error:  # noqa: BLE001 - it is for whoever waits
                future.set_exception(error)

        try:
            self._calls.put_nowait(call)
        except queue.Full as error:
            raise DatabaseUnavailable("too many requests wait for the database already") from error
        async with within(deadline):
            return await asyncio.wrap_future(future)

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
            thread = threading.Thread(target=self._serve, name="database", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours, whichever way they come."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("every connection to the database is in use") from error
    except DBAPIError as error:
        raise meaning(error.orig) from error
    except psycopg2.Error as error:
        raise meaning(error) from error


def meaning(error: BaseException | None) -> WeirError:
    """Say what a database error means for us: come again, no retry will help, or call a person."""
    state = sqlstate(error)
    if state is None:  # the connection itself: refused, reset, or gone in the middle
        return DatabaseUnavailable("the database cannot be reached")
    kind = _MEANING.get(state) or _MEANING.get(state[:2]) or Misconfigured
    text = str(getattr(getattr(error, "diag", None), "message_primary", None) or "database error")
    if kind is InvalidRecord:
        return InvalidRecord(state, getattr(getattr(error, "diag", None), "column_name", None), text)
    return kind(f"{text} (SQLSTATE {state})")


def sqlstate(error: BaseException | None) -> str | None:
    """The five characters PostgreSQL gives an error, or None when it did not come from the server."""
    return getattr(error, "pgcode", None)
