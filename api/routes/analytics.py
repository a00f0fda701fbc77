"""Statistics jobs: ask, then poll or wait."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import Engine, select

from api.dependencies import Services, ServicesOf
from api.problems import problems
from api.questions import Asked, AskedInBody, Grouping, UserAskedInBody, question_of
from api.schemas import Key, Task
from shared import database
from shared.database import Device, translated
from shared.errors import NotFound
from shared.questions import Question
from shared.scope import Scope

router = APIRouter(tags=["analytics"])

Wait = Annotated[float, Query(ge=0, le=3600, description="Seconds to wait for the answer.")]
GroupBy = Annotated[
    Grouping | None, Query(description="Each device by itself, or all together, as when nothing is said.")
]
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
    return await services.asking.wait_for(task_id, wait)


@router.delete("/tasks/{task_id}", responses=problems(404, 409, 410))
async def cancel_task(task_id: UUID, services: ServicesOf, for_all: ForAll = False) -> Task:
    """Cancel a task that has not ended; twice is as good as once. One that others asked for, too, only `for_all`."""
    return await services.asking.cancel(task_id, for_all=for_all)


async def _ask_device(services: Services, device_id: UUID, question: Question, wait: float) -> Task:
    key = await services.devices.key(device_id)
    if not key:
        raise NotFound("no device has this id")
    return await _ask(services, "device_statistics", {"device_id": str(device_id)}, (key,), question, wait)


async def _ask_user(
    services: Services, user_id: int, question: Question, group_by: Grouping | None, wait: float
) -> Task:
    keys = await services.threads.run(_devices_of, services.engine, user_id)
    by_device = group_by == "device"
    if by_device:
        question.require_bounded(len(keys))
    # Whether it was said or not, together is the same question, and has to be the same job.
    parameters = {"user_id": user_id, "group_by": "device" if by_device else None}
    return await _ask(services, "user_statistics", parameters, keys, question, wait)


async def _ask(
    services: Services,
    kind: str,
    whose: dict[str, Any],
    keys: tuple[int, ...] | None,
    question: Question,
    wait: float,
) -> Task:
    scope = Scope(keys, question.start, question.end)
    return await services.asking.ask(kind, {**whose, **question.as_json()}, scope, wait)


def _devices_of(engine: Engine, user_id: int) -> tuple[int, ...]:
    with translated(), engine.connect() as connection:
        if connection.execute(select(database.User.id).where(database.User.id == user_id)).first() is None:
            raise NotFound("no user has this id")
        return tuple(connection.execute(select(Device.key).where(Device.user_id == user_id)).scalars())
