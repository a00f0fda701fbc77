"""What the workers do: open, call, write down."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Engine

from analytics.progress import Progress
from analytics.statistics import Answer, Statistics
from shared.cold.store import Store
from shared.data_version import Version
from shared.database import LOOKUP_DEADLINE, Job
from shared.errors import JobCancelled, Unavailable, WeirError
from shared.jobs import Jobs, Nudge
from shared.questions import Question
from shared.watchdog import Watchdog

log = structlog.get_logger()

Parameters = dict[str, Any]

TOO_LONG = "it took longer than a job may"


class Tools(NamedTuple):
    """What a job works with."""

    engine: Engine
    store: Store
    progress: Progress


def device_statistics(tools: Tools, parameters: Parameters) -> Answer:
    return Statistics(*tools).of_device(UUID(parameters["device_id"]), Question.of_json(parameters))


def user_statistics(tools: Tools, parameters: Parameters) -> Answer:
    by_device = parameters.get("group_by") == "device"
    return Statistics(*tools).of_user(parameters["user_id"], Question.of_json(parameters), by_device=by_device)


def statistics_of_all(tools: Tools, parameters: Parameters) -> Answer:
    return Statistics(*tools).of_all(Question.of_json(parameters))


#: What a job's kind means.
KINDS: dict[str, Callable[[Tools, Parameters], Answer]] = {
    "device_statistics": device_statistics,
    "user_statistics": user_statistics,
    "statistics_of_all": statistics_of_all,
}


class JobReports:
    """A job's reports, in its row."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self._jobs = jobs
        self._job = job

    def began(self, version: Version) -> None:
        self._jobs.saw(self._job, version)

    def reached(self, percent: int) -> None:
        self._jobs.reached(self._job, percent)


def run(
    jobs: Jobs, engine: Engine, store: Store, watchdog: Watchdog, job_id: UUID, nudge: Nudge, deadline: timedelta
) -> None:
    """Run one job and keep its answer or its error; of one that is cancelled meanwhile, nothing.

    Raises:
        Unavailable: the database is away; the job is to be gone on with.
    """
    with watchdog.within(LOOKUP_DEADLINE):
        job = jobs.take(job_id, nudge, deadline)
    if job is None:
        return
    with watchdog.within(deadline):
        answer = _answer(Tools(engine, store, Progress(JobReports(jobs, job))), job, deadline)
    if answer is None:
        return
    with watchdog.within(LOOKUP_DEADLINE):
        jobs.finish(job, **answer)


def _answer(tools: Tools, job: Job, deadline: timedelta) -> dict[str, Any] | None:
    """Return `result`, or `error` when there can be none; None when nobody waits for it. Raises Unavailable."""
    began = time.monotonic()
    try:
        result = KINDS[job.kind](tools, job.parameters)
        json.dumps(result, allow_nan=False)  # what PostgreSQL would not keep is a failure of the job, not of keeping it
    except JobCancelled:
        log.info("a job was cancelled", job=str(job.id))
        return None
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
