"""Jobs: asked-for calculations. The row is the truth, the message only tells a worker to look at it."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from celery import Celery
from celery.exceptions import OperationalError
from kombu.exceptions import KombuError
from sqlalchemy import CursorResult, Engine, text, update
from sqlalchemy.orm import Session

from shared.database import Job, translated
from shared.errors import BrokerUnavailable, Expired, NotFound

log = structlog.get_logger()

#: The one Celery task: it gets a job's id and reads the rest from the row.
TASK = "weir.run_job"
QUEUE = "weir.jobs"

#: The pool may hand out a connection that broke while nobody used it, so one failure says little.
_RETRY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}

#: Times a job may be started before it counts as one that kills its worker.
ATTEMPTS = 3


def celery_app(amqp_url: str, job_deadline: timedelta) -> Celery:
    """Configure Celery for RabbitMQ: a quorum queue, confirmed sends, late acks, and no result backend."""
    app = Celery("weir", broker=amqp_url)
    app.conf.update(
        task_default_queue=QUEUE,
        task_default_queue_type="quorum",
        task_default_exchange_type="topic",
        broker_native_delayed_delivery_queue_type="classic",
        broker_transport_options={"confirm_publish": True},
        broker_connection_timeout=2,
        broker_pool_acquire_timeout=2,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_soft_shutdown_timeout=10,
        worker_hijack_root_logger=False,
        task_soft_time_limit=job_deadline.total_seconds(),
        task_time_limit=job_deadline.total_seconds() + 30,
        timezone="UTC",
    )
    return app


class Jobs:
    """Submits jobs and tells what became of them."""

    def __init__(self, engine: Engine, celery: Celery) -> None:
        self._engine = engine
        self._celery = celery

    def submit(self, kind: str, parameters: dict[str, Any]) -> Job:
        """Write the job down, then nudge a worker. Raises DatabaseUnavailable.

        A broker that is away does not lose the job: whoever asked can poll, and `resend` nudges again.
        """
        job = Job(id=uuid4(), kind=kind, parameters=parameters, status="queued")
        with translated(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            session.add(job)
        try:
            self.send(job.id)
        except BrokerUnavailable as error:
            log.warning("a job waits to be sent again", job=str(job.id), reason=str(error))
        return job

    def fetch(self, job_id: UUID) -> Job:
        """Return the job. Raises NotFound, Expired or DatabaseUnavailable."""
        with translated(), Session(self._engine, expire_on_commit=False) as session:
            job = session.get(Job, job_id)
        if job is None:
            raise NotFound("no task has this id")
        if job.status == "expired":
            raise Expired("the answer of this task is no longer kept")
        return job

    def send(self, job_id: UUID) -> None:
        """Tell a worker, and wait until the broker has the message. Raises BrokerUnavailable."""
        try:
            self._celery.send_task(
                TASK, args=[str(job_id)], retry=True, retry_policy=_RETRY, confirm_timeout=2, timeout=2
            )
        except (OperationalError, KombuError, OSError) as error:
            raise BrokerUnavailable("the broker did not take the job") from error

    def take(self, job_id: UUID) -> Job | None:
        """Mark the job as running and return it, or None when it needs no running (any more)."""
        with translated(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            job = session.get(Job, job_id, with_for_update=True)
            if job is None or job.status not in ("queued", "running"):
                return None
            if job.attempts >= ATTEMPTS:
                job.status, job.error = "failed", f"its worker died {job.attempts} times"
                job.finished_at = session.scalar(text("SELECT now()"))
                return None
            job.status, job.attempts = "running", job.attempts + 1
            job.started_at = session.scalar(text("SELECT now()"))
        return job

    def finish(self, job_id: UUID, *, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        """Keep the answer, or the reason why there is none. The first to finish a job decides."""
        with translated(), Session(self._engine) as session, session.begin():
            session.execute(
                update(Job)
                .where(Job.id == job_id, Job.status == "running")
                .values(
                    status="done" if error is None else "failed",
                    result=result,
                    error=error,
                    finished_at=text("now()"),
                )
            )

    def resend(self, after: timedelta, deadline: timedelta) -> int:
        """Nudge again for jobs nobody took up, or whose worker must be gone by now; return how many."""
        waiting = text("""
            UPDATE jobs SET sent_at = now()
            WHERE sent_at < now() - :after
              AND (status = 'queued' OR (status = 'running' AND started_at < now() - :deadline))
            RETURNING id
        """)
        with translated(), self._engine.begin() as connection:
            ids = connection.execute(waiting, {"after": after, "deadline": deadline}).scalars().all()
        for job_id in ids:
            self.send(job_id)
        return len(ids)

    def expire(self, retention: timedelta) -> int:
        """Drop answers that were kept as long as promised; their ids stay, to answer 410. Return how many."""
        old = text("""
            UPDATE jobs SET status = 'expired', result = NULL, error = NULL
            WHERE status IN ('done', 'failed') AND finished_at < now() - :retention
        """)
        with translated(), self._engine.begin() as connection:
            result: CursorResult[Any] = connection.execute(old, {"retention": retention})
            return result.rowcount
