"""The moment a day becomes cold: one transaction, after which its rows are in a file and no longer in PostgreSQL."""

import io
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from shared import asking
from shared.cold import hot, ordered_manifest
from shared.cold.contents import DeviceRows
from shared.cold.hot import Source
from shared.cold.manifest import ColdFile
from shared.database import CANCELLED, sqlstate, translated
from shared.errors import DatabaseUnavailable

#: Longest that writers may queue behind a lock that the switch waits for. Shorter than PostgreSQL's deadlock_timeout,
#: so that nobody who waits for us is ever the one to be cancelled.
PATIENCE = timedelta(milliseconds=100)

#: Longest that writers of a day wait while its rows are counted: 50 million. The consumer waits much longer.
_COUNTED_WITHIN = timedelta(seconds=5)
#: The file is written already; another time it would be written again.
_TRIED_FOR = timedelta(minutes=3)

_PATIENTLY = text(f"SET LOCAL lock_timeout = {int(PATIENCE.total_seconds() * 1000)}")
_FILE = text("""
    INSERT INTO cold_files (id, stream, day, path, rows, first, last, bytes, sha256, footer_sha256)
    VALUES (:id, :stream, :day, :path, :rows, :first, :last, :bytes, :sha256, :footer_sha256)
""")
_WAITED_FOR = text("""
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE relation = to_regclass(:table) AND NOT granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
""")


class InTheWay(DatabaseUnavailable):
    """Somebody else changed what was to be switched, or is about to: nothing was done."""


@retry(
    # By the type alone: what is InTheWay does not go away by waiting.
    retry=retry_if_exception(lambda error: type(error) is DatabaseUnavailable),
    stop=stop_after_delay(_TRIED_FOR),
    wait=wait_random(0.5, 2),
    reraise=True,
)
def patiently(switch: Callable[[Connection], None], engine: Engine) -> None:
    """Do it in a transaction, again and again until nobody is in the way, for some minutes. Raises WeirError."""
    with translated(), engine.begin() as connection:
        switch(connection)


def note(engine: Engine, path: str) -> None:
    """Write down that a file may come to be there. Raises WeirError."""
    with translated(), engine.begin() as connection:
        connection.execute(text("INSERT INTO cold_leftovers (path, was_live) VALUES (:path, false)"), {"path": path})


def enter(
    connection: Connection, file: ColdFile, devices: Mapping[int, DeviceRows], older: ColdFile | None = None
) -> None:
    """Make a file live, in the place of an older one. Raises InTheWay."""
    if older is not None:
        retire(connection, older)
    claim(connection, file.path)
    connection.execute(_FILE, file._asdict())
    cursor: Any = connection.connection.cursor()
    cursor.copy_expert("COPY cold_summaries FROM STDIN", io.StringIO("".join(_lines(file, devices))))


def claim(connection: Connection, path: str) -> None:
    """Take a file that was noted, and is to count now. Raises InTheWay."""
    if connection.execute(text("DELETE FROM cold_leftovers WHERE path = :path"), {"path": path}).rowcount != 1:
        raise InTheWay("the file was removed as a leftover")


def retire(connection: Connection, file: ColdFile) -> None:
    """Take a file out of the manifest; it stays on disk for whoever still reads it. Raises InTheWay."""
    ordered_manifest.retire(connection, file.id)
    if connection.execute(text("DELETE FROM cold_files WHERE id = :id"), {"id": file.id}).rowcount != 1:
        raise InTheWay("the day has another file by now")
    connection.execute(text("INSERT INTO cold_leftovers (path, was_live) VALUES (:path, true)"), {"path": file.path})


def drop_partition(connection: Connection, source: Source, rows: int) -> None:
    """Drop a day's partition if it still has so many rows; the last statements of their transaction.

    Writers of that day wait while its rows are counted, which is given up after five seconds; then readers of hot and cold,
    and at last writers of other days, for as long as a catalogue takes to change. Raises DatabaseUnavailable when somebody
    is in the way.
    """
    table = source.table
    connection.execute(_PATIENTLY)
    connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
    if _counted(connection, source) != rows:
        raise InTheWay("records came while the day was written")
    connection.execute(text("LOCK TABLE cold_files IN ACCESS EXCLUSIVE MODE"))
    # Who waits here has the parent in hand, which is what comes next; and records for this day besides.
    if connection.execute(_WAITED_FOR, {"table": table}).scalar_one():
        raise InTheWay("records are coming for the day")
    _drop(connection, source)


def _counted(connection: Connection, source: Source) -> int:
    connection.execute(text(f"SET LOCAL statement_timeout = {int(_COUNTED_WITHIN.total_seconds() * 1000)}"))
    try:
        rows = hot.rows_in(connection, source)
    except DBAPIError as error:
        if sqlstate(error.orig) == CANCELLED:
            raise InTheWay("its rows could not be counted while writers wait") from error
        raise
    connection.execute(text("SET LOCAL statement_timeout TO DEFAULT"))
    return rows


def forget_answers(connection: Connection) -> None:
    """Have no answer given again to which records belong that go with this transaction.

    Nobody reads hot and cold until it ends: an answer of before, written down only after this, would be given for ever.
    Raises DatabaseUnavailable when somebody reads.
    """
    connection.execute(_PATIENTLY)
    connection.execute(text("LOCK TABLE cold_files IN ACCESS EXCLUSIVE MODE"))
    asking.forget(connection)


def drop_unread(connection: Connection, source: Source) -> None:
    """Drop a day's partition with all that is in it. Raises DatabaseUnavailable when somebody is in the way."""
    connection.execute(_PATIENTLY)
    connection.execute(text("LOCK TABLE cold_files IN ACCESS EXCLUSIVE MODE"))
    _drop(connection, source)


def _drop(connection: Connection, source: Source) -> None:
    parent = source.stream.table
    connection.execute(text(f"LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE"))
    # DROP needs these, too. Now only a VACUUM can have one of them: all writers would wait with us for its end.
    connection.execute(text(f"LOCK TABLE {source.table}, {parent}_default IN ACCESS EXCLUSIVE MODE NOWAIT"))
    connection.execute(text(f"DROP TABLE {source.table}"))


def delete_rows(connection: Connection, source: Source, rows: int) -> None:
    """Delete a day's rows, by the snapshot that wrote them. Raises DatabaseUnavailable."""
    deleted = connection.execute(text(f"DELETE FROM {source.table} WHERE {source.inside}"))  # noqa: S608
    if deleted.rowcount != rows:
        raise InTheWay("records of the day went elsewhere")


def _lines(file: ColdFile, devices: Mapping[int, DeviceRows]) -> list[str]:
    """The summaries in the text format of COPY."""
    return [
        f"{file.id}\t{key}\t{one.first_row}\t{one.rows}\t{one.first.isoformat()}\t{one.last.isoformat()}"
        f"\t{_array(one.min)}\t{_array(one.max)}\t{_sums(one.sum)}\n"
        for key, one in devices.items()
    ]


def _array(values: tuple[float, ...]) -> str:
    return "{" + ",".join(map(repr, values)) + "}"


def _sums(sums: tuple[tuple[float, ...], ...]) -> str:
    """A rectangle: PostgreSQL has no other arrays of arrays."""
    width = max(1, *map(len, sums))
    return "{" + ",".join(_array(one + (0.0,) * (width - len(one))) for one in sums) + "}"
