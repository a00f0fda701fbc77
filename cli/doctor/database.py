"""Checks of the database: schema, clock, partitions, disk, receipts."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from cli.doctor.checks import Check, attempted, fail, ok, warn
from shared.database import translated
from shared.errors import Misconfigured
from shared.migrations import head
from shared.streams import STREAMS

_REACH = "see that WEIR_DATABASE_URL is right and the database is up"
#: The Date header has whole seconds.
CLOCK_OK, CLOCK_WRONG = timedelta(seconds=2), timedelta(minutes=1)
#: Free disk under which to worry, and under which to act.
FREE_SHARE, FREE_BYTES = 0.1, 1_000_000_000
_FORGOTTEN_LATE = timedelta(days=1)


class Database:
    """Looks at one database."""

    def __init__(self, engine: Engine, partitions_ahead: int, receipt_retention: timedelta) -> None:
        self._engine = engine
        self._ahead = partitions_ahead
        self._retention = receipt_retention

    def checks(self, api_clock: Callable[[], datetime]) -> list[Check]:
        looks = {
            "schema": self._schema,
            "clock": lambda: self._clock(api_clock),
            "partitions": self._partitions,
            "default partition": self._default_partition,
            "receipts": self._receipts,
            "open dead letters": self._dead_letters,
            "emails": self._emails,
            "database disk": self._disk,
        }
        return [attempted(name, look, _REACH) for name, look in looks.items()]

    def _schema(self) -> Check:
        newest, there = head(), self._scalar("SELECT version_num FROM alembic_version")
        if there != newest:
            return fail("schema", f"at revision {there}, this Weir needs {newest}", "run `weir migrate`")
        return ok("schema", f"at revision {there}, the newest")

    def _dead_letters(self) -> Check:
        query = "SELECT stream, count(*) FROM dead_letters WHERE state IN ('open', 'replaying') GROUP BY stream ORDER BY stream"
        with translated(), self._engine.connect() as connection:
            counts = [f"{count:,} of {stream}" for stream, count in connection.execute(text(query))]
        if counts:
            advice = "`weir dead-letters list` says why; edit and replay them, or discard them with a reason"
            return warn("open dead letters", ", ".join(counts), advice)
        return ok("open dead letters", "none")

    def _emails(self) -> Check:
        query = "SELECT id, email FROM users WHERE email_key IS NULL ORDER BY id LIMIT 20"
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(text(query)).all()
        if rows:
            users = ", ".join(f"{email} (user {user})" for user, email in rows)
            advice = "they stay as they are; merge their devices, or give one of each two another email"
            return warn("emails", f"somebody before had the same email in another case: {users}", advice)
        return ok("emails", "no two users have the same")

    def _clock(self, api_clock: Callable[[], datetime]) -> Check:
        theirs = api_clock()
        ours: datetime = self._scalar("SELECT now()")
        apart = abs(ours - theirs)
        found = f"API and database are {apart.total_seconds():.0f} s apart"
        advice = "have both hosts keep their time by NTP: the API's clock stamps readings and receipts"
        if apart >= CLOCK_WRONG:
            return fail("clock", found, advice)
        return warn("clock", found, advice) if apart > CLOCK_OK else ok("clock", found)

    def _partitions(self) -> Check:
        today = datetime.now(UTC).date()
        for stream in STREAMS:
            days = [
                days
                for days in range(self._ahead + 1)
                if self._scalar(
                    "SELECT to_regclass(:name)", name=f"{stream.table}_{today + timedelta(days=days):%Y%m%d}"
                )
                is None
            ]
            if not days:
                continue
            first = today + timedelta(days=days[0])
            found = f"{stream.table} has no partition from {first} on"
            advice = "start the consumer, which makes them every hour; its log says `partitions wait` when it cannot"
            # The last one of a new day may be an hour late.
            if days[0] < min(2, self._ahead):
                return fail("partitions", found, advice)
            if days[0] < self._ahead:
                return warn("partitions", found, advice)
        return ok("partitions", f"made {self._ahead} days ahead")

    def _default_partition(self) -> Check:
        for stream in STREAMS:
            if self._scalar(f"SELECT EXISTS (SELECT FROM {stream.table}_default)"):  # noqa: S608 - a name of our own
                found = f"{stream.table}_default holds records of days that have no partition"
                return warn(
                    "default partition", found, "old ones are sealed within a day; others: is a device's clock wrong?"
                )
        return ok("default partition", "empty")

    def _receipts(self) -> Check:
        for stream in STREAMS:
            # Those of replays stay as long as their letters.
            oldest: datetime | None = self._scalar(
                "SELECT min(at) FROM receipts WHERE stream = :stream"
                " AND NOT EXISTS (SELECT FROM dead_letters WHERE replay = receipts.id)",
                stream=stream.name,
            )
            newest: datetime | None = self._scalar(
                "SELECT max(at) FROM receipts WHERE stream = :stream", stream=stream.name
            )
            if oldest and newest and newest - oldest > self._retention + _FORGOTTEN_LATE:
                found = f"the oldest of {stream.name} is of {oldest:%Y-%m-%d}, and should be gone"
                return warn("receipts", found, "the consumer forgets them every hour: see its log")
        return ok("receipts", "none is older than it should be")

    def _disk(self) -> Check:
        """PostgreSQL does not tell: it is looked at from here when it is here."""
        elsewhere = warn("database disk", "not checked: it is on another machine", "watch the free disk there")
        if self._engine.url.host not in {"127.0.0.1", "localhost", "::1", None}:
            return elsewhere
        try:
            folder = Path(self._scalar("SHOW data_directory"))
        except Misconfigured:
            return warn("database disk", "not checked: the user may not ask where it is", "grant pg_read_all_settings")
        try:
            disk = shutil.disk_usage(folder)
        except OSError:
            return elsewhere
        found = f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB free"
        if disk.free < FREE_BYTES:
            return fail("database disk", found, "free some: when it is full, everything waits")
        if disk.free < FREE_SHARE * disk.total:
            return warn("database disk", found, "free some before it is full")
        return ok("database disk", found)

    def _scalar(self, query: str, **parameters: Any) -> Any:
        with translated(), self._engine.connect() as connection:
            return connection.execute(text(query), parameters).scalar()
