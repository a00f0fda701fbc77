"""Jobs: asked-for calculations. The row is the truth, the message only tells a worker to look at it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from amqp.exceptions import AMQPError, MessageNacked  # type: ignore[import-untyped]
from celery import Celery
from celery.exceptions import OperationalError
from kombu.exceptions import KombuError
from sqlalchemy import CursorResult, Engine, func, text, update
from sqlalchemy.orm import Session

from shared import data_version
from shared.celery_app import GRACE, TASK
from shared.data_version import Version
from shared.database import Job, translated
from shared.errors import BrokerUnavailable, Expired, JobCancelled, NotCancelled, NotFound

log = structlog.get_logger()

#: The pool may hand out a connection that broke while nobody used it, so one failure says little.
_RETRY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}

#: Times a job may be started before it counts as one that kills its worker.
ATTEMPTS = 3

#: Nudges of one round that the broker may refuse before the rest waits for the next round.
_REFUSALS = 3

#: Rows that are deleted in one transaction, so that little is done in vain when it fails.
_MOST = 5_000
#: Another worker may be at it.
_FORGET = text("""
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE status = 'expired' AND finished_at < now() - CAST(:retention AS interval)
        ORDER BY finished_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")


@dataclass(frozen=True)
class Nudge:
    """What a worker knows of the message that tells it to look at a job."""

    #: What a start under it is known by: the id of the message, or of the first one when this goes on with its work.
    id: UUID
    #: The broker delivered it before, so the worker that had it is gone.
    redelivered: bool = False
    #: Whoever started the job under this id only lacked the database: going on is no new start.
    goes_on: bool = False


class Jobs:
    """Submits jobs and tells what became of them."""

    def __init__(self, engine: Engine, celery: Celery) -> None:
        self._engine = engine
        self._celery = celery

    def submit(self, kind: str, parameters: dict[str, Any]) -> Job:
        """Write down a job that nobody else will share; `nudge` is to follow. Raises DatabaseUnavailable."""
        job = Job(id=uuid4(), kind=kind, parameters=parameters, status="queued")
        with translated(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            session.add(job)
        return job

    def nudge(self, job_id: UUID) -> bool:
        """Tell a worker, if the broker takes it.

        A broker that is away does not lose the job: whoever asked can poll, and `resend` nudges again.
        """
        try:
            self.send(job_id)
        except BrokerUnavailable as error:
            log.warning("a job waits to be sent again", job=str(job_id), reason=str(error))
            return False
        return True

    def fetch(self, job_id: UUID) -> Job:
        """Return the job. Raises NotFound, Expired or DatabaseUnavailable."""
        with translated(), Session(self._engine, expire_on_commit=False) as session:
            job = session.get(Job, job_id)
        if job is None:
            raise NotFound("no task has this id")
        if job.status == "expired":
            raise Expired("the answer of this task is no longer kept")
        return job

    def send(self, job_id: UUID, follows: UUID | None = None) -> None:
        """Tell a worker, and wait until the broker has the message. Raises BrokerUnavailable."""
        try:
            self._celery.send_task(
                TASK,
                args=[str(job_id), follows and str(follows)],
                retry=True,
                retry_policy=_RETRY,
                confirm_timeout=2,
                timeout=2,
            )
        except (OperationalError, KombuError, AMQPError, MessageNacked, OSError) as error:
            raise BrokerUnavailable("the broker did not take the job") from error

    def take(self, job_id: UUID, nudge: Nudge, deadline: timedelta) -> Job | None:
        """Mark the job as running and return it, or None when it needs no running (any more).

        A job that is running already is taken only from a worker that is gone. Raises DatabaseUnavailable.
        """
        with translated(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            job = session.get(Job, job_id, with_for_update=True)
            if job is None or job.status not in ("queued", "running"):
                return None
            now: datetime = session.execute(text("SELECT now()")).scalar_one()
            ours = job.status == "running" and job.started_by == nudge.id
            if not (ours and nudge.goes_on):
                if job.status == "running" and not _is_orphaned(job, nudge, now - deadline - 2 * GRACE):
                    return None
                if job.attempts >= ATTEMPTS:
                    job.status, job.error, job.finished_at = "failed", f"its worker died {job.attempts} times", now
                    return None
                job.attempts += 1
            job.status, job.started_by, job.started_at = "running", nudge.id, now
            if job.question is not None and job.seen is not None:
                # What the job will see is at least this; it says so itself once it has looked.
                job.seen = data_version.at_least(session.connection(), job.seen)
        return job

    def saw(self, job: Job, version: Version) -> None:
        """Write down which data a running job sees. Raises DatabaseUnavailable."""
        job.seen = version
        changes = update(Job).where(Job.id == job.id, Job.status == "running", Job.started_by == job.started_by)
        with translated(), self._engine.begin() as connection:
            connection.execute(changes.values(seen=version))

    def reached(self, job: Job, percent: int) -> None:
        """Write down how far a running job is. Raises JobCancelled when nobody waits for it, or DatabaseUnavailable."""
        changes = update(Job).where(Job.id == job.id, Job.status.in_(("running", "failed")))
        with translated(), self._engine.begin() as connection:
            changed: CursorResult[Any] = connection.execute(
                changes.values(progress=func.greatest(Job.progress, percent))
            )
            if not changed.rowcount:
                raise JobCancelled("nobody waits for this job any more")

    def cancel(self, job_id: UUID, *, for_all: bool) -> Job:
        """End a job without an answer: it never starts, or stops at its next step. Twice is as good as once.

        Raises:
            NotCancelled: it has ended; or others asked for it too, and this is not `for_all` of them.
            NotFound, Expired, DatabaseUnavailable: as `fetch` does.
        """
        mine = update(Job).where(Job.id == job_id, Job.status.in_(("queued", "running")))
        if not for_all:
            mine = mine.where(Job.askers == 1)
        with translated(), self._engine.begin() as connection:
            connection.execute(mine.values(status="cancelled", finished_at=func.now()))
        job = self.fetch(job_id)
        if job.status in ("done", "failed"):
            raise NotCancelled("the task has ended")
        if job.status != "cancelled":
            raise NotCancelled("others asked for this task too; for_all=true cancels it for them as well")
        return job

    def finish(self, job: Job, *, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        """Keep the answer, or the reason why there is none. Raises DatabaseUnavailable.

        An answer always counts, even of a job that was given up meanwhile, and with when this very run began and what it
        has seen: another may have begun since, and seen more. A reason counts only from whom it was started by.
        """
        changes = update(Job).where(Job.id == job.id)
        if error is None:
            changes = changes.where(Job.status.in_(("running", "failed")))
            changes = changes.values(status="done", seen=job.seen, started_at=job.started_at)
        else:
            changes = changes.where(Job.status == "running", Job.started_by == job.started_by).values(status="failed")
        with translated(), Session(self._engine) as session, session.begin():
            session.execute(changes.values(result=result, error=error, finished_at=text("now()")))

    def fail(self, job_id: UUID, nudge: Nudge, reason: str) -> None:
        """Give up a job that was started under this nudge, and keep the reason. Raises DatabaseUnavailable."""
        mine = update(Job).where(Job.id == job_id, Job.status == "running", Job.started_by == nudge.id)
        with translated(), self._engine.begin() as connection:
            connection.execute(mine.values(status="failed", error=reason, finished_at=func.now()))

    def resend(self, after: timedelta, deadline: timedelta) -> int:
        """Nudge again for jobs nobody took up, or whose worker must be gone by now; return how many.

        A nudge too many does nothing.
        """
        waiting = text("""
            UPDATE jobs SET sent_at = now()
            WHERE sent_at < now() - :after
              AND (status = 'queued' OR (status = 'running' AND started_at < now() - :gone))
            RETURNING id
        """)
        with translated(), self._engine.begin() as connection:
            ids = connection.execute(waiting, {"after": after, "gone": deadline + 2 * GRACE}).scalars().all()
        sent = refused = 0
        for job_id in ids:
            if self.nudge(job_id):
                sent += 1
            elif (refused := refused + 1) == _REFUSALS:
                break
        return sent

    def expire(self, retention: timedelta) -> int:
        """Drop answers that were kept as long as promised, and what they were made of; return how many.

        Their ids stay for now, to answer 410. Raises DatabaseUnavailable.
        """
        old = text("""
            UPDATE jobs SET status = 'expired', result = NULL, error = NULL, question = NULL, seen = NULL
            WHERE status IN ('done', 'failed', 'cancelled')
              AND finished_at < now() - :retention AND coalesce(checked_at, finished_at) < now() - :retention
        """)
        with translated(), self._engine.begin() as connection:
            result: CursorResult[Any] = connection.execute(old, {"retention": retention})
            return result.rowcount

    def forget(self, retention: timedelta) -> int:
        """Delete jobs that ended so long ago and whose answer is dropped, in small transactions; return how many.

        Raises DatabaseUnavailable.
        """
        deleted = 0
        while True:
            with translated(), self._engine.begin() as connection:
                result: CursorResult[Any] = connection.execute(_FORGET, {"retention": retention, "most": _MOST})
            deleted += result.rowcount
            if result.rowcount < _MOST:
                return deleted


def _is_orphaned(job: Job, nudge: Nudge, started_before: datetime) -> bool:
    """Whether a running job's worker is gone: the message it held has come back, or it would have been killed by now."""
    came_back = nudge.redelivered and nudge.id == job.started_by
    return came_back or (job.started_at is not None and job.started_at < started_before)
