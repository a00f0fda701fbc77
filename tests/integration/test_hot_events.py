"""Hot events on their way to DuckDB take so much of the worker's disk and no more; what is not wanted is not copied."""

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from factories import Weir
from sealed import seal_days

from analytics import events, progress, room, tasks
from shared import asking, spool
from shared.cold.store import Store
from shared.jobs import Job, Jobs, Nudge
from shared.scope import Scope
from shared.streams import EVENTS
from shared.watchdog import Watchdog

DEADLINE = timedelta(minutes=10)
START = datetime(2026, 1, 31, tzinfo=UTC)
END = START + timedelta(days=2)
DAILY = {"from": START.date().isoformat(), "to": START.date().isoformat(), "tz": "UTC", "segment": None}
RETENTION = {"start_date": START.date().isoformat(), "windows": 1, "tz": "UTC", "segment": None}


def insert(weir: Weir, events: list[tuple[str, datetime]], properties: str = "{}") -> None:
    rows = [(str(uuid4()), time, user, "view", properties) for user, time in events]
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO events VALUES (%s, %s, %s, %s, %s)", rows)
    weir.count_stored("events", len(rows))


def run(weir: Weir, jobs: Jobs, job_id: UUID) -> Job:
    """Do what a worker does when it is told of a job."""
    store = Store(weir.settings().cold_url)
    tasks.run(jobs, jobs._engine, store, Watchdog(jobs._engine), job_id, Nudge(uuid4()), DEADLINE)
    return jobs.fetch(job_id)


def ask(jobs: Jobs, kind: str, parameters: dict[str, object]) -> tuple[UUID, bool]:
    scope = Scope(None, START if kind == "daily_users" else None, END, EVENTS)
    job, is_new = asking.ask(jobs._engine, kind, parameters, scope)
    return job.id, is_new


def answer(weir: Weir, jobs: Jobs, kind: str, parameters: dict[str, object]) -> Job:
    """Ask something new."""
    job_id, is_new = ask(jobs, kind, parameters)
    assert is_new
    return run(weir, jobs, job_id)


def no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ROOM", room.ROOM._replace(most_bytes=1000))


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux has a file for it, which takes nothing."""
    monkeypatch.setattr(spool, "TemporaryFile", lambda **_: open("/dev/full", "r+b", 0))  # noqa: SIM115, PTH123


def disk_that_is_full_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written waits in memory, and the disk is asked when all is there."""
    monkeypatch.setattr(
        spool,
        "TemporaryFile",
        lambda buffering: open("/dev/full", "wb", buffering),  # noqa: SIM115, PTH123
    )


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (no_more_room, "more than 1,000 bytes of events that are not sealed yet"),
        (full_disk, os.strerror(errno.ENOSPC)),
        (disk_that_is_full_in_the_end, os.strerror(errno.ENOSPC)),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_job_that_finds_no_room_on_the_disk_fails_with_the_reason_and_harms_nothing_else(
    weir: Weir, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[pytest.MonkeyPatch], None], reason: str
) -> None:
    insert(weir, [(f"user {number}", START) for number in range(1000)])
    with monkeypatch.context() as patch:
        trouble(patch)
        for parameters in (DAILY, {**DAILY, "segment": "properties.a:b"}) * 2:  # more than there are connections
            failed = answer(weir, jobs, "daily_users", parameters)
            assert failed.status == "failed"
            assert reason in str(failed.error)
            assert "ask for fewer days, or again when" in str(failed.error)
    done = answer(weir, jobs, "daily_users", DAILY)
    assert done.result is not None, done.error
    assert done.result["days"] == [{"date": DAILY["from"], "unique_users": 1000}]


def test_job_that_is_cancelled_while_it_copies_copies_no_more(
    weir: Weir, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(events, "_STEP_ROWS", 10)
    insert(weir, [(f"user {number}", START) for number in range(1000)])
    job = jobs.submit("daily_users", DAILY)
    copied = 0

    def write(self: spool.Spool, row: bytes) -> int:
        nonlocal copied
        copied += 1
        if copied == 25:
            jobs.cancel(job.id, for_all=False)
        return len(row)

    monkeypatch.setattr(spool.Spool, "write", write)
    assert run(weir, jobs, job.id).status == "cancelled"
    assert copied < 60  # of some 300


def test_of_earlier_events_only_the_different_ones_are_copied(
    weir: Weir, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = START - timedelta(days=30)
    insert(weir, [("old", before + timedelta(seconds=number)) for number in range(1000)])
    insert(
        weir, [("old", START), ("new", START), ("old", START + timedelta(days=1)), ("new", START + timedelta(days=1))]
    )
    no_more_room(monkeypatch)
    found = answer(weir, jobs, "retention", RETENTION)
    assert found.result is not None, found.error
    assert (found.result["cohort_size"], found.result["windows"]) == (1, [{"day": 1, "count": 1, "rate": 1.0}])
    assert found.seen is not None
    assert found.seen["hot"] == 1004


def test_numbers_written_in_two_ways_are_different_among_earlier_events(weir: Weir, jobs: Jobs) -> None:
    """To PostgreSQL they are equal; a segment compares integers by their digits, and floats as floats."""
    odd = 2**53 + 1
    insert(weir, [("a", START - timedelta(days=1))], f'{{"n": {odd}}}')
    insert(weir, [("a", START - timedelta(days=1))], f'{{"n": {odd}.0}}')
    insert(weir, [("a", START)], json.dumps({"n": odd - 1}))
    found = answer(weir, jobs, "retention", {**RETENTION, "segment": f"properties.n:{odd - 1}"})
    assert found.result is not None, found.error
    assert found.result["cohort_size"] == 0


def test_one_more_earlier_event_of_a_known_user_is_other_data(weir: Weir, jobs: Jobs) -> None:
    before = START - timedelta(days=30)
    insert(weir, [("old", before), ("old", before), ("new", START)])
    first = answer(weir, jobs, "retention", RETENTION)
    insert(weir, [("new", END)])
    assert ask(jobs, "retention", RETENTION) == (first.id, False)
    insert(weir, [("old", before)])
    _, is_new = ask(jobs, "retention", RETENTION)
    assert is_new


#: What a form with quoting gets wrong: at the end of a block, at the start of a file, or everywhere.
STRANGE = [
    "\r\n",
    "a\r\n",
    "\ufeff",
    "\ufeffb",
    "\n",
    "\r",
    '"',
    '""',
    ",",
    "\\N",
    "\\.",
    "a\nb",
    'c"d,e',
    " ",
    "\t",
    "\u2028",
]


def test_texts_are_counted_as_they_are_wherever_a_block_ends(weir: Weir, jobs: Jobs) -> None:
    """Every kind of text at every place of several blocks of a megabyte; users and types alike, hot and then sealed."""
    long = ["A" * 190 + "\r\n", "alice" * 38 + "\r\n", "\ufeff" * 60]
    texts = [*STRANGE, *long]
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO events SELECT gen_random_uuid(), %s, t.value, t.value, '{}'
            FROM generate_series(1, 9000) AS n, unnest(%s::text[]) AS t (value) WHERE n <= 300 + length(t.value) * 40
            """,
            (START, texts),
        )
        rows = cursor.rowcount
    weir.count_stored("events", rows)
    expected = dict(weir.rows("SELECT event_type, count(*) FROM events GROUP BY event_type"))
    assert len(expected) == len(texts)
    question: dict[str, object] = {**DAILY, "limit": 100}
    for tier in ("hot", "sealed"):
        if tier == "sealed":
            seal_days(weir, [START.date()])
            assert weir.stored(EVENTS) == 0
            weir.rows("UPDATE jobs SET question = NULL")  # so that it is not the same question
        found = answer(weir, jobs, "top_events", question).result
        assert found is not None
        assert {one["event_type"]: one["count"] for one in found["events"]} == expected
        (day,) = (answer(weir, jobs, "daily_users", DAILY).result or {})["days"]
        assert day["unique_users"] == len(texts)
        retained = answer(weir, jobs, "retention", RETENTION).result
        assert retained is not None
        assert retained["cohort_size"] == len(texts)


def test_answer_of_before_a_change_of_answers_is_not_given_again(
    weir: Weir, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(weir, [("u", START)])
    answer(weir, jobs, "daily_users", DAILY)
    assert ask(jobs, "daily_users", DAILY)[1] is False
    monkeypatch.setattr(asking, "ANSWERS", asking.ANSWERS + 1)
    assert ask(jobs, "daily_users", DAILY)[1] is True
