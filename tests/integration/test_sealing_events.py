"""A stream without devices is sealed by the same code, whatever is in its texts."""

import signal
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from cold_tier import DAY, MIDNIGHT, ColdTier, Row, event
from factories import Weir, partition

from shared.cold import layout, manifest, retention, upkeep, verification
from shared.cold.writing import STEPS
from shared.streams import EVENTS

TEXTS = ["", " ", '"', "a,b", "line\nand\r\nline", "\\.", "\\N", "NULL", "žluťoučký 🐎", "\t", "'", "x" * 300_000, "0"]


@pytest.fixture
def cold(weir: Weir) -> Iterator[ColdTier]:
    found = ColdTier(weir, EVENTS)
    yield found
    found.engine.dispose()


def insert(cold: ColdTier, first: int) -> list[Row]:
    rows = [
        event((UUID(int=first + n), MIDNIGHT + timedelta(hours=n % 3), text, text, {text: [n, None, text]}))
        for n, text in enumerate(TEXTS)
    ]
    cold.insert(rows)
    return rows


@pytest.fixture(params=["partition", "late"])
def day(request: pytest.FixtureRequest, cold: ColdTier) -> list[Row]:
    """Events of a day that are to be sealed: a partition, or some that came after the others were."""
    if request.param == "partition":
        partition(cold.weir, "events", DAY)
        return sorted(insert(cold, 0))
    rows = insert(cold, 1_000)
    cold.seal()
    return sorted(rows + insert(cold, 0))


def assert_sealed_once(cold: ColdTier, day: list[Row]) -> None:
    """What was stopped is begun anew, and leaves one truth and one file."""
    assert cold.all() == day
    cold.seal()
    assert cold.all() == day
    assert cold.weir.stored(EVENTS) == 0
    upkeep.tidy(cold.engine, cold.store, timedelta(0))
    assert cold.on_disk() == {cold.file().path}


@pytest.mark.parametrize("stopped_at", STEPS)
def test_seal_of_events_that_fails_at_any_step_leaves_one_truth(
    cold: ColdTier, day: list[Row], stopped_at: str
) -> None:
    def stop(name: str) -> None:
        if name == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cold.seal(stop)
    assert_sealed_once(cold, day)


@pytest.mark.parametrize("killed_at", STEPS)
def test_killed_seal_of_events_leaves_one_truth(cold: ColdTier, day: list[Row], killed_at: str) -> None:
    cold.weir.run("seal", "tests/crash_while_sealing.py", "events", killed_at)
    assert cold.weir.wait_for_end("seal") == -signal.SIGKILL
    assert_sealed_once(cold, day)


def test_memory_does_not_grow_with_the_length_of_texts(cold: ColdTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "GROUP_BYTES", 100_000)
    insert(cold, 1_000)
    insert(cold, 0)
    cold.seal()
    file = cold.file()
    # Each of the two long records ends a group.
    assert cold.store.open(file).num_row_groups in {2, 3}
    assert len(cold.store.read(file)) == 2 * len(TEXTS)


def test_sealed_events_are_the_same_events(cold: ColdTier) -> None:
    partition(cold.weir, "events", DAY)
    rows = insert(cold, 1_000)
    cold.seal()
    rows += insert(cold, 0)  # late ones
    cold.seal()
    assert cold.weir.stored(EVENTS) == 0
    with manifest.snapshot(cold.engine) as connection:
        (file,) = manifest.files(connection, "events")
        assert not list(manifest.summaries(connection, "events"))
    columns = cold.store.read(file).to_pydict()
    found = [event(row) for row in zip(*columns.values(), strict=True)]
    assert list(columns) == ["event_id", "time", "user_id", "event_type", "properties"]
    assert found == sorted(rows, key=lambda row: (row[1], row[0]))
    assert [one.fault for one in verification.verify(cold.engine, cold.store, [EVENTS])] == [None]
    (drop,) = retention.plan(cold.engine, [EVENTS], {"events": 30})
    assert retention.apply(cold.engine, cold.store, [drop]) == [drop]
    assert not cold.files()
