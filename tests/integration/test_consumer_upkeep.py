"""Whoever looks after tables does so beside the consumer: a database that does not answer does not keep it from ending."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import ModuleType

import pytest
from factories import Weir
from sqlalchemy import Connection, Engine, text

from consumer import forgetting, partitions
from shared.cold import manifest
from shared.database import DatabaseThreads, connect, translated
from shared.errors import DatabaseUnavailable
from shared.streams import STREAMS

SLOW_SECONDS = 15


@pytest.fixture
def engine(weir: Weir) -> Iterator[Engine]:
    engine = connect(weir.database_url, pool_size=1, statement_deadline=timedelta(seconds=30))
    yield engine
    engine.dispose()


def slow(engine: Engine, *_: object) -> int:
    """Wait for the database, whatever else there was to do."""
    with translated(), engine.begin() as connection:
        connection.execute(text(f"SELECT pg_sleep({SLOW_SECONDS})"))
    return 0


def keeping_partitions(threads: DatabaseThreads, engine: Engine) -> Coroutine[None, None, None]:
    return partitions.keep(threads, engine, STREAMS, 7)


def forgetting_all(threads: DatabaseThreads, engine: Engine) -> Coroutine[None, None, None]:
    terms = forgetting.terms(timedelta(days=14), timedelta(days=90))
    return forgetting.keep_forgetting(threads, engine, terms)


TODAY = "SELECT count(*) FROM readings WHERE time >= date_trunc('day', now(), 'UTC')"


def add_row(weir: Weir) -> None:
    weir.rows("INSERT INTO readings VALUES (1, now(), 1, 2, 3)")


def test_rows_that_move_to_a_partition_of_their_own_are_missed_by_nobody(weir: Weir, engine: Engine) -> None:
    """A snapshot of before sees the partition, and not its rows: they move once nobody looks."""
    add_row(weir)
    assert weir.scalar("SELECT count(*) FROM readings_default") == 1
    readers = connect(weir.database_url, pool_size=1, statement_deadline=timedelta(seconds=30))
    with manifest.snapshot(readers) as connection:
        connection.execute(text("SELECT 1 FROM devices"))
        with pytest.raises(DatabaseUnavailable):
            partitions.ensure(engine, STREAMS, 7)
        assert connection.execute(text(TODAY)).scalar_one() == 1
    assert partitions.ensure(engine, STREAMS, 7)
    readers.dispose()
    assert (weir.scalar("SELECT count(*) FROM readings_default"), weir.scalar(TODAY)) == (0, 1)


@pytest.mark.parametrize("before", [0, 1])
def test_rows_that_come_while_a_partition_is_made_move_along(
    weir: Weir, engine: Engine, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Where none was there before, nobody was kept from reading: it begins anew."""
    for _ in range(before):
        add_row(weir)
    look = partitions._Partition.has_rows_waiting
    looks = 0

    def one_comes(partition: partitions._Partition, connection: Connection) -> bool:
        nonlocal looks
        looks += 1
        found = look(partition, connection)
        if looks == 1:  # of today's readings
            add_row(weir)
        return found

    monkeypatch.setattr(partitions._Partition, "has_rows_waiting", one_comes)
    assert partitions.ensure(engine, STREAMS, 7)
    assert (weir.scalar("SELECT count(*) FROM readings_default"), weir.scalar(TODAY)) == (0, before + 1)


def test_nobody_waits_long_behind_a_partition_that_waits_for_a_reader(weir: Weir, engine: Engine) -> None:
    """A reader holds both default partitions; others read them, write into them and are never kept for two seconds."""
    done = threading.Event()

    def read_and_write(table: str, row: str) -> int:
        count = 0
        with weir.connection() as connection, connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
            while not done.is_set():
                cursor.execute(f"INSERT INTO {table} {row}")
                cursor.execute(f"SELECT count(*) FROM {table}_default")
                count += 1
        return count

    rows = {
        "readings": "VALUES (1, now() + interval '3 days', 1, 2, 3)",
        "events": "VALUES (gen_random_uuid(), now() + interval '3 days', 'u', 't', '{}')",
    }
    with weir.connection() as reading, reading.cursor() as reader, ThreadPoolExecutor(2) as threads:
        reading.autocommit = False
        reader.execute("SELECT (SELECT count(*) FROM readings_default), (SELECT count(*) FROM events_default)")
        others = [threads.submit(read_and_write, *one) for one in rows.items()]
        try:
            with pytest.raises(DatabaseUnavailable):
                partitions.ensure(engine, STREAMS, 7)
        finally:
            done.set()
        counts = dict(zip(rows, [one.result() for one in others], strict=True))
        reading.rollback()
    assert partitions.ensure(engine, STREAMS, 7)
    for table, count in counts.items():
        assert weir.scalar(f"SELECT count(*) FROM {table}") == count > 0
        assert weir.scalar(f"SELECT count(*) FROM {table}_default") == 0
    assert weir.rows("SELECT conname FROM pg_constraint WHERE conname = 'inside'") == []


@pytest.mark.parametrize(
    ("work", "module", "name"), [(keeping_partitions, partitions, "ensure"), (forgetting_all, forgetting, "forget")]
)
def test_upkeep_that_waits_for_the_database_does_not_hold_up_the_end(
    weir: Weir,
    engine: Engine,
    work: Callable[[DatabaseThreads, Engine], Coroutine[None, None, None]],
    module: ModuleType,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forgetting, "EVERY", timedelta(0))
    monkeypatch.setattr(module, name, slow)
    threads = DatabaseThreads(1)
    cancelled_at = 0.0

    def is_waiting() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event = 'PgSleep'"
        return bool(weir.scalar(query, weir.name))

    async def cancelled() -> None:
        nonlocal cancelled_at
        task = asyncio.create_task(work(threads, engine))
        await asyncio.to_thread(weir.wait_for, is_waiting)
        task.cancel()
        cancelled_at = time.monotonic()

    asyncio.run(cancelled())  # which waits for the threads of its own
    assert time.monotonic() - cancelled_at < SLOW_SECONDS / 2
    threads.close()
    weir.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
