"""What a job has seen, so that it can be told later whether an answer would still be the same.

Records are only ever inserted, moved from hot to cold, or dropped when they were kept long enough. Whatever drops them
forgets the answers (`shared.asking.forget`), so it is enough to look for what was inserted.
"""

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from shared import ledger
from shared.cold import manifest
from shared.database import CANCELLED, sqlstate
from shared.scope import Scope

#: Longest that counting may take before a question is rather answered anew.
COUNTING = timedelta(milliseconds=300)

#: A job's version as it stands in its row: `stream` and `devices` when it is asked for, `stored` when it starts, and,
#: once it has read them, `hot` and `cold`.
Version = dict[str, Any]


def when_asked(scope: Scope) -> Version:
    """Say whose records a job will see."""
    return {"stream": scope.stream.name, "devices": _digest(scope.device_keys)}


def at_least(connection: Connection, asked: Version) -> Version:
    """Say what a job that is about to start will see at least."""
    return {**asked, "stored": ledger.stored(connection, asked["stream"])}


def at_start(connection: Connection, scope: Scope) -> Version:
    """Say what a snapshot holds, as far as that can be told at once."""
    return at_least(connection, when_asked(scope))


def read(hot_rows: int, files: Iterable[str]) -> Version:
    """Say what a job has read, to be added to what it saw at its start."""
    return {"hot": hot_rows, "cold": sorted(set(files))}


def is_of(seen: Version, scope: Scope) -> bool:
    """Whether a job sees a scope's devices."""
    return bool(seen["devices"] == _digest(scope.device_keys))


def still_holds(connection: Connection, seen: Version, scope: Scope) -> Version | None:
    """Look whether a scope holds the very records that a job has seen, or will see as it runs.

    Either nothing at all was stored since, or the same files count and there are as many hot records as then. Returns
    what was seen, brought up to this moment; None where it is something else, or cannot be told in time.
    """
    if "stored" not in seen or not is_of(seen, scope):
        return None
    stored = ledger.stored(connection, scope.stream.name)
    if seen["stored"] == stored:
        return seen
    # The files before and after the count: what is sealed meanwhile would be missing from it.
    holds = (
        "hot" in seen
        and seen["cold"] == _files(connection, scope)
        and seen["hot"] == _count(connection, scope)
        and seen["cold"] == _files(connection, scope)
    )
    return {**seen, "stored": stored} if holds else None


def _files(connection: Connection, scope: Scope) -> list[str]:
    found = manifest.files(connection, scope.stream.name, scope.start, scope.end, scope.device_keys)
    return sorted(str(file.id) for file in found)


def _count(connection: Connection, scope: Scope) -> int | None:
    """Count the hot records, from an index where there is one; None when it takes too long."""
    conditions, parameters = scope.conditions()
    query = f"SELECT count(*) FROM {scope.stream.table} WHERE {conditions}"  # noqa: S608
    try:
        with connection.begin_nested():
            connection.execute(text(f"SET LOCAL statement_timeout = {COUNTING // timedelta(milliseconds=1)}"))
            found = int(connection.exec_driver_sql(query, parameters).scalar_one())
            connection.execute(text("SET LOCAL statement_timeout TO DEFAULT"))
    except DBAPIError as error:
        if sqlstate(error.orig) == CANCELLED:
            return None
        raise
    return found


def _digest(keys: Iterable[int] | None) -> str | None:
    return None if keys is None else hashlib.sha256(",".join(map(str, sorted(keys))).encode()).hexdigest()
