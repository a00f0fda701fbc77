"""A cold tier for tests: hot rows and files of one stream of one Weir, read as one."""

import json
import random
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from factories import Weir

from shared.cold import hot, manifest
from shared.cold.hot import Source
from shared.cold.sealing import Sealed, seal
from shared.cold.store import MARK, Store
from shared.database import connect
from shared.streams import EVENTS, READINGS, Stream

DAY = date(2026, 1, 31)
MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)
COLUMNS = ("device_key", "time", "x", "y", "z")

Row = tuple[Any, ...]


class ColdTier:
    def __init__(self, weir: Weir, stream: Stream = READINGS) -> None:
        self.weir = weir
        self.stream = stream
        settings = weir.settings()
        self.folder = Path(settings.cold_url)
        self.engine = connect(settings.database_url, pool_size=3, statement_deadline=timedelta(seconds=30))
        self.store = Store(settings.cold_url)

    def insert(self, rows: Iterable[Row]) -> None:
        with self.weir.connection() as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {self.stream.table} VALUES (%s, %s, %s, %s, %s)", list(rows))

    def sources(self, before: date = DAY + timedelta(days=1)) -> list[Source]:
        with self.engine.connect() as connection:
            return hot.sources(connection, self.stream, before)

    def seal(self, step: Callable[[str], None] = lambda _: None) -> list[Sealed]:
        return [seal(self.engine, self.store, source, step) for source in self.sources()]

    def file(self) -> manifest.ColdFile:
        (found,) = self.files()
        return found

    def files(self) -> list[manifest.ColdFile]:
        with manifest.snapshot(self.engine) as connection:
            return manifest.files(connection, self.stream.name)

    def all(self) -> list[Row]:
        """Hot and cold as one moment, sorted."""
        with manifest.snapshot(self.engine) as connection:
            files = manifest.files(connection, self.stream.name)
            columns = ", ".join(self.stream.columns)
            rows = [tuple(one) for one in connection.exec_driver_sql(f"SELECT {columns} FROM {self.stream.table}")]
        for file in files:
            rows += zip(*self.store.read(file, self.stream.columns).to_pydict().values(), strict=True)
        return sorted(map(event, rows) if self.stream is EVENTS else rows)

    def on_disk(self) -> set[str]:
        """Paths of all that is in the folder, whatever its name; but for its mark."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()} - {MARK}


def readings(number: int, seed: int, devices: int = 3, day: datetime = MIDNIGHT) -> list[Row]:
    """Readings of one day, of any size a float can have."""
    chance = random.Random(seed)
    return [
        (
            chance.randint(1, devices),
            day + timedelta(microseconds=chance.randrange(86_400_000_000)),
            *(chance.choice([chance.gauss(0, 1), chance.uniform(-1e300, 1e300), -0.0, 5e-324]) for _ in "xyz"),
        )
        for _ in range(number)
    ]


def event(row: Row) -> Row:
    """An event as it compares with others, wherever it comes from: its id and properties as texts."""
    event_id, time, user_id, event_type, properties = row
    found = json.loads(properties) if isinstance(properties, str) else properties
    return str(event_id), time, user_id, event_type, json.dumps(found, sort_keys=True)


def events(number: int, seed: int, day: datetime = MIDNIGHT) -> list[Row]:
    """Events of one day, of ten users."""
    chance = random.Random(f"events {seed}")
    return [
        event(
            (
                UUID(int=chance.getrandbits(128)),
                day + timedelta(microseconds=chance.randrange(86_400_000_000)),
                f"user {chance.randint(1, 10)}",
                chance.choice(["view", "purchase"]),
                {"price": chance.choice([1, 2.5, None])},
            )
        )
        for _ in range(number)
    ]
