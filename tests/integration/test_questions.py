"""The same question over unchanged data is the same job; jobs tell how far they are, and can be cancelled."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from uuid import UUID, uuid4

import httpx
import pytest
from factories import Weir, partition, reading
from sqlalchemy import Connection

from analytics import progress, tasks
from consumer import forgetting
from shared import asking, data_version
from shared.celery_app import celery_app
from shared.cold import hot
from shared.cold.sealing import seal
from shared.cold.store import Store
from shared.database import connect
from shared.errors import NotCancelled
from shared.jobs import Jobs, Nudge
from shared.scope import Scope
from shared.streams import READINGS
from shared.watchdog import Watchdog

DEADLINE = timedelta(minutes=10)
DAY = date(2026, 1, 31)
NOON = "2026-01-31T12:00:00Z"


@pytest.fixture
def jobs(weir: Weir) -> Iterator[Jobs]:
    engine = connect(weir.database_url, pool_size=3, statement_deadline=timedelta(seconds=30))
    yield Jobs(engine, celery_app(weir.amqp_url, DEADLINE))
    engine.dispose()


def run(weir: Weir, jobs: Jobs, job_id: UUID) -> None:
    """Do what a worker does when it is told of a job."""
    store = Store(weir.settings().cold_url)
    tasks.run(jobs, jobs._engine, store, Watchdog(jobs._engine), job_id, Nudge(uuid4()), DEADLINE)


def insert(weir: Weir, key: int, value: float, moment: str = NOON) -> None:
    weir.rows("INSERT INTO readings VALUES (%s, %s, %s, %s, %s)", key, moment, value, value, value)
    weir.count_stored("readings", 1)


def ask(jobs: Jobs, keys: tuple[int, ...] = (1,), **parameters: object) -> tuple[UUID, bool]:
    job, is_new = asking.ask(jobs._engine, "user_statistics", {"user_id": 1, **parameters}, Scope(keys))
    return job.id, is_new


def answered(weir: Weir, jobs: Jobs, **parameters: object) -> UUID:
    """Ask something new, and have it answered."""
    job_id, is_new = ask(jobs, **parameters)
    assert is_new
    run(weir, jobs, job_id)
    assert jobs.fetch(job_id).status == "done", jobs.fetch(job_id).error
    return job_id


@pytest.fixture
def device(weir: Weir) -> int:
    """The key of a user's only device, which has one reading."""
    weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    weir.rows("INSERT INTO devices (id, user_id) VALUES (%s, 1)", str(uuid4()))
    key = int(weir.scalar("SELECT key FROM devices"))
    insert(weir, key, 1.0)
    return key


# The same question


def test_many_who_ask_at_once_start_one_job(weir: Weir) -> None:
    weir.start("api", "consumer", "worker")
    device = weir.device()
    weir.http.post(f"/devices/{device}/stats/", json=reading(3))
    weir.wait_until_stored(1)
    path = f"/devices/{device}/analytics/"
    weir.http.get(path, params={"wait": 30, "histogram": 2})  # the worker is up, and as quick as it can be

    def one(_: int) -> dict:
        return weir.http.get(path, params={"wait": 30}).json()

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(one, range(50)))
    assert {answer["status"] for answer in answers} == {"SUCCESS"}
    assert {answer["result"]["x"]["sum"] for answer in answers} == {3.0}
    assert len({answer["task_id"] for answer in answers}) == 1
    assert weir.scalar("SELECT count(*) FROM jobs") == 2


def test_answer_is_given_again_until_something_is_stored_in_its_window(weir: Weir) -> None:
    weir.start("api", "consumer", "worker")
    mine, theirs = weir.device(), weir.device("other")

    def store(device: UUID, **fields: object) -> None:
        stored = weir.stored()
        assert weir.http.post(f"/devices/{device}/stats/", json=reading(2, **fields)).status_code == 202
        weir.wait_until_stored(stored + 1)

    def get(**window: str) -> dict:
        return weir.http.get(f"/devices/{mine}/analytics/", params={"wait": "30", **window}).json()

    store(mine, timestamp=NOON)
    first, until_noon = get(), get(end=NOON)
    again = get()
    assert (again["task_id"], first["checked_at"]) == (first["task_id"], None)
    assert again["result"]["as_of"] == first["result"]["as_of"] < again["checked_at"]
    store(theirs)
    assert get()["task_id"] == first["task_id"]
    store(mine, timestamp=NOON)
    new = get()
    assert new["task_id"] != first["task_id"]
    assert (first["result"]["x"]["count"], new["result"]["x"]["count"]) == (1, 2)
    assert get(end=NOON)["task_id"] == until_noon["task_id"]


def test_answer_given_again_says_how_much_is_queued_by_then(weir: Weir) -> None:
    weir.start("api", "worker")
    device = weir.device()
    path = f"/devices/{device}/analytics/?wait=30"
    first = weir.http.get(path).json()
    apart = weir.http.get("/users/1/analytics/?wait=30&group_by=device").json()
    weir.http.post(f"/devices/{device}/stats/", json=reading())
    again = weir.http.get(path).json()
    assert (again["task_id"], first["result"]["queued"], again["result"]["queued"]) == (first["task_id"], 0, 1)
    again = weir.http.get("/users/1/analytics/?wait=30&group_by=device").json()
    assert again["task_id"] == apart["task_id"]
    assert again["result"]["devices"][str(device)]["queued"] == again["result"]["queued"] == 1


def test_together_is_the_same_question_whether_it_is_said_or_not(weir: Weir) -> None:
    weir.start("api", "worker")
    weir.device()
    path = "/users/1/analytics/?wait=30"
    usual = weir.http.get(path).json()
    apart = weir.http.get(f"{path}&group_by=device").json()
    assert "devices" in apart["result"]
    for again in (
        weir.http.get(f"{path}&group_by=together"),
        weir.http.post(f"{path}&group_by=together"),
        weir.http.post(path, json={"group_by": "together"}),
        weir.http.post(f"{path}&group_by=device", json={"group_by": "together"}),
    ):
        assert again.json()["task_id"] == usual["task_id"] != apart["task_id"], again.text
        assert "devices" not in again.json()["result"]


def test_answer_of_each_device_by_itself_is_bounded(weir: Weir, jobs: Jobs, device: int) -> None:
    weir.start("api")
    weir.rows("INSERT INTO devices (id, user_id) SELECT gen_random_uuid(), 1 FROM generate_series(2, 300)")
    insert(weir, device, 1.0, "2026-01-31T13:00:00Z")
    month = {"start": "2026-01-01", "end": "2026-02-01", "group_by": "device"}
    for asked in ({"bucket": "1h"}, {"histogram": "1000"}):
        answer = weir.http.get("/users/1/analytics/", params=month | asked)
        assert answer.status_code == 422
        assert [one["field"] for one in answer.json()["errors"]] == ["group_by"]
    assert weir.scalar("SELECT count(*) FROM jobs") == 0
    assert weir.http.get("/users/1/analytics/", params=month | {"bucket": "1d"}).status_code == 200
    job_id, _ = ask(jobs, bucket=1800.0, group_by="device")
    weir.rows("INSERT INTO readings SELECT %s, timestamptz '2026-01-01' + n * interval '1h', 0, 0, 0 "
              "FROM generate_series(1, 200) n", device)  # fmt: skip
    run(weir, jobs, job_id)
    assert "makes more than 109 buckets" in str(jobs.fetch(job_id).error)


ASKERS = 20


def is_asking(weir: Weir, count: int) -> bool:
    """Whether so many wait for whoever asks the same."""
    return bool(weir.scalar("SELECT count(*) = %s FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", count))


def test_those_who_wait_to_ask_share_one_look(
    weir: Weir, jobs: Jobs, device: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answered(weir, jobs)
    counted, may_go_on = [], Event()
    count = data_version._count

    def counting(connection: Connection, scope: Scope) -> int | None:
        """Something else is stored before each count, so that nobody may do without one; the first one takes long."""
        counted.append(scope)
        assert may_go_on.wait(20)
        insert(weir, device + 1, 1.0)
        return count(connection, scope)

    monkeypatch.setattr(data_version, "_count", counting)
    insert(weir, device + 1, 1.0)
    many = connect(weir.database_url, pool_size=ASKERS, statement_deadline=timedelta(seconds=30))
    with ThreadPoolExecutor(ASKERS) as pool:
        answers = [pool.submit(asking.ask, many, "user_statistics", {"user_id": 1}, Scope((1,))) for _ in range(ASKERS)]
        weir.wait_for(lambda: is_asking(weir, ASKERS - 1))
        may_go_on.set()
        assert {answer.result()[0].id for answer in answers} == {first}
    many.dispose()
    # They came while the first one counted, which may have missed what was stored meanwhile.
    assert len(counted) == 2


def test_who_came_before_a_job_began_joins_it_whatever_is_stored_since(weir: Weir, jobs: Jobs, device: int) -> None:
    came = time.monotonic()
    job_id = answered(weir, jobs)
    insert(weir, device, 2.0)
    parameters, scope = {"user_id": 1}, Scope((device,))
    assert asking.ask(jobs._engine, "user_statistics", parameters, scope, came)[0].id == job_id
    assert asking.ask(jobs._engine, "user_statistics", parameters, Scope((device, 7)), came)[1]


def test_many_who_ask_hold_up_nobody_else(weir: Weir, device: int) -> None:
    weir.environment["WEIR_POOL_SIZE"] = "4"
    weir.start("api")
    with ThreadPoolExecutor(ASKERS) as pool, httpx.Client(base_url=weir.url, timeout=20) as http:
        with weir.connection() as connection, connection.cursor() as cursor:
            # Nobody finds out whether an answer still holds.
            cursor.execute("BEGIN; LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            asked = [pool.submit(http.get, "/users/1/analytics/") for _ in range(ASKERS)]
            weir.wait_for(lambda: is_asking(weir, 3))
            for path in ("/devices/", "/stats/"):
                began = time.monotonic()
                assert weir.http.get(path).status_code == 200
                assert time.monotonic() - began < 2
            refused = [one.result() for one in asked]
        assert {one.status_code for one in refused} == {503}
        assert all(1 <= int(one.headers["retry-after"]) <= 60 for one in refused)
        asked = [pool.submit(http.get, "/users/1/analytics/") for _ in range(ASKERS)]
        assert len({one.result().json()["task_id"] for one in asked}) == 1


def test_another_device_of_the_user_makes_it_another_question(weir: Weir, jobs: Jobs, device: int) -> None:
    first = answered(weir, jobs)
    assert ask(jobs) == (first, False)
    assert ask(jobs, keys=(device, device + 1))[1]


def test_sealing_changes_no_answer(weir: Weir, jobs: Jobs, device: int) -> None:
    partition(weir, "readings", date(2026, 2, 1))
    weir.rows("DELETE FROM readings")
    partition(weir, "readings", DAY)
    insert(weir, device, 2.0)
    first = answered(weir, jobs)
    store = Store(weir.settings().cold_url)
    with jobs._engine.connect() as connection:
        sources = hot.sources(connection, READINGS, DAY + timedelta(days=1))
    for source in sources:
        seal(jobs._engine, store, source)
    assert weir.stored() == 0
    assert ask(jobs) == (first, False)
    insert(weir, device, 3.0)
    assert ask(jobs)[1]


def test_rows_that_nobody_counted_are_noticed_once_anything_is_stored(weir: Weir, jobs: Jobs, device: int) -> None:
    first = answered(weir, jobs)
    weir.rows("INSERT INTO readings VALUES (%s, %s, 1, 1, 1)", device, NOON)
    insert(weir, device + 1, 1.0)
    assert ask(jobs)[0] != first


def test_new_reading_counts_also_when_an_old_minute_was_forgotten(weir: Weir, jobs: Jobs, device: int) -> None:
    weir.rows("UPDATE ledger SET minute = now() - interval '91 days'")
    first = answered(weir, jobs)
    minutes = forgetting.terms(timedelta(days=14), timedelta(days=90))[-1]
    assert forgetting.forget(jobs._engine, minutes) == 1
    assert ask(jobs) == (first, False)
    insert(weir, device, 2.0)
    assert ask(jobs)[1]


def test_what_failed_or_was_cancelled_is_asked_anew(weir: Weir, jobs: Jobs, device: int) -> None:
    failed, _ = ask(jobs)
    weir.rows("ALTER TABLE readings RENAME TO gone")
    run(weir, jobs, failed)
    weir.rows("ALTER TABLE gone RENAME TO readings")
    assert jobs.fetch(failed).status == "failed"
    second, is_new = ask(jobs)
    assert is_new
    jobs.cancel(second, for_all=False)
    assert ask(jobs)[1]


def test_running_job_is_joined_only_while_it_will_see_all(weir: Weir, jobs: Jobs, device: int) -> None:
    first, _ = ask(jobs)
    assert jobs.take(first, Nudge(uuid4()), DEADLINE)
    assert ask(jobs) == (first, False)
    insert(weir, device, 2.0)
    second, is_new = ask(jobs)
    assert (is_new, second == first) == (True, False)
    assert ask(jobs) == (second, False)


def test_counting_that_takes_too_long_is_given_up(weir: Weir, jobs: Jobs, device: int) -> None:
    first = answered(weir, jobs)
    insert(weir, device + 1, 1.0)
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        began = datetime.now(UTC)
        other, is_new = ask(jobs)
        assert datetime.now(UTC) - began < timedelta(seconds=5)
    assert (is_new, other == first) == (True, False)


def test_forgotten_answers_are_not_given_again(weir: Weir, jobs: Jobs, device: int) -> None:
    first = answered(weir, jobs)
    with jobs._engine.begin() as connection:
        asking.forget(connection)
    assert ask(jobs)[1]
    assert jobs.fetch(first).status == "done"


def test_answer_given_again_is_kept_as_long_as_a_new_one(weir: Weir, jobs: Jobs, device: int) -> None:
    first = answered(weir, jobs)
    weir.rows("UPDATE jobs SET finished_at = now() - interval '23 hours'")
    assert ask(jobs) == (first, False)
    weir.rows("UPDATE jobs SET finished_at = now() - interval '25 hours'")
    assert jobs.expire(timedelta(days=1)) == 0


# How far, and cancelled


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each report reaches the database."""
    monkeypatch.setattr(progress, "EVERY", 0.0)


def test_job_tells_how_far_it_is(weir: Weir, jobs: Jobs, monkeypatch, every_step) -> None:
    told = []

    def work(tools: tasks.Tools, _: object) -> dict:
        tools.progress.expect(8)
        for _step in range(10):
            tools.progress.done(1)
            told.append(jobs.fetch(job.id).progress)
        return {}

    monkeypatch.setitem(tasks.KINDS, "slow", work)
    job = jobs.submit("slow", {})
    run(weir, jobs, job.id)
    assert told == [12, 25, 37, 50, 62, 75, 87, 99, 99, 99]


def test_cancelled_job_stops_at_its_next_step(weir: Weir, jobs: Jobs, monkeypatch, every_step) -> None:
    steps = []

    def work(tools: tasks.Tools, _: object) -> dict:
        for step in range(10):
            if step == 3:
                jobs.cancel(job.id, for_all=False)
            tools.progress.done(1)
            steps.append(step)
        return {}

    monkeypatch.setitem(tasks.KINDS, "slow", work)
    job = jobs.submit("slow", {})
    run(weir, jobs, job.id)
    assert steps == [0, 1, 2]
    found = jobs.fetch(job.id)
    assert (found.status, found.result, found.error) == ("cancelled", None, None)


def test_cancelled_job_never_starts(weir: Weir, jobs: Jobs, device: int) -> None:
    job_id, _ = ask(jobs)
    jobs.cancel(job_id, for_all=False)
    assert jobs.take(job_id, Nudge(uuid4()), DEADLINE) is None
    assert jobs.resend(timedelta(seconds=-1), DEADLINE) == 0


def test_answer_that_comes_after_the_cancelling_is_not_kept(weir: Weir, jobs: Jobs, device: int) -> None:
    job_id, _ = ask(jobs)
    job = jobs.take(job_id, Nudge(uuid4()), DEADLINE)
    assert job
    jobs.cancel(job_id, for_all=False)
    jobs.finish(job, result={"x": 1})
    assert (jobs.fetch(job_id).status, jobs.fetch(job_id).result) == ("cancelled", None)


def test_answer_of_a_run_that_was_overtaken_is_kept_with_what_it_saw(weir: Weir, jobs: Jobs, device: int) -> None:
    job_id, _ = ask(jobs)
    nudge = Nudge(uuid4())
    first = jobs.take(job_id, nudge, DEADLINE)
    insert(weir, device, 2.0)
    assert jobs.take(job_id, replace(nudge, redelivered=True), DEADLINE)
    assert first
    jobs.finish(first, result={"x": 1})
    assert ask(jobs) != (job_id, False)


def test_job_of_several_is_not_cancelled_by_one_of_them(jobs: Jobs, device: int) -> None:
    job_id, _ = ask(jobs)
    assert ask(jobs) == (job_id, False)
    for _ in range(3):
        with pytest.raises(NotCancelled):
            jobs.cancel(job_id, for_all=False)
    assert jobs.fetch(job_id).status == "queued"
    assert jobs.cancel(job_id, for_all=True).status == "cancelled"


@contextmanager
def readings_locked(weir: Weir) -> Iterator[None]:
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        yield


def test_cancelling_over_http(weir: Weir) -> None:
    weir.start("api", "worker")
    device = weir.device()
    path = f"/devices/{device}/analytics/"
    with readings_locked(weir):
        task = f"/tasks/{weir.http.get(path).json()['task_id']}"
        weir.wait_for(lambda: weir.http.get(task).json()["status"] == "STARTED")
        for _ in range(2):
            found = weir.http.delete(task)
            assert (found.status_code, found.json()["status"]) == (200, "CANCELLED")
        assert weir.http.get(task, params={"wait": 20}).json()["status"] == "CANCELLED"
    done = weir.http.get(path, params={"wait": 30}).json()
    assert done["status"] == "SUCCESS"
    assert done["progress"] == 100
    refused = weir.http.delete(f"/tasks/{done['task_id']}")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:weir:problem:not-cancelled")
    assert weir.http.get(f"/tasks/{done['task_id']}").json()["status"] == "SUCCESS"
    assert weir.http.delete(f"/tasks/{uuid4()}").status_code == 404


# Damaged files


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damaged_file_fails_the_job_and_is_named(weir: Weir, jobs: Jobs, device: int, damage: str) -> None:
    for number in range(20):
        insert(weir, device, float(number))
    store = Store(weir.settings().cold_url)
    with jobs._engine.connect() as connection:
        (source,) = hot.sources(connection, READINGS, DAY + timedelta(days=1))
    seal(jobs._engine, store, source)
    (file,) = Path(weir.settings().cold_url).rglob("*.parquet")
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(whole[:-20])
    else:
        footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        file.write_bytes(
            whole[: footer // 2] + bytes(byte ^ 1 for byte in whole[footer // 2 : footer]) + whole[footer:]
        )
    job_id, _ = ask(jobs)
    run(weir, jobs, job_id)
    found = jobs.fetch(job_id)
    assert (found.status, found.attempts) == ("failed", 1)
    assert file.name in str(found.error)
