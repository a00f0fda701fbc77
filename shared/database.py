"""The database: how to connect, the tables, and what its errors mean."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import psycopg2
from sqlalchemy import JSON, Engine, create_engine, func
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.errors import DatabaseUnavailable, InvalidRecord, Misconfigured, WeirError
from shared.threads import Threads

#: Ends waiting for a server that has gone without saying so. A frozen one still answers TCP: only a deadline of
#: our own helps there.
KEEPALIVE: dict[str, int] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

#: What texts are sent and read in, whatever the environment, the database or the role says.
ENCODING = "UTF8"

#: Longest that a request waits for a database that should answer in milliseconds.
LOOKUP_DEADLINE = timedelta(seconds=5)

T = TypeVar("T")

#: SQLSTATE prefixes and what they mean; the longest prefix wins, what is not listed needs a person.
#: https://www.postgresql.org/docs/18/errcodes-appendix.html
_MEANING: dict[str, type[WeirError]] = {
    "08": DatabaseUnavailable,  # connection
    "25006": DatabaseUnavailable,  # read-only: a standby, or a disk being rescued
    "25P03": DatabaseUnavailable,  # the session was ended: idle in its transaction for too long
    "25P04": DatabaseUnavailable,  # the session was ended: its transaction took too long
    "40": DatabaseUnavailable,  # serialization failure, deadlock
    "53": DatabaseUnavailable,  # disk full, out of memory, too many connections
    "55P03": DatabaseUnavailable,  # lock not available
    "57": DatabaseUnavailable,  # shutdown, cancelled by a time-out
    "58": DatabaseUnavailable,  # the server's own I/O
    # Classes that a record can be to blame for, and need not be: where the database refuses none of the records by itself,
    # the consumer waits as for a fault of the database.
    "22": InvalidRecord,  # a value that does not fit
    "23": InvalidRecord,  # a constraint
    "54": InvalidRecord,  # a value beyond the server's limits: nested too deeply, too large for an index
}
#: A statement was ended by its time limit.
CANCELLED = "57014"


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    #: What the email is known by (shared/emails.py); None of a user whose email somebody before had in another case.
    email_key: Mapped[str | None]


class Device(Base):
    """A device is known outside by its UUID, and inside by a key a quarter as long: it stands in every row."""

    __tablename__ = "devices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[int] = mapped_column(server_default="")
    user_id: Mapped[int]
    name: Mapped[str | None]
    #: Whole days that its records are kept; None: as long as its stream's.
    retention_days: Mapped[int | None]


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
    #: In per cent.
    progress: Mapped[int] = mapped_column(server_default="0")
    #: What kind and parameters are known by, where the answer may be given to whoever asks the same.
    question: Mapped[bytes | None]
    askers: Mapped[int] = mapped_column(server_default="1")
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: Which data it is about: shared/data_version.py.
    seen: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    #: When the answer was last found to be still true, and how much was queued then.
    checked_at: Mapped[datetime | None]
    checked_queued: Mapped[int | None]


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
            # All digits of a float: a database or role that is told otherwise would have rounded ones read, and sealed.
            "options": f"-c statement_timeout={milliseconds} -c timezone=UTC -c extra_float_digits=1",
            "application_name": "weir",
            "client_encoding": ENCODING,
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


class DatabaseThreads(Threads):
    """Runs calls of the database: there are as many threads as connections."""

    def __init__(self, size: int) -> None:
        super().__init__(size, "database", DatabaseUnavailable)

    async def run(self, work: Callable[..., T], *args: object, deadline: timedelta = LOOKUP_DEADLINE) -> T:
        """Call `work` with these arguments in a thread, as `Threads.call` does. Raises DatabaseUnavailable."""
        return await self.call(partial(work, *args), deadline)


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
    """Say what a database error means for us: come again, no retry will help, or the operator must act."""
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
