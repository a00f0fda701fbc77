"""Wires both workers (`celery -A analytics.celery worker --queues …`) and beat (`celery -A analytics.celery beat`)."""

import functools
import os
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from celery import Task
from celery.exceptions import Reject
from celery.schedules import crontab
from celery.signals import celeryd_after_setup, setup_logging, worker_process_init
from sqlalchemy import Engine

from analytics import tasks, tiering
from shared import jobs, logs
from shared.celery_app import TASK, celery_app
from shared.cold.store import Store
from shared.config import load
from shared.database import connect
from shared.errors import BrokerUnavailable, Misconfigured
from shared.watchdog import Watchdog

log = structlog.get_logger()

#: Seconds between looks at a database or cold store that is away, while the job is in hand.
PAUSES = (0.5, 1, 2, 4, 8, 15)
#: For sending jobs again, and dropping old answers and jobs; the broker has its own deadlines within.
UPKEEP_DEADLINE = timedelta(seconds=60)
#: Of the processes that run tasks: about a tenth of what each of the others gets of a busy processor.
NICENESS = 10

try:
    settings = load()
except Misconfigured as error:
    sys.exit(f"weir analytics: {error}")
app = celery_app(settings.amqp_url, settings.job_deadline)
# An hour that begins anew with each start of beat might never be over.
app.conf.beat_schedule = {
    "resend jobs": {"task": "weir.resend_jobs", "schedule": 15.0, "options": {"expires": 15}},
    "expire jobs": {"task": "weir.expire_jobs", "schedule": 600.0, "options": {"expires": 600}},
    "seal days": {"task": "weir.seal", "schedule": crontab(minute=17), "options": {"expires": 3600}},
}


@functools.cache
def engine() -> Engine:
    """Make this process's engine when it first needs one: a connection must not cross a fork."""
    return connect(settings.database_url, pool_size=2, statement_deadline=settings.job_deadline)


@functools.cache
def watchdog() -> Watchdog:
    return Watchdog(engine())


@functools.cache
def store() -> Store:
    return Store(settings.cold_url)


def _jobs() -> jobs.Jobs:
    return jobs.Jobs(engine(), app)


@setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logs(**_: Any) -> None:
    logs.configure(settings.log_level, as_json=settings.log_json)


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _know_its_own_queues_only(**_: Any) -> None:
    """Celery binds every queue it knows when it starts: on a new broker the other worker's is not there yet."""
    queues = app.amqp.queues
    for name in queues.keys() - queues.consume_from.keys():
        del queues[name]  # known again as soon as something is sent to it


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _go_last(**_: Any) -> None:
    """Whoever sends records goes first: jobs take what is left of the processors."""
    os.nice(NICENESS)
    # Linux may share processors out among sessions; then only a session's own niceness counts beside others (sched(7)).
    # Not where it is the session of others, too.
    if os.getsid(0) == os.getppid():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))


@app.task(name=TASK, bind=True)  # type: ignore[untyped-decorator]
def run_job(task: "Task[..., Any]", job_id: str, follows: str | None = None) -> None:
    """Run a job. A database or cold store that is away is waited for, then the job goes to the back of the queue."""
    redelivered = bool((task.request.delivery_info or {}).get("redelivered"))
    nudge = jobs.Nudge(UUID(follows or task.request.id), redelivered, goes_on=bool(follows) and not redelivered)

    def run(nudge: jobs.Nudge) -> None:
        tasks.run(_jobs(), engine(), store(), watchdog(), UUID(job_id), nudge, settings.job_deadline)

    if tasks.run_patiently(run, _jobs(), watchdog(), UUID(job_id), nudge, PAUSES):
        return
    try:
        _jobs().send(UUID(job_id), follows=nudge.id)
    except BrokerUnavailable as error:
        raise Reject(str(error), requeue=True) from error


@app.task(name="weir.resend_jobs")  # type: ignore[untyped-decorator]
def resend_jobs() -> None:
    with watchdog().within(UPKEEP_DEADLINE):
        count = _jobs().resend(settings.job_resend_after, settings.job_deadline)
    if count:
        log.info("jobs sent again", count=count)


@app.task(name="weir.expire_jobs")  # type: ignore[untyped-decorator]
def expire_jobs() -> None:
    with watchdog().within(UPKEEP_DEADLINE):
        _jobs().expire(settings.job_retention)
        _jobs().forget(settings.settled_retention)


# Acked at once: it may take longer than the broker waits for an ack, and the next hour does what this one does not.
@app.task(  # type: ignore[untyped-decorator]
    name="weir.seal",
    acks_late=False,
    soft_time_limit=tiering.DEADLINE.total_seconds(),
    time_limit=tiering.DEADLINE.total_seconds() + 60,
)
def seal() -> None:
    """Drop what is past its term, seal what is due, remove what is left over."""
    # Connections of its own: sorting a large day takes longer than a job may.
    connections = connect(settings.database_url, pool_size=2, statement_deadline=tiering.DEADLINE)
    try:
        with Watchdog(connections).within(tiering.DEADLINE):
            tiering.run(connections, Store(settings.cold_url), settings.hot_days, settings.terms, settings.cold_grace)
    finally:
        connections.dispose()
