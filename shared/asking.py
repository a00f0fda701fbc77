"""The same question over unchanged data is the same job: joined while it waits or runs, given again once it is done."""

import hashlib
import json
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.data_version import Version, still_holds, when_asked
from shared.database import Job, translated
from shared.ledger import queued
from shared.scope import Scope
from shared.streams import READINGS

_LATEST = (
    select(Job.id, Job.seen, Job.result.is_not(None).label("is_done"))
    .where(Job.status.in_(("running", "done")), Job.seen.is_not(None))
    .order_by(Job.asked_at.desc())
    .limit(1)
)
_IS_QUEUED = select(Job.id).where(Job.status == "queued")


def ask(engine: Engine, kind: str, parameters: dict[str, Any], scope: Scope) -> tuple[Job, bool]:
    """Return the job that answers a question, and whether it is a new one, of which a worker is to be told.

    It holds whatever is stored when this is called. Raises DatabaseUnavailable.
    """
    question = hashlib.sha256(json.dumps([kind, parameters], sort_keys=True).encode()).digest()
    with translated():
        found = _still_true(engine, question, scope)
        if found is not None and (job := _join(engine, *found)) is not None:
            return job, False
        return _enqueue(engine, kind, parameters, question, when_asked(scope))


def forget(connection: Connection) -> None:
    """Give no answer of before to who asks from now on: readings were dropped or changed, so counting tells nothing."""
    connection.execute(text("UPDATE jobs SET question = NULL WHERE question IS NOT NULL"))


def _still_true(engine: Engine, question: bytes, scope: Scope) -> tuple[Row[Any], int] | None:
    """Find a job that has seen what is stored now, and how much is queued; none while one waits that will see it."""
    with engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        if connection.execute(_IS_QUEUED.where(Job.question == question)).first():
            return None
        latest = connection.execute(_LATEST.where(Job.question == question)).first()
        if latest is None:
            return None
        still_queued = queued(connection, READINGS.name)
        return (latest, still_queued) if still_holds(connection, latest.seen, scope) else None


def _join(engine: Engine, latest: Row[Any], still_queued: int) -> Job | None:
    """Be one more who asked for a job; None when it has ended meanwhile without an answer, or was forgotten."""
    changes: dict[str, Any] = {"askers": Job.askers + 1}
    if latest.is_done:
        changes |= {"checked_at": func.now(), "checked_queued": still_queued}
    joining = (
        update(Job)
        .where(Job.id == latest.id, Job.status.in_(("running", "done")), Job.question.is_not(None))
        .values(changes)
        .returning(Job)
    )
    with Session(engine, expire_on_commit=False) as session, session.begin():
        return session.scalars(joining).one_or_none()


def _enqueue(engine: Engine, kind: str, parameters: dict[str, Any], question: bytes, seen: Version) -> tuple[Job, bool]:
    """Write the job down, or join the one that waits already: it has seen nothing yet and will see all of this moment."""
    new = uuid4()
    statement = (
        insert(Job)
        .values(id=new, kind=kind, parameters=parameters, status="queued", question=question, seen=seen)
        .on_conflict_do_update(
            index_elements=[Job.question], index_where=text("status = 'queued'"), set_={"askers": Job.askers + 1}
        )
        .returning(Job)
    )
    with Session(engine, expire_on_commit=False) as session, session.begin():
        job = session.scalars(statement).one()
    return job, job.id == new
