"""Receipts are forgotten, but none that something in the queue or a key could still ask for."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from factories import Weir
from sqlalchemy import Engine

from consumer import receipts
from shared.database import connect

RETENTION = timedelta(days=14)


@pytest.fixture
def engine(weir: Weir) -> Iterator[Engine]:
    engine = connect(weir.database_url, pool_size=1, statement_deadline=timedelta(seconds=30))
    yield engine
    engine.dispose()


def add(weir: Weir, count: int, age: str) -> None:
    weir.rows(
        "INSERT INTO receipts (id, stream, stored, at)"
        " SELECT gen_random_uuid(), 'readings', 1, now() - %s::interval FROM generate_series(1, %s)",
        age,
        count,
    )


def left(weir: Weir) -> int:
    return int(weir.scalar("SELECT count(*) FROM receipts"))


def test_receipts_older_than_their_retention_are_forgotten(
    weir: Weir, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST", 10)
    add(weir, 25, "15 days")
    add(weir, 3, "13 days")
    add(weir, 1, "0")
    assert receipts.forget(engine, RETENTION) == 25
    assert left(weir) == 4
    assert receipts.forget(engine, RETENTION) == 0


def test_age_counts_from_the_newest_so_a_queue_that_stood_still_finds_its_receipts(weir: Weir, engine: Engine) -> None:
    add(weir, 5, "40 days")
    add(weir, 5, "30 days")
    assert receipts.forget(engine, RETENTION) == 0
    add(weir, 1, "0")
    assert receipts.forget(engine, RETENTION) == 10


def test_two_consumers_do_not_forget_at_the_same_time(weir: Weir, engine: Engine) -> None:
    add(weir, 5, "15 days")
    add(weir, 1, "0")
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (receipts.LOCK,))
        assert receipts.forget(engine, RETENTION) == 0
    weir.wait_for(lambda: receipts.forget(engine, RETENTION) == 5)
