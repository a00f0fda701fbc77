"""A cold tier for tests: hot rows and files of one Weir, read as one."""

import random
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from factories import Weir

from shared.cold import hot, manifest
from shared.cold.hot import Source
from shared.cold.sealing import Sealed, seal
from shared.cold.store import MARK, Store
from shared.database import connect
from shared.streams import READINGS

DAY = date(2026, 1, 31)
MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)
COLUMNS = ("device_key", "time", "x", "y", "z")

Row = tuple[Any, ...]


class ColdTier:
    def __init__(self, weir: Weir) -> None:
        self.weir = weir
        settings = weir.settings()
        self.folder = Path(settings.cold_url)
        self.engine = connect(settings.database_url, pool_size=3, statement_deadline=timedelta(seconds=30))
        self.store = Store(settings.cold_url)

    def insert(self, rows: Iterable[Row]) -> None:
        with self.weir.connection() as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO readings VALUES (%s, %s, %s, %s, %s)", list(rows))

    def sources(self, before: date = DAY + timedelta(days=1)) -> list[Source]:
        with self.engine.connect() as connection:
            return hot.sources(connection, READINGS, before)

    def seal(self, step: Callable[[str], None] = lambda _: None) -> list[Sealed]:
        return [seal(self.engine, self.store, source, step) for source in self.sources()]

    def file(self) -> manifest.ColdFile:
        (found,) = self.files()
        return found

    def files(self) -> list[manifest.ColdFile]:
        with manifest.snapshot(self.engine) as connection:
            return manifest.files(connection, "readings")

    def all(self) -> list[Row]:
        """Hot and cold as one moment, sorted."""
        with manifest.snapshot(self.engine) as connection:
            files = manifest.files(connection, "readings")
            rows = [tuple(one) for one in connection.exec_driver_sql("SELECT device_key, time, x, y, z FROM readings")]
        for file in files:
            rows += zip(*self.store.read(file, COLUMNS).to_pydict().values(), strict=True)
        return sorted(rows)

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
