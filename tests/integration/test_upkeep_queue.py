"""Upkeep has a queue and a worker of its own: neither do jobs keep it waiting, nor does it take a slot from a job."""

from datetime import timedelta

import httpx
import pytest
from factories import Weir, channel_to, reading, take

from shared.celery_app import celery_app
from shared.job_queues import QUEUE, UPKEEP_QUEUE
from shared.jobs import Job, Jobs

DEADLINE = timedelta(minutes=10)
#: Of the tasks that beat sends: one that shows in the database.
EXPIRE = "weir.expire_jobs"

#: What beat does with each entry once it is due.
_SEND_ALL = """
from celery.beat import Scheduler
from analytics.celery import app
scheduler = Scheduler(app)
for entry in scheduler.schedule.values():
    scheduler.apply_async(entry)
"""


@pytest.fixture
def old(weir: Weir, jobs: Jobs) -> Job:
    """A job whose answer is no longer to be kept."""
    job = jobs.submit("user_statistics", {"user_id": 1})
    weir.rows("UPDATE jobs SET status = 'done', finished_at = now() - interval '30 days' WHERE id = %s", str(job.id))
    return job


def status(weir: Weir, job_id: object) -> str:
    return str(weir.scalar("SELECT status FROM jobs WHERE id = %s", str(job_id)))


def test_upkeep_is_done_while_a_job_has_every_slot_of_the_worker(weir: Weir, old: Job) -> None:
    weir.start("api", "consumer", "worker", "upkeep")
    device = weir.device()
    weir.http.post(f"/devices/{device}/stats/", json=reading(3))
    weir.wait_until_stored(1)
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        task = weir.http.get(f"/devices/{device}/analytics/").json()["task_id"]
        weir.wait_for(lambda: status(weir, task) == "running", 40)
        celery_app(weir.amqp_url, DEADLINE).send_task(EXPIRE)
        weir.wait_for(lambda: status(weir, old.id) == "expired", 40)
        assert status(weir, task) == "running"
    assert weir.http.get(f"/tasks/{task}?wait=30").json()["status"] == "SUCCESS"


def test_other_upkeep_is_done_while_days_are_sealed(weir: Weir, old: Job) -> None:
    celery = celery_app(weir.amqp_url, DEADLINE)
    as_in_the_stack = ("-m", "celery", "-A", "analytics.celery", "worker", "--concurrency", "2")
    weir.run("upkeep", *as_in_the_stack, "--queues", UPKEEP_QUEUE, "--hostname", "upkeep@%h")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE devices IN ACCESS EXCLUSIVE MODE")
        celery.send_task("weir.seal")
        weir.wait_for(lambda: weir.scalar(waiting) == 1, 40)
        celery.send_task(EXPIRE)
        weir.wait_for(lambda: status(weir, old.id) == "expired", 40)
        assert weir.scalar(waiting) == 1


def test_upkeep_sends_jobs_again_before_there_was_any_worker(weir: Weir, jobs: Jobs) -> None:
    job = jobs.submit("user_statistics", {"user_id": 1})
    weir.rows("UPDATE jobs SET sent_at = sent_at - interval '1 day'")
    weir.start("upkeep")
    celery_app(weir.amqp_url, DEADLINE).send_task("weir.resend_jobs")
    weir.wait_for(lambda: "jobs sent again" in weir.log("upkeep"), 40)
    assert status(weir, job.id) == "queued"
    assert "[critical" not in weir.log("upkeep")
    weir.start("worker")
    weir.wait_for(lambda: status(weir, job.id) == "done", 40)


def test_upkeep_that_was_sent_before_it_had_a_queue_is_done_all_the_same(weir: Weir, old: Job) -> None:
    celery_app(weir.amqp_url, DEADLINE).send_task(EXPIRE, queue=QUEUE)
    weir.start("worker")
    weir.wait_for(lambda: status(weir, old.id) == "expired", 40)


async def test_beat_sends_to_the_queue_of_the_upkeep_and_to_no_other(weir: Weir) -> None:
    weir.run("beat", "-c", _SEND_ALL)
    assert weir.wait_for_end("beat") == 0, weir.log("beat")
    async with channel_to(weir.amqp_url) as channel:
        sent = [await take(channel, UPKEEP_QUEUE) for _ in range(3)]
    tasks = {(one.properties.headers or {})["task"] for one in sent}
    assert tasks == {"weir.resend_jobs", EXPIRE, "weir.seal"}
    assert weir.queue(UPKEEP_QUEUE)["arguments"] == {"x-queue-type": "quorum"}
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        weir.queue(QUEUE)
