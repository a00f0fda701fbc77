"""Readings put straight into the table, and days sealed when a test wants them to be."""

import csv
import io
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from factories import Weir
from sqlalchemy import Engine

from shared.cold import hot
from shared.cold.sealing import seal
from shared.cold.store import Store
from shared.database import connect
from shared.streams import STREAMS


class Row(NamedTuple):
    """A reading as the table has it."""

    key: int
    time: datetime
    x: float
    y: float
    z: float


def insert(weir: Weir, rows: Iterable[Row]) -> None:
    lines = io.StringIO()
    csv.writer(lines).writerows((row.key, row.time.isoformat(), *map(repr, row[2:])) for row in rows)
    lines.seek(0)
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.copy_expert("COPY readings FROM STDIN (FORMAT csv)", lines)


def key_of(weir: Weir, device: UUID) -> int:
    return int(weir.scalar("SELECT key FROM devices WHERE id = %s", str(device)))


@contextmanager
def engine_of(weir: Weir) -> Iterator[Engine]:
    engine = connect(weir.settings().database_url, pool_size=4, statement_deadline=timedelta(seconds=30))
    try:
        yield engine
    finally:
        engine.dispose()


def seal_days(weir: Weir, days: Iterable[date]) -> None:
    """Seal what is hot of these days."""
    store, wanted = Store(weir.settings().cold_url), set(days)
    with engine_of(weir) as engine:
        with engine.connect() as connection:
            before = datetime.now(UTC).date() + timedelta(days=2)
            sources = [source for stream in STREAMS for source in hot.sources(connection, stream, before)]
        for source in sources:
            if source.day in wanted:
                seal(engine, store, source)


def scattered(chance: random.Random, keys: list[int], day: date, count: int, *, moments: int) -> list[Row]:
    """Readings of a day, many of which are of one time and some of which are the same."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = [start + timedelta(microseconds=chance.randrange(86_400_000_000)) for _ in range(moments)]
    return [
        Row(chance.choice(keys), chance.choice(times), chance.choice([0.0, 1.5]), chance.gauss(0, 1), 2.0)
        if chance.random() < 0.7
        else Row(keys[0], times[0], 1.0, 1.0, chance.choice([1.0, 5e-324]))
        for _ in range(count)
    ]


def shown(rows: Iterable[dict[str, Any]], keys: dict[str, int]) -> list[Row]:
    """Readings of an answer as the table has them."""
    return [
        Row(keys[row["device_id"]], datetime.fromisoformat(row["timestamp"]), row["x"], row["y"], row["z"])
        for row in rows
    ]
