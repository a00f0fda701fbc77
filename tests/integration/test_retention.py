"""Records go when their whole day is past their term, and no others."""

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import pytest
from cold_tier import ColdTier, readings
from factories import Weir, partition

from analytics import tiering
from shared.cold import hot, retention, switch, upkeep
from shared.streams import READINGS, STREAMS

FOREVER = None


@pytest.fixture
def cold(weir: Weir) -> Iterator[ColdTier]:
    found = ColdTier(weir)
    yield found
    found.engine.dispose()


@pytest.fixture
def today(cold: ColdTier) -> date:
    with cold.engine.connect() as connection:
        return hot.today(connection)


def fill(cold: ColdTier, today: date, *ages: int) -> dict[int, list[tuple]]:
    """Records of three devices on days so long ago, by age."""
    days = {}
    for age in ages:
        midnight = datetime.combine(today - timedelta(days=age), time(), UTC)
        days[age] = readings(60, seed=age, day=midnight)
        cold.insert(days[age])
    return days


def seal(cold: ColdTier, today: date) -> None:
    for source in cold.sources(today):
        upkeep.seal_all(cold.engine, cold.store, [source], timedelta(minutes=1))


def devices(cold: ColdTier, *terms: int | None) -> None:
    cold.weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    for term in terms:
        cold.weir.rows("INSERT INTO devices (id, user_id, retention_days) VALUES (gen_random_uuid(), 1, %s)", term)


def plan(cold: ColdTier, term: int | None) -> list[dict]:
    return [drop.shown() for drop in retention.plan(cold.engine, [READINGS], {"readings": term})]


def drop(cold: ColdTier, term: int | None) -> None:
    drops = retention.plan(cold.engine, [READINGS], {"readings": term})
    assert retention.apply(cold.engine, cold.store, drops) == drops


def test_file_goes_when_its_day_is_past_the_term(cold: ColdTier, today: date) -> None:
    days = fill(cold, today, 9, 10, 11, 12)
    seal(cold, today)
    assert plan(cold, FOREVER) == []
    assert [(one["what"], one["rows"]) for one in plan(cold, 10)] == [("file", 60), ("file", 60)]
    assert cold.all() == sorted(itertools.chain(*days.values()))
    drop(cold, 10)
    assert cold.all() == sorted(days[9] + days[10])
    assert plan(cold, 10) == []


def test_device_with_another_term_than_its_stream(cold: ColdTier, today: date) -> None:
    """The first goes sooner, the third stays longer, the second is like all."""
    devices(cold, 5, None, 30)
    days = fill(cold, today, 5, 6, 11, 31)
    seal(cold, today)
    drop(cold, 10)
    kept = [
        *days[5],
        *(row for row in days[6] if row[0] != 1),
        *(row for row in days[11] if row[0] == 3),
    ]
    assert cold.all() == sorted(kept)
    for file in cold.files():
        assert cold.store.open(file).metadata.num_rows == file.rows
    assert plan(cold, 10) == []


def test_dry_run_says_what_goes_of_each_day_and_changes_nothing(cold: ColdTier, today: date) -> None:
    devices(cold, 5, 6, 30)
    days = fill(cold, today, 6, 7, 31)
    seal(cold, today)
    before, on_disk = cold.all(), cold.on_disk()
    oldest, two_over, one_over = cold.files()
    planned = plan(cold, 10)

    def rows(age: int, *keys: int) -> int:
        return sum(row[0] in keys for row in days[age])

    assert [tuple(one.values())[1:] for one in planned] == [
        (str(oldest.day), "file", oldest.path, 60, 0),
        (str(two_over.day), "devices", two_over.path, rows(7, 1, 2), 2),
        (str(one_over.day), "devices", one_over.path, rows(6, 1), 1),
    ]
    assert (cold.all(), cold.on_disk()) == (before, on_disk)
    drop(cold, 10)
    assert len(before) - len(cold.all()) == sum(one["rows"] for one in planned)
    assert cold.all() == sorted(row for age in (6, 7) for row in days[age] if row[0] == 3 or (row[0] == 2 and age == 6))


def test_what_came_late_for_a_day_past_a_term_that_is_shorter_than_days_are_hot_goes(
    cold: ColdTier, today: date
) -> None:
    partition(cold.weir, "readings", today - timedelta(days=5))
    days = fill(cold, today, 2, 3, 4, 5)
    terms: dict[str, int | None] = {stream.name: 3 for stream in STREAMS}
    for _ in range(2):
        tiering.run(cold.engine, cold.store, 7, terms, timedelta(0))
    assert cold.weir.stored() == 120
    assert cold.all() == sorted(days[2] + days[3])
    assert cold.files() == []


def test_device_with_a_longer_term_than_its_stream_keeps_its_days_where_those_are_shorter_than_days_are_hot(
    cold: ColdTier, today: date
) -> None:
    devices(cold, None, 5)
    partition(cold.weir, "readings", today - timedelta(days=4))
    days = fill(cold, today, 3, 4, 5, 6)
    terms: dict[str, int | None] = {stream.name: 3 for stream in STREAMS}
    for _ in range(2):
        tiering.run(cold.engine, cold.store, 7, terms, timedelta(0))
    assert cold.all() == sorted([*days[3], *(row for age in (4, 5) for row in days[age] if row[0] == 2)])


def test_file_with_nothing_but_what_is_over_goes_as_a_whole(cold: ColdTier, today: date) -> None:
    """Nothing is written again, though each device has a term of its own and the stream has none."""
    devices(cold, 5, 6, 7)
    fill(cold, today, 8)
    seal(cold, today)
    before = cold.on_disk()
    assert [one["what"] for one in plan(cold, FOREVER)] == ["file"]
    drop(cold, FOREVER)
    assert (cold.all(), cold.on_disk()) == ([], before)
    assert upkeep.tidy(cold.engine, cold.store, timedelta(0)) == 1


def test_late_readings_past_their_term_go_once_they_are_sealed(cold: ColdTier, today: date) -> None:
    """No row is deleted by itself, not even of a day whose file is gone."""
    days = fill(cold, today, 11)
    assert plan(cold, 10) == []
    seal(cold, today)
    drop(cold, 10)
    cold.insert(days[11][:5])
    assert plan(cold, 10) == []
    assert len(cold.all()) == 5
    seal(cold, today)
    drop(cold, 10)
    assert cold.all() == []


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["create", "digests", "rename", "enter"])
def test_rewriting_killed_on_its_way_leaves_one_truth(
    cold: ColdTier, today: date, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(cold, 5, None)
    days = fill(cold, today, 6)
    seal(cold, today)
    drops = retention.plan(cold.engine, [READINGS], {"readings": FOREVER})

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(switch if step == "enter" else cold.store, step, kill)
        with pytest.raises(Killed):
            retention.apply(cold.engine, cold.store, drops)
    assert cold.all() == sorted(days[6])
    assert retention.apply(cold.engine, cold.store, drops) == drops
    assert cold.all() == sorted(row for row in days[6] if row[0] != 1)
    upkeep.tidy(cold.engine, cold.store, timedelta(0))
    assert cold.on_disk() == {cold.file().path}


def test_device_with_a_term_goes_from_a_stream_that_stays_for_ever(cold: ColdTier, today: date) -> None:
    devices(cold, 5)
    days = fill(cold, today, 6)
    seal(cold, today)
    drop(cold, FOREVER)
    assert cold.all() == sorted(row for row in days[6] if row[0] != 1)


def test_hot_day_goes_only_as_a_whole(cold: ColdTier, today: date) -> None:
    for age in (3, 4):
        partition(cold.weir, "readings", today - timedelta(days=age))
    devices(cold, 1, 3)
    days = fill(cold, today, 3, 4, 5)
    assert [one["what"] for one in plan(cold, 2)] == ["partition"]
    drop(cold, 2)
    assert cold.all() == sorted(days[3] + days[5])


def test_dropped_file_stays_for_its_readers_and_then_goes(cold: ColdTier, today: date) -> None:
    fill(cold, today, 9)
    seal(cold, today)
    file = cold.file()
    drop(cold, 1)
    assert len(cold.store.read(file)) == 60
    assert upkeep.tidy(cold.engine, cold.store, timedelta(0)) == 1
    assert cold.on_disk() == set()
