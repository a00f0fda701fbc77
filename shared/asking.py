"""The same question over unchanged data is the same job: joined while it waits or runs, given again once it is done."""

import hashlib
import json
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.orm import Session

from shared import data_version
from shared.database import Job, translated
from shared.ledger import queued
from shared.scope import Scope

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


def ask(engine: Engine, kind: str, parameters: dict[str, Any], scope: Scope) -> tuple[Job, bool]:
    """Return the job that answers a question, and whether it is a new one, of which a worker is to be told.

    It holds whatever is stored when this is called. Raises DatabaseUnavailable.
    """
    question = hashlib.sha256(json.dumps([kind, parameters], sort_keys=True).encode()).digest()
    with translated(), Session(engine, expire_on_commit=False) as session, session.begin():
        session.execute(_LOCK, {"question": int.from_bytes(question[:8], signed=True)})
        # One that waits for its start will see all of this moment.
        job = session.scalars(_WAITING.where(Job.question == question)).one_or_none()
        job = job or _still_true(session, question, scope)
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


def _still_true(session: Session, question: bytes, scope: Scope) -> Job | None:
    """Find a job that has seen what is stored now, or will."""
    job = session.scalars(_LATEST.where(Job.question == question)).one_or_none()
    if job is None or job.seen is None:
        return None
    connection = session.connection()
    seen = data_version.still_holds(connection, job.seen, scope)
    if seen is None:
        return None
    job.seen = seen
    if job.status == "done":
        job.checked_at = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        job.checked_queued = queued(connection, scope.stream.name)
    return job
