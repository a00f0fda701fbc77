"""Wires the workers and beat: `celery -A analytics.celery worker`, `celery -A analytics.celery beat`."""

import functools
from typing import Any
from uuid import UUID

import structlog
from celery import Task
from celery.signals import setup_logging
from sqlalchemy import Engine

from analytics import tasks
from shared import jobs, logs
from shared.config import load
from shared.database import connect
from shared.errors import Unavailable

log = structlog.get_logger()
settings = load()
app = jobs.celery_app(settings.amqp_url, settings.job_deadline)
app.conf.beat_schedule = {
    "resend jobs": {"task": "weir.resend_jobs", "schedule": 15.0, "options": {"expires": 15}},
    "expire jobs": {"task": "weir.expire_jobs", "schedule": 600.0, "options": {"expires": 600}},
}


@functools.cache
def engine() -> Engine:
    """Make this process's engine when it first needs one: a connection must not cross a fork."""
    return connect(settings.database_url, pool_size=2, statement_deadline=settings.job_deadline)


def _jobs() -> jobs.Jobs:
    return jobs.Jobs(engine(), app)


@setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logs(**_: Any) -> None:
    logs.configure(settings.log_level, as_json=settings.log_json)


@app.task(name=jobs.TASK, bind=True, max_retries=None)  # type: ignore[untyped-decorator]
def run_job(task: "Task[..., Any]", job_id: str) -> None:
    try:
        tasks.run(_jobs(), engine(), UUID(job_id))
    except Unavailable as error:
        # The job's row stays; beat sends it again once the database is back.
        log.warning("a job waits for the database", job=job_id, reason=str(error), attempt=task.request.retries)


@app.task(name="weir.resend_jobs")  # type: ignore[untyped-decorator]
def resend_jobs() -> None:
    count = _jobs().resend(settings.job_resend_after, settings.job_deadline)
    if count:
        log.info("jobs sent again", count=count)


@app.task(name="weir.expire_jobs")  # type: ignore[untyped-decorator]
def expire_jobs() -> None:
    _jobs().expire(settings.job_retention)
