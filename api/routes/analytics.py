"""Statistics jobs: ask, then poll or wait."""

import asyncio
import time
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, Query
from sqlalchemy import Engine, select

from api.dependencies import Services, ServicesOf, Window, WindowOf
from api.problems import problems
from api.schemas import Key, Task
from shared import database
from shared.database import Job, translated
from shared.errors import BrokerUnavailable, InvalidRecord, NotFound

log = structlog.get_logger()

router = APIRouter(tags=["analytics"])

#: Words of the contract for the states of a job.
_STATUS: dict[str, Literal["PENDING", "STARTED", "SUCCESS", "FAILURE"]] = {
    "queued": "PENDING",
    "running": "STARTED",
    "done": "SUCCESS",
    "failed": "FAILURE",
}
#: Longest that asking for a job waits for the broker.
NUDGE_DEADLINE = timedelta(seconds=2)
#: Between two looks at a job that is waited for: short at first, for most answers come at once.
_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.5

Wait = Annotated[float, Query(ge=0, le=3600, description="Seconds to wait for the answer.")]


@router.get("/devices/{device_id}/analytics/", responses=problems(404))
@router.post("/devices/{device_id}/analytics/", responses=problems(404))
async def device_statistics(device_id: UUID, services: ServicesOf, window: WindowOf, wait: Wait = 0) -> Task:
    """Ask for min, max, count, sum and median of each axis of a device."""
    if not await services.devices.key(device_id):
        raise NotFound("no device has this id")
    return await _ask(services, "device_statistics", {"device_id": str(device_id)}, window, wait)


@router.get("/users/{user_id}/analytics/", responses=problems(404))
@router.post("/users/{user_id}/analytics/", responses=problems(404))
async def user_statistics(
    user_id: Key,
    services: ServicesOf,
    window: WindowOf,
    group_by: Annotated[Literal["device"] | None, Query(description="Each device by itself.")] = None,
    wait: Wait = 0,
) -> Task:
    """Ask for the same of a user's devices, together or each by itself."""
    await services.threads.run(_require_user, services.engine, user_id)
    return await _ask(services, "user_statistics", {"user_id": user_id, "group_by": group_by}, window, wait)


@router.get("/tasks/{task_id}", responses=problems(404, 410))
async def get_task(task_id: UUID, services: ServicesOf, wait: Wait = 0) -> Task:
    """Tell how a task stands, and its answer when there is one."""
    return await _wait_for(services, task_id, wait)


async def _ask(services: Services, kind: str, parameters: dict[str, Any], window: Window, wait: float) -> Task:
    _require_patience(services, wait)
    # The answer says how much is still queued, so what this process accepted must be in the ledger first.
    await services.acceptances.flush()
    span = {"start": window.start and window.start.isoformat(), "end": window.end and window.end.isoformat()}
    job = await services.threads.run(services.jobs.submit, kind, {**parameters, **span})
    await _nudge(services, job.id)
    return await _wait_for(services, job.id, wait) if wait else _task(job)


async def _nudge(services: Services, job_id: UUID) -> None:
    """Tell a worker, if that can be done in time.

    Otherwise the job is no less accepted: its row is there, and it is sent again. A 503 would have it asked for twice.
    """
    try:
        await services.nudges.call(partial(services.jobs.nudge, job_id), NUDGE_DEADLINE)
    except BrokerUnavailable as error:
        log.warning("a job waits to be sent again", job=str(job_id), reason=str(error))


async def _wait_for(services: Services, job_id: UUID, seconds: float) -> Task:
    _require_patience(services, seconds)
    deadline, pause = time.monotonic() + seconds, _FIRST_LOOK
    while True:
        job = await services.threads.run(services.jobs.fetch, job_id)
        left = deadline - time.monotonic()
        if job.status in ("done", "failed") or left <= 0:
            return _task(job)
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_LOOK)


def _require_patience(services: Services, seconds: float) -> None:
    limit = services.settings.job_wait_limit.total_seconds()
    if seconds > limit:
        raise InvalidRecord("out_of_range", "wait", f"must be {limit:g} at most")


def _require_user(engine: Engine, user_id: int) -> None:
    with translated(), engine.connect() as connection:
        if connection.execute(select(database.User.id).where(database.User.id == user_id)).first() is None:
            raise NotFound("no user has this id")


def _task(job: Job) -> Task:
    return Task(task_id=job.id, status=_STATUS[job.status], result=job.result, error=job.error)
