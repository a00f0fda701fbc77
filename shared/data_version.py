"""What a job has seen, so that it can be told later whether an answer would still be the same.

Readings are only ever inserted, moved from hot to cold, or dropped when they were kept long enough. Whatever drops them
forgets the answers (`shared.asking.forget`), so it is enough to look for what was inserted.
"""

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from shared.cold import manifest
from shared.database import CANCELLED, sqlstate
from shared.scope import Scope
from shared.streams import READINGS

#: Longest that counting may take before a question is rather answered anew.
COUNTING = timedelta(milliseconds=300)

#: What is stored counts in the transaction that writes it.
_STORED = text("SELECT coalesce(sum(stored), 0)::bigint FROM ledger WHERE stream = :stream")

#: A job's version as it stands in its row: `devices` when it is asked for, `stored` when it starts, and, once it has
#: read them, `hot` and `cold`.
Version = dict[str, Any]


def when_asked(scope: Scope) -> Version:
    """Say whose readings a job will see."""
    return {"devices": _digest(scope.device_keys)}


def at_least(connection: Connection, asked: Version | None) -> Version:
    """Say what a job that is about to start will see at least."""
    return {**(asked or {}), "stored": _stored(connection)}


def at_start(connection: Connection, scope: Scope) -> Version:
    """Say what a snapshot holds, as far as that can be told at once."""
    return at_least(connection, when_asked(scope))


def read(hot_rows: int, files: Iterable[str]) -> Version:
    """Say what a job has read, to be added to what it saw at its start."""
    return {"hot": hot_rows, "cold": sorted(files)}


def still_holds(connection: Connection, seen: Version, scope: Scope) -> bool:
    """Whether a scope holds the very readings that a job has seen there; False where that cannot be told in time.

    Either nothing at all was stored since, or the same files count and there are as many hot readings as then. When
    counting takes too long, the transaction is of no more use.
    """
    if "devices" not in seen or seen["devices"] != _digest(scope.device_keys):
        return False
    if seen.get("stored") == _stored(connection):
        return True
    if "hot" not in seen or seen["cold"] != _files(connection, scope):
        return False
    return bool(seen["hot"] == _count(connection, scope))


def _stored(connection: Connection) -> int:
    return int(connection.execute(_STORED, {"stream": READINGS.name}).scalar_one())


def _files(connection: Connection, scope: Scope) -> list[str]:
    found = manifest.files(connection, READINGS.name, scope.start, scope.end, scope.device_keys)
    return sorted(str(file.id) for file in found)


def _count(connection: Connection, scope: Scope) -> int | None:
    """Count the hot readings, from an index where there is one; None when it takes too long."""
    conditions, parameters = scope.conditions()
    connection.execute(text(f"SET LOCAL statement_timeout = {COUNTING // timedelta(milliseconds=1)}"))
    try:
        found = connection.exec_driver_sql(f"SELECT count(*) FROM {READINGS.table} WHERE {conditions}", parameters)  # noqa: S608
    except DBAPIError as error:
        if sqlstate(error.orig) == CANCELLED:
            return None
        raise
    return int(found.scalar_one())


def _digest(keys: Iterable[int] | None) -> str | None:
    return None if keys is None else hashlib.sha256(",".join(map(str, sorted(keys))).encode()).hexdigest()
