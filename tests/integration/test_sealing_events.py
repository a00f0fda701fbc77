"""A stream without devices is sealed by the same code, whatever is in its texts."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from cold_tier import DAY, MIDNIGHT, ColdTier
from factories import Weir, partition

from shared.cold import hot, layout, manifest, retention, upkeep, verification
from shared.cold.sealing import seal
from shared.cold.writing import STEPS
from shared.streams import EVENTS

TEXTS = ["", " ", '"', "a,b", "line\nand\r\nline", "\\.", "\\N", "NULL", "žluťoučký 🐎", "\t", "'", "x" * 300_000, "0"]


@pytest.fixture
def cold(weir: Weir) -> Iterator[ColdTier]:
    found = ColdTier(weir)
    yield found
    found.engine.dispose()


def insert(cold: ColdTier, first: int) -> list[tuple]:
    rows = [
        (str(UUID(int=first + n)), MIDNIGHT + timedelta(hours=n % 3), text, text, json.dumps({text: [n, None, text]}))
        for n, text in enumerate(TEXTS)
    ]
    with cold.weir.connection() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO events VALUES (%s, %s, %s, %s, %s)", rows)
    return [(*row[:4], json.loads(row[4])) for row in rows]


def seal_events(cold: ColdTier, step: Callable[[str], None] = lambda _: None) -> None:
    with cold.engine.connect() as connection:
        sources = hot.sources(connection, EVENTS, DAY + timedelta(days=1))
    for source in sources:
        seal(cold.engine, cold.store, source, step)


def everything(cold: ColdTier) -> list[tuple]:
    """Hot and cold events as one moment, sorted."""
    with manifest.snapshot(cold.engine) as connection:
        files = manifest.files(connection, "events")
        found = [tuple(row) for row in connection.exec_driver_sql(f"SELECT {', '.join(EVENTS.columns)} FROM events")]
    found = [(str(row[0]), *row[1:]) for row in found]
    for file in files:
        rows = zip(*cold.store.read(file).to_pydict().values(), strict=True)
        found += [(*row[:4], json.loads(row[4])) for row in rows]
    return sorted(found, key=lambda row: row[:2])


@pytest.mark.parametrize("stopped_at", STEPS)
@pytest.mark.parametrize("is_late", [False, True], ids=["partition", "late"])
def test_seal_of_events_that_fails_at_any_step_leaves_one_truth(cold: ColdTier, is_late: bool, stopped_at: str) -> None:
    def stop(name: str) -> None:
        if name == stopped_at:
            raise KeyboardInterrupt

    rows = insert(cold, 1_000) if is_late else []
    seal_events(cold)
    if not is_late:
        partition(cold.weir, "events", DAY)
    rows = sorted(rows + insert(cold, 0), key=lambda row: row[:2])
    with pytest.raises(KeyboardInterrupt):
        seal_events(cold, stop)
    assert everything(cold) == rows
    seal_events(cold)
    assert everything(cold) == rows
    assert cold.weir.stored(EVENTS) == 0
    upkeep.tidy(cold.engine, cold.store, timedelta(0))
    assert len(cold.on_disk()) == 1


def test_memory_does_not_grow_with_the_length_of_texts(cold: ColdTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "GROUP_BYTES", 100_000)
    insert(cold, 1_000)
    insert(cold, 0)
    seal_events(cold)
    with manifest.snapshot(cold.engine) as connection:
        (file,) = manifest.files(connection, "events")
    # Each of the two long records ends a group.
    assert cold.store.open(file).num_row_groups in {2, 3}
    assert len(cold.store.read(file)) == 2 * len(TEXTS)


def test_sealed_events_are_the_same_events(cold: ColdTier) -> None:
    partition(cold.weir, "events", DAY)
    rows = insert(cold, 1_000)
    seal_events(cold)
    rows += insert(cold, 0)  # late ones
    seal_events(cold)
    assert cold.weir.scalar("SELECT count(*) FROM events") == 0
    with manifest.snapshot(cold.engine) as connection:
        (file,) = manifest.files(connection, "events")
        assert not list(manifest.summaries(connection, "events"))
    columns = cold.store.read(file).to_pydict()
    found = [(*row[:4], json.loads(row[4])) for row in zip(*columns.values(), strict=True)]
    assert list(columns) == ["event_id", "time", "user_id", "event_type", "properties"]
    assert found == sorted(rows, key=lambda row: (row[1], row[0]))
    assert [one.fault for one in verification.verify(cold.engine, cold.store, [EVENTS])] == [None]
    (drop,) = retention.plan(cold.engine, [EVENTS], {"events": 30})
    assert retention.apply(cold.engine, cold.store, [drop]) == [drop]
    with manifest.snapshot(cold.engine) as connection:
        assert not manifest.files(connection, "events")
