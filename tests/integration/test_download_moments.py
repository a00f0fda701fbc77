"""A download holds each reading that was stored when it began exactly once, whatever is sealed while it runs."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from factories import Weir, partition
from sealed import Row, engine_of, insert, scattered, seal_days

from api.export import cold, hot, readings
from api.window import Window
from shared.cold.store import Store

FIRST_DAY = date(2025, 5, 1)
DAYS = [FIRST_DAY + timedelta(days=number) for number in range(4)]
KEYS = [1, 2, 3, 4]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound so small that a few hundred rows reach it."""
    monkeypatch.setattr(hot, "PAGE", 50)
    for module in (hot, cold, readings):
        monkeypatch.setattr(module, "BATCH", 20)


@pytest.fixture
def devices(weir: Weir) -> None:
    weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    weir.rows("INSERT INTO devices (id, user_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 4)")


def downloaded(batches: Iterator[pa.RecordBatch], weir: Weir) -> list[Row]:
    keys = dict(weir.rows("SELECT id::text, key FROM devices"))
    rows = (row for batch in batches for row in batch.to_pylist())
    return [Row(keys[row["device_id"]], row["timestamp"], row["x"], row["y"], row["z"]) for row in rows]


def order(row: Row) -> tuple[object, ...]:
    return (row.time.date(), row.key, row.time)


@pytest.mark.usefixtures("few", "devices")
@pytest.mark.parametrize("seed", range(12))
def test_seal_in_the_middle_loses_nothing_and_doubles_nothing(weir: Weir, seed: int) -> None:
    chance = random.Random(seed)
    for day in chance.sample(DAYS, 2):
        partition(weir, "readings", day)
    rows = [row for day in DAYS for row in scattered(chance, KEYS, day, 300, moments=chance.choice([2, 100]))]
    insert(weir, rows)
    keys = chance.choice([None, [2], [1, 3]])
    if seed % 2:
        seal_days(weir, chance.sample(DAYS, 2))
        late = scattered(chance, KEYS, DAYS[0], 200, moments=50)
        insert(weir, late)
        rows += late
    with engine_of(weir) as engine:
        batches = readings.batches(engine, Store(weir.settings().cold_url), keys, Window(None, None))

        def disturbed() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                yield batch
                if chance.random() < 0.1:
                    seal_days(weir, chance.sample(DAYS, 1))

        found = downloaded(disturbed(), weir)
    wanted = [row for row in rows if keys is None or row.key in keys]
    assert [order(row) for row in found] == sorted(map(order, wanted))
    assert sorted(found) == sorted(wanted)


@pytest.mark.usefixtures("few", "devices")
def test_no_transaction_is_open_between_two_batches(weir: Weir) -> None:
    insert(weir, scattered(random.Random(1), KEYS, FIRST_DAY, 300, moments=20))
    with engine_of(weir) as engine:
        batches = readings.batches(engine, Store(weir.settings().cold_url), None, Window(None, None))
        for _ in range(3):
            next(batches)
            assert weir.scalar("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == 0
        batches.close()


@pytest.mark.usefixtures("few", "devices")
def test_window_begins_and_ends_within_a_day(weir: Weir) -> None:
    start = datetime(2025, 5, 2, 12, tzinfo=UTC)
    rows = [Row(1 + number % 2, start + timedelta(hours=number), float(number), 0.0, 0.0) for number in range(60)]
    insert(weir, rows)
    seal_days(weir, [DAYS[1]])
    window = Window(start + timedelta(hours=5), start + timedelta(hours=50))
    with engine_of(weir) as engine:
        found = downloaded(readings.batches(engine, Store(weir.settings().cold_url), None, window), weir)
    assert sorted(found) == sorted(rows[5:50])
