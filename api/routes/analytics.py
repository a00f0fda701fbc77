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

from api.dependencies import Services, ServicesOf
from api.problems import problems
from api.questions import Asked, AskedInBody, UserAskedInBody, question_of
from api.schemas import Key, Task
from shared import database
from shared.database import Device, Job, translated
from shared.errors import BrokerUnavailable, InvalidRecord, NotFound
from shared.questions import Question
from shared.scope import Scope

log = structlog.get_logger()

router = APIRouter(tags=["analytics"])

#: Words of the contract for the states of a job.
_STATUS: dict[str, Literal["PENDING", "STARTED", "SUCCESS", "FAILURE", "CANCELLED"]] = {
    "queued": "PENDING",
    "running": "STARTED",
    "done": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "CANCELLED",
}
#: Longest that asking for a job waits for the broker.
NUDGE_DEADLINE = timedelta(seconds=2)
#: Between two looks at a job that is waited for: short at first, for most answers come at once.
_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.5

Wait = Annotated[float, Query(ge=0, le=3600, description="Seconds to wait for the answer.")]
GroupBy = Annotated[Literal["device"] | None, Query(description="Each device by itself.")]
ForAll = Annotated[bool, Query(description="Also when others asked for it, too.")]


@router.get("/devices/{device_id}/analytics/", responses=problems(404))
async def device_statistics(device_id: UUID, services: ServicesOf, asked: Asked, wait: Wait = 0) -> Task:
    """Ask for min, max, count, sum and median of each axis of a device; and for quantiles, histogram, buckets."""
    return await _ask_device(services, device_id, question_of(asked), wait)


@router.post("/devices/{device_id}/analytics/", responses=problems(404))
async def post_device_statistics(
    device_id: UUID, services: ServicesOf, asked: Asked, body: AskedInBody = None, wait: Wait = 0
) -> Task:
    """The same, asked in a body."""
    return await _ask_device(services, device_id, question_of(asked, body), wait)


@router.get("/users/{user_id}/analytics/", responses=problems(404))
async def user_statistics(
    user_id: Key, services: ServicesOf, asked: Asked, group_by: GroupBy = None, wait: Wait = 0
) -> Task:
    """Ask for the same of a user's devices, together or each by itself."""
    return await _ask_user(services, user_id, question_of(asked), group_by, wait)


@router.post("/users/{user_id}/analytics/", responses=problems(404))
async def post_user_statistics(
    user_id: Key,
    services: ServicesOf,
    asked: Asked,
    body: UserAskedInBody = None,
    group_by: GroupBy = None,
    wait: Wait = 0,
) -> Task:
    """The same, asked in a body."""
    group_by = (body and body.group_by) or group_by
    return await _ask_user(services, user_id, question_of(asked, body), group_by, wait)


@router.get("/analytics/")
async def all_statistics(services: ServicesOf, asked: Asked, wait: Wait = 0) -> Task:
    """Ask for the same of all readings."""
    return await _ask(services, "statistics_of_all", {}, None, question_of(asked), wait)


@router.post("/analytics/")
async def post_all_statistics(services: ServicesOf, asked: Asked, body: AskedInBody = None, wait: Wait = 0) -> Task:
    """The same, asked in a body."""
    return await _ask(services, "statistics_of_all", {}, None, question_of(asked, body), wait)


@router.get("/tasks/{task_id}", responses=problems(404, 410))
async def get_task(task_id: UUID, services: ServicesOf, wait: Wait = 0) -> Task:
    """Tell how a task stands, and its answer when there is one."""
    return await _wait_for(services, task_id, wait)


@router.delete("/tasks/{task_id}", responses=problems(404, 409, 410))
async def cancel_task(task_id: UUID, services: ServicesOf, for_all: ForAll = False) -> Task:
    """Cancel a task that has not ended; twice is as good as once. One that others asked for, too, only `for_all`."""
    return _task(await services.threads.run(partial(services.jobs.cancel, task_id, for_all=for_all)))


async def _ask_device(services: Services, device_id: UUID, question: Question, wait: float) -> Task:
    key = await services.devices.key(device_id)
    if not key:
        raise NotFound("no device has this id")
    return await _ask(services, "device_statistics", {"device_id": str(device_id)}, (key,), question, wait)


async def _ask_user(services: Services, user_id: int, question: Question, group_by: str | None, wait: float) -> Task:
    keys = await services.threads.run(_devices_of, services.engine, user_id)
    if group_by:
        question.require_bounded(len(keys))
    parameters = {"user_id": user_id, "group_by": group_by}
    return await _ask(services, "user_statistics", parameters, keys, question, wait)


async def _ask(
    services: Services,
    kind: str,
    whose: dict[str, Any],
    keys: tuple[int, ...] | None,
    question: Question,
    wait: float,
) -> Task:
    _require_patience(services, wait)
    # The answer says how much is still queued, so what this process accepted must be in the ledger first.
    await services.acceptances.flush()
    scope = Scope(keys, question.start, question.end)
    job, is_new = await services.threads.run(services.jobs.ask, kind, {**whose, **question.as_json()}, scope)
    if is_new:
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
        if job.status not in ("queued", "running") or left <= 0:
            return _task(job)
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_LOOK)


def _require_patience(services: Services, seconds: float) -> None:
    limit = services.settings.job_wait_limit.total_seconds()
    if seconds > limit:
        raise InvalidRecord("out_of_range", "wait", f"must be {limit:g} at most")


def _devices_of(engine: Engine, user_id: int) -> tuple[int, ...]:
    with translated(), engine.connect() as connection:
        if connection.execute(select(database.User.id).where(database.User.id == user_id)).first() is None:
            raise NotFound("no user has this id")
        return tuple(connection.execute(select(Device.key).where(Device.user_id == user_id)).scalars())


def _task(job: Job) -> Task:
    return Task(
        task_id=job.id,
        status=_STATUS[job.status],
        progress=100 if job.status == "done" else job.progress,
        checked_at=job.checked_at,
        result=job.result if job.checked_queued is None else _with_queued(job.result, job.checked_queued),
        error=job.error,
    )


def _with_queued(result: Any, count: int) -> Any:
    """Say how much is queued now: the rest of the answer is as true as it was."""
    if not isinstance(result, dict):
        return result
    found = result | {"queued": count}
    if "devices" in found:
        found["devices"] = {one: answer | {"queued": count} for one, answer in found["devices"].items()}
    return found
