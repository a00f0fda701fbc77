"""What the workers do: open, call, write down."""

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Engine

from analytics import statistics
from shared.database import LOOKUP_DEADLINE, Job
from shared.errors import Unavailable, WeirError
from shared.jobs import Jobs, Nudge
from shared.watchdog import Watchdog

log = structlog.get_logger()

Parameters = dict[str, Any]

TOO_LONG = "it took longer than a job may"


def _window(parameters: Parameters) -> tuple[datetime | None, datetime | None]:
    start, end = (parameters.get(name) for name in ("start", "end"))
    return start and datetime.fromisoformat(start), end and datetime.fromisoformat(end)


def device_statistics(engine: Engine, parameters: Parameters) -> dict[str, Any]:
    return statistics.of_device(engine, UUID(parameters["device_id"]), *_window(parameters))


def user_statistics(engine: Engine, parameters: Parameters) -> dict[str, Any]:
    by_device = parameters.get("group_by") == "device"
    return statistics.of_user(engine, parameters["user_id"], *_window(parameters), by_device=by_device)


#: What a job's kind means.
KINDS: dict[str, Callable[[Engine, Parameters], dict[str, Any]]] = {
    "device_statistics": device_statistics,
    "user_statistics": user_statistics,
}


def run(jobs: Jobs, engine: Engine, watchdog: Watchdog, job_id: UUID, nudge: Nudge, deadline: timedelta) -> None:
    """Run one job and keep its answer or its error.

    Raises:
        Unavailable: the database is away; the job is to be gone on with.
    """
    with watchdog.within(LOOKUP_DEADLINE):
        job = jobs.take(job_id, nudge, deadline)
    if job is None:
        return
    with watchdog.within(deadline):
        answer = _answer(engine, job, deadline)
    with watchdog.within(LOOKUP_DEADLINE):
        jobs.finish(job, **answer)


def _answer(engine: Engine, job: Job, deadline: timedelta) -> dict[str, Any]:
    """Return `result`, or `error` when there can be none. Raises Unavailable."""
    began = time.monotonic()
    try:
        result = KINDS[job.kind](engine, job.parameters)
        json.dumps(result, allow_nan=False)  # what PostgreSQL would not keep is a failure of the job, not of keeping it
    except SoftTimeLimitExceeded:
        return {"error": TOO_LONG}
    except Unavailable:
        # A statement that was cancelled for its length looks the same, and would be as long the next time.
        if time.monotonic() - began < deadline.total_seconds():
            raise
        return {"error": TOO_LONG}
    except WeirError as error:
        return {"error": str(error)}
    except Exception as error:
        log.exception("a job failed", job=str(job.id), kind=job.kind)
        return {"error": f"unexpected {type(error).__name__}"}
    else:
        return {"result": result}
