"""The hourly upkeep may be killed before anything that it does to the store or the manifest: it leaves one truth."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from cold_tier import DAY, MIDNIGHT, ColdTier, Row, events, readings
from factories import Weir, partition

from analytics import counted, tiering
from shared.cold import ordered_manifest, ordering, switch, verification
from shared.cold.store import MARK, Store
from shared.streams import EVENTS, STREAMS

#: What changes something, or looks at what was written.
ACTS = (
    *((Store, name) for name in ("create", "digests", "rename", "remove")),
    *(
        (switch, name)
        for name in ("note", "enter", "claim", "retire", "delete_rows", "drop_partition", "forget_answers")
    ),
    *((ordered_manifest, name) for name in ("enter", "retire")),
    (counted.SealedUsers, "keep"),
)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
#: Of device 1 and of events, in days: between that day and the others.
TERM = 1000
TERMS = {"readings": None, "events": TERM}


class Killed(BaseException):
    pass


@pytest.fixture
def cold(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> Iterator[ColdTier]:
    monkeypatch.setattr(ordering, "FEWEST_ROWS", 10)
    found = ColdTier(weir)
    weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    weir.rows("INSERT INTO devices (id, user_id, retention_days) VALUES (gen_random_uuid(), 1, %s)", TERM)
    yield found
    found.engine.dispose()


@pytest.fixture
def cold_events(weir: Weir) -> Iterator[ColdTier]:
    found = ColdTier(weir, EVENTS)
    yield found
    found.engine.dispose()


def prepare_events(cold: ColdTier) -> list[Row]:
    """A file for which events came late, a partition, a day in the default partition, and a file whose term is over."""
    cold.weir.rows("DROP TABLE IF EXISTS events_20260130; TRUNCATE events")
    rows, gone = events(20, seed=1), events(20, seed=2, day=LONG_AGO)
    cold.insert(rows + gone)
    cold.seal()
    cold.weir.rows("UPDATE cold_files SET sealed_at = sealed_at - interval '2 days'")
    partition(cold.weir, "events", DAY - timedelta(days=1))
    new = [
        *events(10, seed=3),
        *events(10, seed=4, day=MIDNIGHT - timedelta(days=1)),
        *events(10, seed=5, day=MIDNIGHT - timedelta(days=2)),
    ]
    cold.insert(new)
    return sorted(rows + gone + new)


def prepare(cold: ColdTier) -> list[Row]:
    """A file and its ordered copy for which readings came late, a partition, a file with a device whose term is over."""
    for path in cold.on_disk():
        (cold.folder / path).unlink()
    cold.weir.rows("DROP TABLE IF EXISTS readings_20260130; TRUNCATE readings, cold_files, cold_leftovers CASCADE")
    rows = readings(60, seed=1) + readings(60, seed=2, day=LONG_AGO)
    cold.insert(rows)
    cold.seal()
    ordering.order_all(cold.engine, cold.store, STREAMS, timedelta(minutes=1))
    cold.weir.rows("UPDATE cold_files SET sealed_at = sealed_at - interval '2 days'")
    partition(cold.weir, "readings", DAY - timedelta(days=1))
    new = readings(20, seed=3) + readings(40, seed=4, day=MIDNIGHT - timedelta(days=1))
    cold.insert(new)
    return sorted(rows + new)


def killed_before(act: int, monkeypatch: pytest.MonkeyPatch, run: Callable[[], None]) -> str | None:
    """Run, and be killed before the act of this number, whose name is returned; None: there are fewer."""
    done: list[str] = []

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            done.append(name)
            if len(done) == act:
                raise Killed
            return original(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        for owner, name in ACTS:
            patched.setattr(owner, name, counting(f"{owner.__name__}.{name}", getattr(owner, name)))
        try:
            run()
        except Killed:
            return done[-1]
    return None


def users_by_day(rows: list[Row]) -> dict[date, int]:
    users: dict[date, set[str]] = {}
    for _, time, user, *_ in rows:
        users.setdefault(time.date(), set()).add(user)
    return {day: len(found) for day, found in users.items()}


def test_upkeep_killed_before_any_of_its_acts_leaves_one_truth(
    cold: ColdTier, cold_events: ColdTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> None:
        tiering.run(cold.engine, cold.store, 7, TERMS, timedelta(microseconds=1))

    reached: set[str] = set()
    for act in range(1, 200):
        rows, happened = prepare(cold), prepare_events(cold_events)
        left = [row for row in rows if row[0] != 1 or row[1] > LONG_AGO + timedelta(days=1)]
        told = [one for one in happened if one[1] > LONG_AGO + timedelta(days=1)]
        killed = killed_before(act, monkeypatch, run)
        assert cold.all() in (rows, left), f"killed before act {act}, {killed}"
        assert cold_events.all() in (happened, told), f"killed before act {act}, {killed}"
        run()
        assert (cold.all(), cold_events.all()) == (left, told), f"killed before act {act}, {killed}"
        verified = list(verification.verify(cold.engine, cold.store, STREAMS))
        assert [one.fault for one in verified] == [None] * 9
        assert {str(cold.folder / path) for path in cold.on_disk()} == {one.path for one in verified}
        kept = cold.weir.rows("SELECT day, users FROM cold_users JOIN cold_files ON id = file")
        assert dict(kept) == users_by_day(told)
        if killed is None:
            break
        reached.add(killed)
    assert reached == {f"{owner.__name__}.{name}" for owner, name in ACTS}
    assert (cold.folder / MARK).exists()
