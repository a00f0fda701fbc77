"""Jobs on real servers: each is computed once, ends with an answer or a reason, and outlives workers and databases."""

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from factories import COMMANDS, Weir, group_of, reading

from analytics import tasks
from cli.programs import free_ports
from cli.running import RunningServer
from cli.servers import PostgresServer
from shared.broker.messages import Series
from shared.cold.store import Store
from shared.database import DatabaseThreads, connect
from shared.errors import BrokerUnavailable, DatabaseUnavailable, Expired, NotFound
from shared.jobs import ATTEMPTS, Job, Jobs, Nudge
from shared.ledger import Acceptances
from shared.migrations import upgrade
from shared.watchdog import Watchdog

DEADLINE = timedelta(minutes=10)


@pytest.fixture
def job(weir: Weir, jobs: Jobs) -> Job:
    """A queued job of which no worker was told."""
    return jobs.submit("user_statistics", {"user_id": 1})


def state(weir: Weir, job_id: object) -> tuple[str, int]:
    (found,) = weir.rows("SELECT status, attempts FROM jobs WHERE id = %s", str(job_id))
    return found


def is_running(weir: Weir, job_id: object, attempts: int = 1) -> bool:
    return state(weir, job_id) == ("running", attempts)


def make_it_long_ago(weir: Weir, column: str) -> None:
    weir.rows(f"UPDATE jobs SET {column} = {column} - interval '1 day'")


def let_the_worker_come_to_the_end(weir: Weir, jobs: Jobs) -> None:
    """Wait for a job of the end of the queue: the worker has then seen every nudge before it."""
    last = jobs.submit("user_statistics", {"user_id": 2})
    assert jobs.nudge(last.id)
    weir.wait_for(lambda: state(weir, last.id) == ("done", 1), 40)


@contextmanager
def readings_locked(weir: Weir) -> Iterator[None]:
    """While it lasts no job can read."""
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        yield


# Who may start a job


def test_second_nudge_of_a_running_job_does_nothing(weir: Weir, jobs: Jobs, job: Job) -> None:
    assert jobs.take(job.id, Nudge(uuid4()), DEADLINE)
    for nudge in (Nudge(uuid4()), Nudge(uuid4(), redelivered=True)) * ATTEMPTS:
        assert jobs.take(job.id, nudge, DEADLINE) is None
    assert is_running(weir, job.id)


def test_job_whose_worker_keeps_dying_ends_as_failure_with_the_reason(weir: Weir, jobs: Jobs, job: Job) -> None:
    first = Nudge(uuid4())
    assert jobs.take(job.id, first, DEADLINE)
    again = Nudge(first.id, redelivered=True)
    for _ in range(ATTEMPTS - 1):
        assert jobs.take(job.id, again, DEADLINE)
    assert jobs.take(job.id, again, DEADLINE) is None
    assert jobs.fetch(job.id).status == "failed"
    assert jobs.fetch(job.id).error == f"its worker died {ATTEMPTS} times"


def test_going_on_after_the_database_was_away_is_no_new_start(weir: Weir, jobs: Jobs, job: Job) -> None:
    nudge = Nudge(uuid4())
    assert jobs.take(job.id, nudge, DEADLINE)
    for _ in range(2 * ATTEMPTS):
        assert jobs.take(job.id, Nudge(nudge.id, goes_on=True), DEADLINE)
    assert is_running(weir, job.id)


def test_job_that_runs_past_its_deadline_is_taken_from_its_worker(weir: Weir, jobs: Jobs, job: Job) -> None:
    assert jobs.take(job.id, Nudge(uuid4()), DEADLINE)
    make_it_long_ago(weir, "started_at")
    assert jobs.take(job.id, Nudge(uuid4()), DEADLINE)
    assert is_running(weir, job.id, 2)


def test_answer_of_a_job_that_was_given_up_is_kept(weir: Weir, jobs: Jobs, job: Job) -> None:
    slow = jobs.take(job.id, Nudge(uuid4()), DEADLINE)
    make_it_long_ago(weir, "started_at")
    quick = jobs.take(job.id, Nudge(uuid4()), DEADLINE)
    assert slow
    assert quick
    jobs.finish(slow, error="not its to say any more")
    assert is_running(weir, job.id, 2)
    jobs.finish(quick, error="broken")
    assert jobs.fetch(job.id).status == "failed"
    jobs.finish(slow, result={"x": 1})
    found = jobs.fetch(job.id)
    assert (found.status, found.result, found.error) == ("done", {"x": 1}, None)
    jobs.finish(quick, result={"x": 2})
    assert jobs.fetch(job.id).result == {"x": 1}


def test_one_nudge_the_broker_refuses_does_not_hold_back_the_next(
    weir: Weir, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        jobs.submit("user_statistics", {"user_id": number})
    make_it_long_ago(weir, "sent_at")
    asked: list[UUID] = []

    def send(job_id: UUID) -> None:
        asked.append(job_id)
        if len(asked) == 1:
            raise BrokerUnavailable("not this one")

    monkeypatch.setattr(jobs, "send", send)
    assert jobs.resend(timedelta(0), DEADLINE) == 2
    assert len(set(asked)) == 3


def test_broker_that_refuses_the_queue_is_unavailable(weir: Weir, jobs: Jobs, job: Job) -> None:
    weir.management("PUT", "queues/{vhost}/weir.jobs", json={"durable": True, "arguments": {"x-queue-type": "classic"}})
    with pytest.raises(BrokerUnavailable):
        jobs.send(job.id)
    assert jobs.nudge(job.id) is False


def is_alive(weir: Weir) -> bool:
    try:
        return weir.http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_broker_that_does_not_answer_delays_jobs_and_nothing_else(weir: Weir, jobs: Jobs) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as frozen_broker:
        weir.environment["WEIR_AMQP_URL"] = f"amqp://weir:weir@127.0.0.1:{frozen_broker.getsockname()[1]}/weir"
        weir.run("api", *COMMANDS["api"])
        weir.wait_for(lambda: is_alive(weir))
        path = f"/devices/{weir.device()}/analytics/"

        def ask(number: int) -> httpx.Response:
            # Another question each; and each by itself would wait for the broker as long.
            return weir.http.get(path, params={"histogram": number + 1}, timeout=6)

        with ThreadPoolExecutor(12) as pool:
            asked = pool.map(ask, range(12))
            assert weir.http.get("/devices/", timeout=3).status_code == 200
            answers = [one.json() for one in asked]
    assert {one["status"] for one in answers} == {"PENDING"}
    assert weir.scalar("SELECT count(*) FROM jobs WHERE status = 'queued'") == 12
    make_it_long_ago(weir, "sent_at")
    assert jobs.resend(timedelta(seconds=20), DEADLINE) == 12
    weir.environment["WEIR_AMQP_URL"] = weir.amqp_url
    weir.start("worker")
    for one in answers:
        assert weir.http.get(f"/tasks/{one['task_id']}?wait=30").json()["status"] == "SUCCESS"


# Workers


def test_job_that_was_sent_again_five_times_starts_once(weir: Weir, jobs: Jobs, job: Job) -> None:
    for _ in range(5):
        make_it_long_ago(weir, "sent_at")
        assert jobs.resend(timedelta(seconds=20), DEADLINE) == 1
    weir.start("worker")
    let_the_worker_come_to_the_end(weir, jobs)
    assert state(weir, job.id) == ("done", 1)


def test_worker_killed_in_the_middle_leaves_one_answer(weir: Weir, jobs: Jobs) -> None:
    weir.start("api", "consumer", "worker")
    device = weir.device()
    weir.http.post(f"/devices/{device}/stats/", json=reading(3))
    weir.wait_until_stored(1)
    with readings_locked(weir):
        task = weir.http.get(f"/devices/{device}/analytics/").json()
        weir.wait_for(lambda: is_running(weir, task["task_id"]), 40)
        weir.stop("worker", signal.SIGKILL)
        weir.start("worker")
        weir.wait_for(lambda: is_running(weir, task["task_id"], 2), 40)
    found = weir.http.get(f"/tasks/{task['task_id']}?wait=30").json()
    assert (found["status"], found["result"]["x"]["sum"]) == ("SUCCESS", 3.0)
    let_the_worker_come_to_the_end(weir, jobs)
    assert state(weir, task["task_id"]) == ("done", 2)


def test_job_that_raises_ends_as_failure_with_a_message(weir: Weir, jobs: Jobs) -> None:
    weir.start("api", "worker")
    job = jobs.submit("no such kind", {})
    assert jobs.nudge(job.id)
    found = weir.http.get(f"/tasks/{job.id}?wait=30").json()
    assert (found["status"], found["error"], found["result"]) == ("FAILURE", "unexpected KeyError", None)


@pytest.mark.parametrize("answer", [{"x": float("nan")}, {"x": object()}], ids=["NaN", "no JSON"])
def test_job_whose_answer_cannot_be_kept_ends_as_failure(
    weir: Weir, jobs: Jobs, job: Job, monkeypatch: pytest.MonkeyPatch, answer: dict[str, object]
) -> None:
    monkeypatch.setitem(tasks.KINDS, job.kind, lambda *_: answer)
    engine, store = jobs._engine, Store(weir.settings().cold_url)
    tasks.run(jobs, engine, store, Watchdog(engine), job.id, Nudge(uuid4()), DEADLINE)
    found = jobs.fetch(job.id)
    assert found.status == "failed"
    assert str(found.error).startswith("unexpected ")


def test_job_whose_answer_the_database_refuses_ends_as_failure_with_the_reason(
    weir: Weir, jobs: Jobs, job: Job
) -> None:
    weir.rows("ALTER TABLE jobs ADD CONSTRAINT no_answers CHECK (result IS NULL)")
    engine, store = jobs._engine, Store(weir.settings().cold_url)
    tasks.run(jobs, engine, store, Watchdog(engine), job.id, Nudge(uuid4()), DEADLINE)
    found = jobs.fetch(job.id)
    assert found.status == "failed"
    assert str(found.error).startswith("its answer cannot be kept: ")


def test_database_away_while_a_job_runs_only_delays_it(weir: Weir) -> None:
    weir.start("api", "worker")
    device = weir.device()
    with readings_locked(weir):
        task = weir.http.get(f"/devices/{device}/analytics/").json()
        weir.wait_for(lambda: is_running(weir, task["task_id"]), 40)
        weir.administer(f"ALTER DATABASE {weir.name} ALLOW_CONNECTIONS false")
        weir.administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{weir.name}'")
    weir.wait_for(lambda: "a job waits" in weir.log("worker"))
    weir.administer(f"ALTER DATABASE {weir.name} ALLOW_CONNECTIONS true")
    weir.wait_for(weir.is_ready)
    assert weir.http.get(f"/tasks/{task['task_id']}?wait=30").json()["status"] == "SUCCESS"
    assert state(weir, task["task_id"]) == ("done", 1)


def test_unknown_id_is_404_and_one_kept_long_enough_410(weir: Weir, jobs: Jobs, job: Job) -> None:
    weir.start("api")
    assert weir.http.get(f"/tasks/{uuid4()}").status_code == 404
    taken = jobs.take(job.id, Nudge(uuid4()), DEADLINE)
    assert taken
    jobs.finish(taken, result={})
    assert weir.http.get(f"/tasks/{job.id}").json()["status"] == "SUCCESS"
    make_it_long_ago(weir, "finished_at")
    assert jobs.expire(timedelta(hours=1)) == 1
    assert weir.http.get(f"/tasks/{job.id}").status_code == 410


def test_what_a_job_had_seen_goes_with_its_answer(weir: Weir, jobs: Jobs, job: Job) -> None:
    weir.rows("UPDATE jobs SET question = 'what', seen = '{\"stream\": \"readings\"}'")
    taken = jobs.take(job.id, Nudge(uuid4()), DEADLINE)
    assert taken
    jobs.finish(taken, error="broken")
    assert jobs.expire(timedelta(hours=1)) == 0
    make_it_long_ago(weir, "finished_at")
    assert jobs.expire(timedelta(hours=1)) == 1
    assert weir.rows("SELECT question, seen, result, error FROM jobs") == [(None, None, None, None)]


def test_jobs_are_forgotten_once_their_answer_is_dropped_and_they_ended_long_ago(
    weir: Weir, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.jobs._MOST", 2)
    statuses = ("queued", "running", "done", "failed", "cancelled", *["expired"] * 5)
    old = [jobs.submit("user_statistics", {"user_id": 1}).id for _ in statuses]
    for job_id, status in zip(old, statuses, strict=True):
        weir.rows(
            "UPDATE jobs SET status = %s, finished_at = now() - interval '91 days' WHERE id = %s", status, str(job_id)
        )
    young = jobs.submit("user_statistics", {"user_id": 1}).id
    weir.rows("UPDATE jobs SET status = 'expired', finished_at = now() - interval '89 days' WHERE id = %s", str(young))
    assert jobs.forget(timedelta(days=90)) == 5
    with pytest.raises(NotFound):
        jobs.fetch(old[-1])
    with pytest.raises(Expired):
        jobs.fetch(young)
    assert weir.scalar("SELECT count(*) FROM jobs") == 6


# The ledger and a database that does not answer


async def test_counts_whose_commit_is_unknown_are_added_once(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = connect(weir.database_url, pool_size=2, statement_deadline=timedelta(seconds=30))
    threads = DatabaseThreads(2)
    acceptances = Acceptances(engine, threads)
    series = Series(1)

    def confirm(records: int) -> None:
        group = group_of(([b""] * records, None))
        group.minute = series.minute
        group.join(series)
        series.confirmed = group.reached
        acceptances.add(group)

    confirm(5)
    write = acceptances._write

    def lose_the_answer(*args: object) -> None:
        write(*args)
        raise DatabaseUnavailable("committed, but nobody heard of it")

    monkeypatch.setattr(acceptances, "_write", lose_the_answer)
    with pytest.raises(DatabaseUnavailable):
        await acceptances.flush()
    monkeypatch.undo()
    confirm(2)
    await acceptances.flush()
    assert weir.scalar("SELECT sum(accepted) FROM ledger") == 7
    threads.close()
    engine.dispose()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[RunningServer]:
    """A database server that a test may freeze."""
    tmp_path.chmod(0o755)
    postgres = RunningServer(PostgresServer(tmp_path / "postgres", *free_ports(1)))
    try:
        upgrade(postgres.ready().url)
        yield postgres
    finally:
        postgres.stop()


@contextmanager
def frozen(server: RunningServer) -> Iterator[None]:
    """Stop every process of a server as it is: TCP goes on answering, PostgreSQL does not."""
    stopped: list[Stopped] = []
    try:
        stopped.append(Stopped(server.pid))  # first, so that no more are born
        stopped += [Stopped(int(child)) for child in children(server.pid)]
        yield
    finally:
        for process in stopped:
            process.go_on()


class Stopped:
    """One stopped process; the handle names it even after its number is another's."""

    def __init__(self, pid: int) -> None:
        self._handle = os.pidfd_open(pid)
        signal.pidfd_send_signal(self._handle, signal.SIGSTOP)

    def go_on(self) -> None:
        with suppress(ProcessLookupError):  # the server may have ended it meanwhile
            signal.pidfd_send_signal(self._handle, signal.SIGCONT)
        os.close(self._handle)


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue  # it ended meanwhile
        if int(parent) == pid:
            found.append(int(status.parent.name))
    return found


def test_worker_gives_a_frozen_database_up_and_ends_its_job_when_it_is_back(
    own_postgres: RunningServer, amqp_url: str, management_url: str, tmp_path: Path
) -> None:
    url = own_postgres.server.url
    weir = Weir(url, url.rpartition("/")[2], amqp_url, management_url, tmp_path)
    weir.environment |= {"WEIR_JOB_DEADLINE": "10", "WEIR_JOB_WAIT_LIMIT": "10"}
    try:
        weir.start("api", "worker")
        device = weir.device()
        with readings_locked(weir):
            task = weir.http.get(f"/devices/{device}/analytics/").json()["task_id"]
            weir.wait_for(lambda: is_running(weir, task), 40)
            with frozen(own_postgres):
                weir.wait_for(lambda: "a job waits" in weir.log("worker"), 40)
                assert "connections are cut" in weir.log("worker")
        weir.wait_for(weir.is_ready, 40)
        weir.wait_for(lambda: weir.http.get(f"/tasks/{task}").json()["status"] in {"SUCCESS", "FAILURE"}, 60)
        again = weir.http.get(f"/devices/{device}/analytics/").json()["task_id"]
        weir.wait_for(lambda: weir.http.get(f"/tasks/{again}").json()["status"] == "SUCCESS", 60)
    finally:
        weir.close()


def test_frozen_database_holds_up_nobody_and_comes_back(
    own_postgres: RunningServer, amqp_url: str, management_url: str, tmp_path: Path
) -> None:
    url = own_postgres.server.url
    weir = Weir(url, url.rpartition("/")[2], amqp_url, management_url, tmp_path)
    try:
        weir.start("api", "consumer", "worker")
        device = weir.device()
        submit = {"url": f"/devices/{device}/stats/", "json": reading()}
        assert weir.http.post(**submit).status_code == 202
        with frozen(own_postgres):
            # More than there are threads, so that all of them hang.
            paths = [
                "/readyz",
                "/users/",
                "/devices/",
                f"/devices/{device}",
                f"/receipts/{uuid4()}",
                f"/tasks/{uuid4()}",
            ]
            paths += [f"/devices/{device}/analytics/", f"/stats/{uuid4()}/", "/users/1/analytics/", "/readyz"]
            with ThreadPoolExecutor(2 * len(paths)) as pool:
                asked = list(pool.map(weir.http.get, 2 * paths))
                assert {(one.url.path, one.status_code) for one in asked} == {(path, 503) for path in paths}
                assert all("retry-after" in one.headers for one in asked if one.url.path != "/readyz")
            assert weir.http.get("/readyz").status_code == 503
            assert weir.http.post(f"/devices/{uuid4()}/stats/", json=reading()).status_code == 503
            assert weir.http.post(**submit).status_code == 202
        weir.wait_for(weir.is_ready, 40)
        weir.wait_until_stored(2, 60)
        for path in paths:
            assert weir.http.get(path).status_code in {200, 404}
        answer = weir.http.get(f"/devices/{device}/analytics/?wait=30").json()
        assert (answer["status"], answer["result"]["x"]["count"], answer["result"]["queued"]) == ("SUCCESS", 2, 0)
    finally:
        weir.close()
