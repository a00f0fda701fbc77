"""DuckDB as Weir uses it: in memory, offline, bounded in memory and disk, and never longer than a deadline."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa

from analytics.events import Batches
from analytics.room import ROOM
from shared.errors import WeirError

#: Over this it spills to disk, in a folder that is removed afterwards; over both the job fails.
MEMORY, SPILLED = "192MB", "8GB"
THREADS = 2
_BEYOND = f"what is beyond {MEMORY} of memory"

#: Between two interrupts.
_AGAIN_SECONDS = 0.1

_SETTINGS: dict[str, Any] = {
    "memory_limit": MEMORY,
    "threads": THREADS,
    "preserve_insertion_order": False,
    # What is not built in is not fetched, and there is no file that a query would have to read.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}


class Duck:
    """One database in memory for one job.

    Queries run in a thread: a signal that ends a job is raised where its worker waits, and DuckDB would swallow it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, thread: ThreadPoolExecutor, deadline: timedelta) -> None:
        self._connection = connection
        self._thread = thread
        self._end = time.monotonic() + deadline.total_seconds()
        self._fault: Exception | None = None

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed: no query will run any more."""
        return time.monotonic() >= self._end

    def run(self, query: str, parameters: Sequence[object] = (), events: Batches | None = None) -> list[Any]:
        """Run a query, in which `events` stands for the batches, and return its rows.

        Raises:
            WeirError: it took too long or too much memory; or what the batches come from raised it.
        """
        self._fault = None
        running = self._thread.submit(self._run, query, parameters, events)
        try:
            wait([running], max(self._end - time.monotonic(), 0))
        finally:
            was_late = not running.done()
            # It may just be about to begin, and would not notice the first one.
            while not running.done():
                self._connection.interrupt()
                wait([running], _AGAIN_SECONDS)
        if was_late:
            raise WeirError("it took longer than a job may")
        try:
            return running.result()
        finally:
            del running  # its error leads back here: they would keep each other alive

    def _run(self, query: str, parameters: Sequence[object], events: Batches | None) -> list[Any]:
        try:
            if events is not None:
                reader = pa.RecordBatchReader.from_batches(events.schema, self._watched(events.batches))
                self._connection.register("events", reader)
            return self._connection.execute(query, list(parameters)).fetchall()
        except duckdb.Error as error:
            raise self._meaning(error) from error
        finally:
            self._connection.unregister("events")

    def _watched(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """DuckDB makes an error of its own of one of the batches': remember what it was."""
        try:
            yield from batches
        except Exception as error:
            self._fault = error
            raise

    def _meaning(self, error: duckdb.Error) -> Exception:
        if self._fault is not None:
            return self._fault
        if isinstance(error, duckdb.OutOfMemoryException):
            return WeirError(f"it takes more than {MEMORY} of memory and {SPILLED} of disk; ask for fewer days")
        if isinstance(error, duckdb.IOException):  # it has no other files than those it spills to
            return ROOM.refused(_BEYOND, _reason(error))
        return error


@contextmanager
def session(deadline: timedelta) -> Iterator[Duck]:
    """Open a database whose queries end at the deadline. Raises WeirError: there is no folder to be had for it."""
    with (
        _folder() as folder,
        duckdb.connect(":memory:", config=_SETTINGS | {"temp_directory": folder}) as connection,
        ThreadPoolExecutor(1, "duckdb") as thread,
    ):
        # Among what a database begins with it is shown, and not kept to.
        connection.execute(f"SET max_temp_directory_size = '{SPILLED}'")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield Duck(connection, thread, deadline)


def _folder() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix="weir-")
    except OSError as error:
        raise ROOM.refused(_BEYOND, error.strerror or type(error).__name__) from error


def _reason(error: duckdb.IOException) -> str:
    """What the system said, which comes last; before it there is a path."""
    return str(error).rpartition(": ")[2].rstrip()
