"""What users do: daily active users, top events and retention. Each is a job, and answers with the bare result."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.dependencies import Services, ServicesOf
from api.errors import JobFailed, retry_after
from api.event_questions import (
    DailyUsers,
    DaysQuestion,
    EventCount,
    Retention,
    RetentionQuestion,
    TopEventsQuestion,
)
from api.problems import problems
from api.schemas import Task
from shared.errors import JobCancelled

router = APIRouter(tags=["events"])

_LATER: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Task,
        "description": "It takes longer than `WEIR_JOB_WAIT_LIMIT`; `Location` leads to the task",
        "headers": {
            "Location": {"description": "The task.", "schema": {"type": "string"}},
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
        },
    }
}
_ANSWERS = _LATER | problems(422, 503)


@router.get("/stats/dau", response_model=list[DailyUsers], responses=_ANSWERS)
@router.get("/api/stats/dau", response_model=list[DailyUsers], responses=_ANSWERS)
async def daily_users(question: Annotated[DaysQuestion, Query()], services: ServicesOf) -> Any:
    """Tell how many users were active on each day, with the days of none."""
    return await _answer(services, "daily_users", question, "days")


@router.post("/api/stats/dau", response_model=list[DailyUsers], responses=_ANSWERS)
async def post_daily_users(question: DaysQuestion, services: ServicesOf) -> Any:
    """Tell the same of a question in the body."""
    return await _answer(services, "daily_users", question, "days")


@router.get("/stats/top-events", response_model=list[EventCount], responses=_ANSWERS)
@router.get("/api/stats/top-events", response_model=list[EventCount], responses=_ANSWERS)
async def top_events(question: Annotated[TopEventsQuestion, Query()], services: ServicesOf) -> Any:
    """Tell which types of events came most often; of two that came as often, the one whose name is first."""
    return await _answer(services, "top_events", question, "events")


@router.post("/api/stats/top-events", response_model=list[EventCount], responses=_ANSWERS)
async def post_top_events(question: TopEventsQuestion, services: ServicesOf) -> Any:
    """Tell the same of a question in the body."""
    return await _answer(services, "top_events", question, "events")


@router.get("/stats/retention", response_model=Retention, responses=_ANSWERS)
@router.get("/api/stats/retention", response_model=Retention, responses=_ANSWERS)
async def retention(question: Annotated[RetentionQuestion, Query()], services: ServicesOf) -> Any:
    """Tell how many users whose first event ever was on a day were active 1, 2, ... days after it."""
    return await _answer(services, "retention", question)


@router.post("/api/stats/retention", response_model=Retention, responses=_ANSWERS)
async def post_retention(question: RetentionQuestion, services: ServicesOf) -> Any:
    """Tell the same of a question in the body."""
    return await _answer(services, "retention", question)


async def _answer(
    services: Services, kind: str, question: DaysQuestion | RetentionQuestion, part: str | None = None
) -> Any:
    """Wait for the job and return its result, or the part of it with the answer's items."""
    asking = services.asking
    task = await asking.ask(kind, question.parameters(), question.scope(), wait=asking.patience)
    if task.status == "FAILURE":
        raise JobFailed(task.error or "")
    if task.status == "CANCELLED":
        raise JobCancelled("the task was cancelled")
    if task.result is None:
        return _later(task)
    return task.result if part is None else task.result[part]


def _later(task: Task) -> Response:
    headers = {"location": f"/tasks/{task.task_id}", "retry-after": str(retry_after())}
    return Response(task.model_dump_json(), 202, headers, "application/json")
