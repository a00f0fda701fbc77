"""What the workers do: open, call, write down."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Engine

from analytics.engagement import Engagement
from analytics.pace import Pace
from analytics.progress import Progress
from analytics.statistics import Answer, Statistics
from shared import segments
from shared.cold.store import Store
from shared.data_version import Version
from shared.database import LOOKUP_DEADLINE, Job
from shared.days import Days
from shared.errors import ColdFileUnreadable, JobCancelled, Unavailable, WeirError
from shared.jobs import Jobs, Nudge
from shared.questions import Question
from shared.segments import Segment
from shared.watchdog import Watchdog

log = structlog.get_logger()

Parameters = dict[str, Any]

TOO_LONG = "it took longer than a job may"


class Tools(NamedTuple):
    """What a job works with."""

    engine: Engine
    store: Store
    progress: Progress
    deadline: timedelta


def device_statistics(tools: Tools, parameters: Parameters) -> Answer:
    return _statistics(tools).of_device(UUID(parameters["device_id"]), Question.of_json(parameters))


def user_statistics(tools: Tools, parameters: Parameters) -> Answer:
    by_device = parameters.get("group_by") == "device"
    return _statistics(tools).of_user(parameters["user_id"], Question.of_json(parameters), by_device=by_device)


def statistics_of_all(tools: Tools, parameters: Parameters) -> Answer:
    return _statistics(tools).of_all(Question.of_json(parameters))


def _statistics(tools: Tools) -> Statistics:
    return Statistics(tools.engine, tools.store, tools.progress)


def daily_users(tools: Tools, parameters: Parameters) -> Answer:
    return Engagement(*tools).daily_users(_days(parameters), _segment(parameters))


def top_events(tools: Tools, parameters: Parameters) -> Answer:
    return Engagement(*tools).top_events(_days(parameters), _segment(parameters), parameters["limit"])


def retention(tools: Tools, parameters: Parameters) -> Answer:
    start = date.fromisoformat(parameters["start_date"])
    return Engagement(*tools).retention(ZoneInfo(parameters["tz"]), start, parameters["windows"], _segment(parameters))


def _days(parameters: Parameters) -> Days:
    first, last = (date.fromisoformat(parameters[name]) for name in ("from", "to"))
    return Days(ZoneInfo(parameters["tz"]), first, last)


def _segment(parameters: Parameters) -> Segment | None:
    return None if parameters["segment"] is None else segments.parse(parameters["segment"])


#: What a job's kind means.
KINDS: dict[str, Callable[[Tools, Parameters], Answer]] = {
    "device_statistics": device_statistics,
    "user_statistics": user_statistics,
    "statistics_of_all": statistics_of_all,
    "daily_users": daily_users,
    "top_events": top_events,
    "retention": retention,
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
        progress = Progress(JobReports(jobs, job), Pace(deadline / 2))
        answer = _answer(Tools(engine, store, progress, deadline), job, deadline)
    if answer is None:
        return
    with watchdog.within(LOOKUP_DEADLINE):
        _keep(jobs, job, answer)


def run_patiently(
    run: Callable[[Nudge], None], jobs: Jobs, watchdog: Watchdog, job_id: UUID, nudge: Nudge, pauses: Iterable[float]
) -> bool:
    """Run a job, and again after each pause (seconds) while something is away; return whether nothing is left to do.

    A cold file that cannot be read in a store that can be reached, time and again, is not away: the job fails.
    """
    errors: list[Unavailable] = []
    for pause in pauses:
        try:
            run(nudge)
        except Unavailable as error:
            log.warning("a job waits", job=str(job_id), reason=str(error), seconds=pause)
            errors.append(error)
            time.sleep(pause)
            nudge = replace(nudge, goes_on=True)
        else:
            return True
    if not all(isinstance(error, ColdFileUnreadable) for error in errors):
        return False
    try:
        with watchdog.within(LOOKUP_DEADLINE):
            jobs.fail(job_id, nudge, str(errors[-1]))
    except Unavailable as error:
        log.warning("a job waits", job=str(job_id), reason=str(error))
        return False
    return True


def _keep(jobs: Jobs, job: Job, answer: dict[str, Any]) -> None:
    """Write the answer down or, where the database does not take it, why not. Raises Unavailable."""
    try:
        jobs.finish(job, **answer)
    except Unavailable:
        raise
    except Exception as error:
        log.exception("an answer cannot be kept", job=str(job.id), kind=job.kind)
        reason = str(error) if isinstance(error, WeirError) else f"unexpected {type(error).__name__}"
        jobs.finish(job, error=f"its answer cannot be kept: {reason}")


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
