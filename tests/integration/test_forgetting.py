"""What is settled for good is forgotten, but nothing that something in the queue, a key or a person could still ask for."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from factories import Weir
from sqlalchemy import Engine

from consumer import forgetting
from shared.database import connect

RECEIPTS, OF_EVENTS, LETTERS, MINUTES = forgetting.terms(timedelta(days=14), timedelta(days=90))


@pytest.fixture
def engine(weir: Weir) -> Iterator[Engine]:
    engine = connect(weir.database_url, pool_size=1, statement_deadline=timedelta(seconds=30))
    yield engine
    engine.dispose()


def add(weir: Weir, count: int, age: str, stream: str = "readings") -> None:
    weir.rows(
        "INSERT INTO receipts (id, stream, stored, at)"
        " SELECT gen_random_uuid(), %s, 1, now() - %s::interval FROM generate_series(1, %s)",
        stream,
        age,
        count,
    )


def add_letter(weir: Weir, state: str, age: str = "0") -> str:
    """Add a dead letter that died so long ago; return its id."""
    query = (
        "INSERT INTO dead_letters (id, stream, content_type, body, headers, code, reason, first_seen, last_seen, state,"
        " replay) VALUES (gen_random_uuid(), 'readings', '', '', '{}', '22003', 'too large', now(),"
        " now() - %s::interval, %s, gen_random_uuid()) RETURNING id::text"
    )
    return str(weir.scalar(query, age, state))


def left(weir: Weir) -> int:
    return int(weir.scalar("SELECT count(*) FROM receipts"))


def test_receipts_older_than_their_retention_are_forgotten(
    weir: Weir, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "MOST", 10)
    add(weir, 25, "15 days")
    add(weir, 3, "13 days")
    add(weir, 1, "0")
    assert forgetting.forget(engine, RECEIPTS) == 25
    assert left(weir) == 4
    assert forgetting.forget(engine, RECEIPTS) == 0


def test_age_counts_from_the_newest_so_a_queue_that_stood_still_finds_its_receipts(weir: Weir, engine: Engine) -> None:
    add(weir, 5, "40 days")
    add(weir, 5, "30 days")
    assert forgetting.forget(engine, RECEIPTS) == 0
    add(weir, 1, "0")
    assert forgetting.forget(engine, RECEIPTS) == 10


def test_age_counts_from_the_newest_of_the_same_stream(weir: Weir, engine: Engine) -> None:
    """A queue that stood still finds its receipts, though the other streams went on."""
    add(weir, 5, "40 days")
    add(weir, 5, "30 days")
    add(weir, 5, "15 days", "events")
    add(weir, 1, "0", "events")
    assert forgetting.forget(engine, RECEIPTS) == 0
    assert forgetting.forget(engine, OF_EVENTS) == 5


@pytest.mark.parametrize("state", ["replaying", "replayed"])
def test_receipt_of_a_replay_is_kept_as_long_as_its_letter_can_be_replayed(
    weir: Weir, engine: Engine, state: str
) -> None:
    """It is all that keeps another replay from storing the letter again."""
    letter = add_letter(weir, state)
    weir.rows("INSERT INTO receipts SELECT replay, stream, 1, NULL, now() - interval '15 days' FROM dead_letters")
    add(weir, 5, "15 days")
    add(weir, 1, "0")
    assert forgetting.forget(engine, RECEIPTS) == 5
    assert weir.scalar("SELECT count(*) FROM receipts JOIN dead_letters ON replay = receipts.id") == 1
    weir.rows("DELETE FROM dead_letters WHERE id = %s", letter)
    assert forgetting.forget(engine, RECEIPTS) == 1


def test_two_consumers_do_not_forget_at_the_same_time(weir: Weir, engine: Engine) -> None:
    add(weir, 5, "15 days")
    add(weir, 1, "0")
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (forgetting.LOCK,))
        assert forgetting.forget(engine, RECEIPTS) == 0
    weir.wait_for(lambda: forgetting.forget(engine, RECEIPTS) == 5)


def test_settled_dead_letters_are_forgotten_with_their_acts_and_open_ones_are_kept(weir: Weir, engine: Engine) -> None:
    for state in ("open", "replaying", "replayed", "discarded"):
        for days in (89, 91):
            add_letter(weir, state, f"{days} days")
    weir.rows("INSERT INTO dead_letter_acts (letter, act, at) SELECT id, 'edit', last_seen FROM dead_letters")
    assert forgetting.forget(engine, LETTERS) == 2
    states = weir.rows("SELECT state, count(*) FROM dead_letters GROUP BY state ORDER BY state")
    assert states == [("discarded", 1), ("open", 2), ("replayed", 1), ("replaying", 2)]
    assert weir.scalar("SELECT count(*) FROM dead_letter_acts") == 6


@pytest.mark.parametrize(("state", "act"), [("replayed", "replay"), ("discarded", "discard")])
def test_settled_dead_letter_is_kept_from_when_it_was_settled_not_from_when_it_died(
    weir: Weir, engine: Engine, state: str, act: str
) -> None:
    for days in (89, 91):
        letter = add_letter(weir, state, "200 days")
        for ago in (days, 150):
            weir.rows(
                "INSERT INTO dead_letter_acts (letter, act, at) VALUES (%s, %s, now() - make_interval(days => %s))",
                letter,
                act,
                ago,
            )
    assert forgetting.forget(engine, LETTERS) == 1
    assert weir.scalar("SELECT max(at) > now() - '90 days'::interval FROM dead_letter_acts")


def test_old_minutes_are_forgotten_unless_they_do_not_balance(weir: Weir, engine: Engine) -> None:
    for days, stored in ((91, 3), (91, 2), (89, 3)):
        weir.rows(
            "INSERT INTO ledger (stream, minute, series, accepted, stored, duplicate, dead) VALUES"
            " ('readings', now() - make_interval(days => %s), gen_random_uuid(), 5, %s, 1, 1)",
            days,
            stored,
        )
    assert forgetting.forget(engine, MINUTES) == 1
    assert weir.rows("SELECT stored FROM ledger ORDER BY minute") == [(2,), (3,)]
