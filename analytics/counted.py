"""How many users a sealed day had: counted once, and kept for as long as its file is what was sealed of that day.

Not kept is how many were in a segment: a day of 33,000 events is counted in 8 ms, and there are as many segments as askers
can think of.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Self

import pyarrow as pa
from sqlalchemy import Connection, Engine, text

from analytics.duck import Duck, session
from analytics.events import Batches
from shared.cold import manifest
from shared.cold.manifest import ColdFile
from shared.cold.store import Store
from shared.cold.upkeep import Ends, Failed, attempt
from shared.database import translated
from shared.streams import EVENTS

_COUNTED = text("SELECT file, users FROM cold_users WHERE file = ANY(:files)")
#: Days of which events are hot, too; days that are not sealed lie mostly outside and are not looked at.
_HOT_DAYS = text("""
    SELECT DISTINCT (time AT TIME ZONE 'UTC')::date FROM events
    WHERE time >= CAST(:first AS date)::timestamp AT TIME ZONE 'UTC'
      AND time < (CAST(:last AS date) + 1)::timestamp AT TIME ZONE 'UTC'
""")
#: A file that another took the place of meanwhile is passed over; one that is there stays until this is written.
_KEEP = text("""
    INSERT INTO cold_users (file, users)
    SELECT id, :users FROM cold_files WHERE id = :file FOR KEY SHARE
    ON CONFLICT (file) DO NOTHING
""")


@dataclass(frozen=True)
class SealedUsers:
    """What is known of sealed days without reading their files: for questions about whole days of UTC, and all events."""

    #: Distinct users of each day that was counted.
    users: dict[date, int] = field(default_factory=dict)
    #: Files that hold all events of their days, and were not counted.
    uncounted: Sequence[ColdFile] = ()

    @classmethod
    def of(cls, connection: Connection, files: Sequence[ColdFile]) -> Self:
        """Look it up in the snapshot of which these are the files."""
        counted = connection.execute(_COUNTED, {"files": [file.id for file in files]})
        users = {row.file: row.users for row in counted}
        late = _hot_days(connection, files)
        whole = [file for file in files if file.day not in late]
        return cls(
            {file.day: users[file.id] for file in whole if file.id in users},
            [file for file in whole if file.id not in users],
        )

    def keep(self, engine: Engine, users: Mapping[date, int]) -> None:
        """Keep what was counted now. Raises DatabaseUnavailable."""
        rows = [{"file": file.id, "users": users[file.day]} for file in self.uncounted]
        if rows:
            with translated(), engine.begin() as connection:
                connection.execute(_KEEP, rows)


def _hot_days(connection: Connection, files: Sequence[ColdFile]) -> set[date]:
    if not files:
        return set()
    days = [file.day for file in files]
    return set(connection.execute(_HOT_DAYS, {"first": min(days), "last": max(days)}).scalars())


def count_all(
    engine: Engine,
    store: Store,
    begin_within: timedelta,
    told: Callable[[Failed], None] = lambda _: None,
    ends: Ends = (),
) -> int:
    """Count every sealed day that nobody has asked for yet, so that nobody has to wait for it; return how many.

    A file that cannot be read, or has more users than there is room for, does not keep the next from being counted, unless
    the store is away.

    Raises what `ends`, and the database's errors.
    """
    with translated(), engine.connect() as connection:
        known = set(connection.execute(text("SELECT file FROM cold_users")).scalars())
        files = [file for file in manifest.files(connection, EVENTS.name) if file.id not in known]
    if not files:
        return 0
    with ExitStack() as stack:
        duck, _ = attempt(lambda: stack.enter_context(session(begin_within)), EVENTS, files[0].day, ends)
        if isinstance(duck, Failed):
            told(duck)
            return 0
        return _count(engine, store, duck, files, told, ends)


def _count(
    engine: Engine, store: Store, duck: Duck, files: Sequence[ColdFile], told: Callable[[Failed], None], ends: Ends
) -> int:
    done = 0
    for file in files:
        failed, away = attempt(partial(_count_one, engine, store, duck, file), EVENTS, file.day, ends)
        if failed is None:
            done += 1
            continue
        told(failed)
        if away or duck.is_over:
            break
    return done


def _count_one(engine: Engine, store: Store, duck: Duck, file: ColdFile) -> None:
    ((users,),) = duck.run("SELECT count(DISTINCT user_id) FROM events", events=_users(store, file))
    SealedUsers(uncounted=[file]).keep(engine, {file.day: users})


def _users(store: Store, file: ColdFile) -> Batches:
    column = pa.schema([("user_id", pa.string())])
    return Batches(
        column, (batch for table in store.pieces(file, column.names) for batch in table.cast(column).to_batches())
    )
