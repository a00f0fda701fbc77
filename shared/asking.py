"""The same question over unchanged data is the same job: joined while it waits or runs, given again once it is done."""

import hashlib
import json
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.orm import Session

from shared import data_version
from shared.database import Job, translated
from shared.ledger import queued
from shared.scope import Scope

#: Part of what a question is known by. Raise it whenever the same question over the same data gets another answer, or one
#: of another form, so that none of before is given again. 2: hot texts with line breaks are no longer cut.
ANSWERS = 2

_AGO = text("SELECT statement_timestamp() - :ago")
_NOW = text("SELECT clock_timestamp()")
#: One asks a question at a time, so that none of many misses the job of the first.
_LOCK = text("SELECT pg_advisory_xact_lock(:question)")
_LATEST = (
    select(Job)
    .where(Job.status.in_(("running", "done")), Job.seen.is_not(None))
    .order_by(Job.asked_at.desc())
    .limit(1)
    .with_for_update()
)
_WAITING = select(Job).where(Job.status == "queued").with_for_update()


def ask(
    engine: Engine, kind: str, parameters: dict[str, Any], scope: Scope, since: float | None = None
) -> tuple[Job, bool]:
    """Return the job that answers a question, and whether it is a new one, of which a worker is to be told.

    It holds whatever was stored when the question came: now, or `since`, by time.monotonic(). Raises DatabaseUnavailable.
    """
    question = hashlib.sha256(json.dumps([ANSWERS, kind, parameters], sort_keys=True).encode()).digest()
    with translated(), Session(engine, expire_on_commit=False) as session, session.begin():
        ago = timedelta(seconds=0 if since is None else time.monotonic() - since)
        came: datetime = session.execute(_AGO, {"ago": ago}).scalar_one()
        session.execute(_LOCK, {"question": int.from_bytes(question[:8], signed=True)})
        # One that waits for its start will see all of this moment.
        job = session.scalars(_WAITING.where(Job.question == question)).one_or_none()
        job = job or _still_true(session, question, scope, came)
        if job is not None:
            job.askers += 1
            return job, False
        job = Job(id=uuid4(), kind=kind, parameters=parameters, status="queued", question=question)
        job.seen = data_version.when_asked(scope)
        session.add(job)
        session.flush()
        session.refresh(job)
        return job, True


def forget(connection: Connection) -> None:
    """Give no answer of before to who asks from now on: readings were dropped or changed, so counting tells nothing."""
    connection.execute(text("UPDATE jobs SET question = NULL WHERE question IS NOT NULL"))


def _still_true(session: Session, question: bytes, scope: Scope, came: datetime) -> Job | None:
    """Find a job that has seen what was stored when the question came, or will."""
    job = session.scalars(_LATEST.where(Job.question == question)).one_or_none()
    if job is None or job.seen is None or not data_version.is_of(job.seen, scope):
        return None
    if _has_looked_since(job, came):
        return job
    connection = session.connection()
    began: datetime = connection.execute(_NOW).scalar_one()
    seen = data_version.still_holds(connection, job.seen, scope)
    if seen is None:
        return None
    job.seen = seen
    if job.status == "done":
        job.checked_at, job.checked_queued = began, queued(connection, scope.stream.name)
    return job


def _has_looked_since(job: Job, came: datetime) -> bool:
    """Whether the job began, or was found to be still true by a look that began, after the question came.

    While a second worker has it, the answer may still come from the first, which began earlier.
    """
    if job.status == "running" and job.attempts > 1:
        return False
    return any(moment is not None and moment >= came for moment in (job.started_at, job.checked_at))
