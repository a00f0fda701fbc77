"""A fault of one day, one file or one moment is no more than that: the rest is sealed, dropped and removed."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg2
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from cold_tier import DAY, MIDNIGHT, ColdTier, readings
from factories import Weir, partition
from sqlalchemy import Connection

from analytics import tiering
from shared.cold import hot, ordered_manifest, ordering, retention, switch, upkeep
from shared.cold.hot import Source
from shared.cold.ordering import OrderedDay
from shared.cold.sealing import Sealed
from shared.errors import Conflict, DatabaseUnavailable
from shared.streams import READINGS, STREAMS

MINUTE = timedelta(minutes=1)
FOREVER = dict.fromkeys((stream.name for stream in STREAMS), None)
#: What a datetime cannot be.
NO_TIMES = ("-infinity", "infinity", "0044-03-15 12:00:00+00 BC", "20000-01-01 00:00:00+00")


@pytest.fixture
def cold(weir: Weir) -> Iterator[ColdTier]:
    found = ColdTier(weir)
    yield found
    found.engine.dispose()


@pytest.fixture
def two_days(cold: ColdTier) -> list[Source]:
    for number in range(2):
        cold.insert(readings(40, seed=number, day=MIDNIGHT - timedelta(days=number)))
    return cold.sources()


def broken_once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: type[Exception]) -> None:
    """Have the first call of something raise an error that nobody has thought of there."""
    whole, broken = getattr(owner, name), True

    def once_broken(*arguments: object, **named: object) -> object:
        nonlocal broken
        if broken:
            broken = False
            raise error("out of the blue")
        return whole(*arguments, **named)

    monkeypatch.setattr(owner, name, once_broken)


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_fault_of_one_day_does_not_keep_the_next_from_being_sealed(
    cold: ColdTier, two_days: list[Source], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_once(monkeypatch, cold.store, "digests", error)
    found = upkeep.seal_all(cold.engine, cold.store, two_days, MINUTE)
    assert [type(one) for one in found] == [upkeep.Failed, Sealed]
    assert len(cold.all()) == 80


def test_fault_of_one_day_does_not_keep_the_next_from_being_ordered(
    cold: ColdTier, two_days: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "FEWEST_ROWS", 10)
    upkeep.seal_all(cold.engine, cold.store, two_days, MINUTE)
    broken_once(monkeypatch, ordered_manifest, "enter", RuntimeError)
    found = ordering.order_all(cold.engine, cold.store, STREAMS, MINUTE)
    assert [type(one) for one in found] == [upkeep.Failed, OrderedDay]
    assert [type(one) for one in ordering.order_all(cold.engine, cold.store, STREAMS, MINUTE)] == [OrderedDay]


def test_end_of_the_tasks_time_is_no_fault_of_a_day(
    cold: ColdTier, two_days: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "FEWEST_ROWS", 10)
    acts = (
        (cold.store, "digests", lambda: upkeep.seal_all(cold.engine, cold.store, two_days, MINUTE, ends=tiering.ENDS)),
        (
            ordered_manifest,
            "enter",
            lambda: ordering.order_all(cold.engine, cold.store, STREAMS, MINUTE, ends=tiering.ENDS),
        ),
        (
            switch,
            "retire",
            lambda: retention.apply(
                cold.engine,
                cold.store,
                retention.plan(cold.engine, [READINGS], {"readings": 1}),
                ends=tiering.ENDS,
            ),
        ),
    )
    for owner, name, act in acts:
        broken_once(monkeypatch, owner, name, SoftTimeLimitExceeded)
        with pytest.raises(SoftTimeLimitExceeded):
            act()
        act()
    assert cold.files() == []


@pytest.mark.parametrize("time", NO_TIMES)
@pytest.mark.parametrize("table", ["readings", "events"])
def test_time_that_no_answer_can_show_is_refused(cold: ColdTier, table: str, time: str) -> None:
    values = "1, %s, 0, 0, 0" if table == "readings" else "gen_random_uuid(), %s, '', '', '{}'"
    with pytest.raises(psycopg2.errors.CheckViolation):
        cold.weir.rows(f"INSERT INTO {table} VALUES ({values})", time)


def test_times_of_before_that_rule_stay_and_keep_no_day_from_being_sealed(cold: ColdTier) -> None:
    cold.weir.rows("ALTER TABLE readings_default DROP CONSTRAINT readings_default_time")
    for time in NO_TIMES:
        cold.weir.rows("INSERT INTO readings VALUES (1, %s, 0, 0, 0)", time)
    cold.insert(readings(40, seed=1))
    (sealed,) = cold.seal()
    assert sealed.rows == 40
    assert cold.weir.stored() == len(NO_TIMES)


def test_file_that_cannot_be_removed_keeps_none_from_being(cold: ColdTier) -> None:
    store, paths = cold.store, ["a/fast.parquet", "b/gone.parquet"]
    for path in paths:
        switch.note(cold.engine, path)
        with store.create(path) as sink:
            sink.write(b"x")
    fast = cold.folder / paths[0]
    fast.unlink()
    fast.mkdir()
    told: list[upkeep.NotRemoved] = []
    assert upkeep.tidy(cold.engine, store, timedelta(0), told.append) == 1
    assert [one.path for one in told] == paths[:1]
    fast.rmdir()
    fast.touch()
    assert upkeep.tidy(cold.engine, store, timedelta(0)) == 1


def test_commit_whose_answer_was_lost_is_not_taken_for_a_failure(
    cold: ColdTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition(cold.weir, "readings", DAY)
    rows = readings(100, seed=1)
    cold.insert(rows)
    drop, tries = switch.drop_partition, 0

    def committed_and_lost(connection: Connection, source: Source, count: int) -> None:
        nonlocal tries
        tries += 1
        drop(connection, source, count)
        connection.commit()
        raise DatabaseUnavailable("the connection was lost")

    monkeypatch.setattr(switch, "drop_partition", committed_and_lost)
    (sealed,) = cold.seal()
    assert (sealed.rows, tries) == (100, 1)
    assert cold.all() == sorted(rows)
    assert upkeep.tidy(cold.engine, cold.store, timedelta(0)) == 0


def test_writers_do_not_wait_for_a_count_that_does_not_end(cold: ColdTier, monkeypatch: pytest.MonkeyPatch) -> None:
    """The day is sealed by its rows, for which nobody waits."""
    partition(cold.weir, "readings", DAY)
    rows = readings(100, seed=1)
    cold.insert(rows)
    count = hot.rows_in

    def slow(connection: Connection, source: Source) -> int:
        connection.exec_driver_sql("SELECT pg_sleep(20)")
        return count(connection, source)

    with monkeypatch.context() as patched:
        patched.setattr(switch, "_COUNTED_WITHIN", timedelta(milliseconds=50))
        patched.setattr(hot, "rows_in", slow)
        (sealed,) = cold.seal()
    assert (sealed.rows, cold.weir.stored()) == (100, 0)
    assert not cold.sources()[0].is_default
    cold.seal()
    assert not cold.sources()
    assert cold.all() == sorted(rows)


def left_over(cold: ColdTier) -> str:
    """A file that never came to count."""
    path = "a/left.parquet"
    switch.note(cold.engine, path)
    with cold.store.create(path) as sink:
        sink.write(b"x")
    return path


def test_run_begins_nothing_after_its_time_and_still_removes_what_is_left_over(
    cold: ColdTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "FEWEST_ROWS", 10)
    cold.insert(readings(60, seed=1, day=MIDNIGHT - timedelta(days=1)))
    cold.seal()
    cold.insert(readings(60, seed=2))
    cold.weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    cold.weir.rows("INSERT INTO devices (id, user_id, retention_days) VALUES (gen_random_uuid(), 1, 1)")
    path, file = left_over(cold), cold.file()
    tiering.run(cold.engine, cold.store, 7, FOREVER, MINUTE, within=timedelta(0))
    assert cold.on_disk() == {file.path}
    assert cold.files() == [file]
    assert len(cold.all()) == 120
    assert not (cold.folder / path).exists()
    tiering.run(cold.engine, cold.store, 7, FOREVER, MINUTE)
    assert [one.day for one in cold.files()] == [DAY - timedelta(days=1), DAY]
    assert {row[0] for row in cold.all()} == {2, 3}
    assert cold.weir.scalar("SELECT count(*) FROM cold_ordered") == 2


def test_left_over_files_go_before_the_ordering_that_fails(cold: ColdTier, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left_over(cold)
    broken_once(monkeypatch, ordering, "order_all", SoftTimeLimitExceeded)
    with pytest.raises(SoftTimeLimitExceeded):
        tiering.run(cold.engine, cold.store, 7, FOREVER, MINUTE)
    assert not (cold.folder / path).exists()


def test_dropping_begins_nothing_after_its_time(cold: ColdTier, two_days: list[Source]) -> None:
    cold.seal()
    drops = retention.plan(cold.engine, [READINGS], {"readings": 1})
    assert len(drops) == 2
    assert retention.apply(cold.engine, cold.store, drops, begin_within=timedelta(0)) == []
    assert len(cold.files()) == 2


def test_one_upkeep_after_another_finds_the_lock_free(cold: ColdTier) -> None:
    """In one process they take the same connections from the pool, one after another."""
    for _ in range(20):
        with upkeep.alone(cold.engine, cold.store), pytest.raises(Conflict), upkeep.alone(cold.engine, cold.store):
            pass
        assert cold.weir.rows("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database <> 0") == []


def test_upkeep_whose_connection_is_lost_holds_the_lock_no_longer(cold: ColdTier) -> None:
    ending = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
    with upkeep.alone(cold.engine, cold.store):
        assert cold.weir.rows(ending) == [(True,)]
    with upkeep.alone(cold.engine, cold.store):
        pass
