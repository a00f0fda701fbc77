"""What users do: daily active users, top events and retention. Each is a job, and answers with the bare result."""

from datetime import UTC
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

# Not Content-Location: that would say that the task, asked for by itself, is this very answer (RFC 9110, 8.7).
_LOCATION = {"Location": {"description": "The task.", "schema": {"type": "string"}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            **_LOCATION,
            "Weir-As-Of": {
                "description": "The moment whose events were seen: all that were stored by then, and none since.",
                "schema": {"type": "string", "format": "date-time"},
            },
            "Weir-Checked-At": {
                "description": "Where the answer was there already: when it was last found to be still true.",
                "schema": {"type": "string", "format": "date-time"},
            },
            "Weir-Queued": {
                "description": "Events that were accepted and not stored yet.",
                "schema": {"type": "integer", "minimum": 0},
            },
        }
    },
    202: {
        "model": Task,
        "description": "It takes longer than `WEIR_JOB_WAIT_LIMIT`; `Location` leads to the task",
        "headers": {
            **_LOCATION,
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
        },
    },
    **problems(422, 503),
}


@router.get("/stats/dau", response_model=list[DailyUsers], responses=_ANSWERS)
@router.get("/api/stats/dau", response_model=list[DailyUsers], responses=_ANSWERS)
async def daily_users(question: Annotated[DaysQuestion, Query()], services: ServicesOf, response: Response) -> Any:
    """Tell how many users were active on each day, with the days of none."""
    return await _answer(services, response, "daily_users", question, "days")


@router.post("/api/stats/dau", response_model=list[DailyUsers], responses=_ANSWERS)
async def post_daily_users(question: DaysQuestion, services: ServicesOf, response: Response) -> Any:
    """Tell the same of a question in the body."""
    return await _answer(services, response, "daily_users", question, "days")


@router.get("/stats/top-events", response_model=list[EventCount], responses=_ANSWERS)
@router.get("/api/stats/top-events", response_model=list[EventCount], responses=_ANSWERS)
async def top_events(question: Annotated[TopEventsQuestion, Query()], services: ServicesOf, response: Response) -> Any:
    """Tell which types of events came most often; of two that came as often, the one whose name is first."""
    return await _answer(services, response, "top_events", question, "events")


@router.post("/api/stats/top-events", response_model=list[EventCount], responses=_ANSWERS)
async def post_top_events(question: TopEventsQuestion, services: ServicesOf, response: Response) -> Any:
    """Tell the same of a question in the body."""
    return await _answer(services, response, "top_events", question, "events")


@router.get("/stats/retention", response_model=Retention, responses=_ANSWERS)
@router.get("/api/stats/retention", response_model=Retention, responses=_ANSWERS)
async def retention(question: Annotated[RetentionQuestion, Query()], services: ServicesOf, response: Response) -> Any:
    """Tell how many users whose first event ever was on a day were active 1, 2, ... days after it."""
    return await _answer(services, response, "retention", question)


@router.post("/api/stats/retention", response_model=Retention, responses=_ANSWERS)
async def post_retention(question: RetentionQuestion, services: ServicesOf, response: Response) -> Any:
    """Tell the same of a question in the body."""
    return await _answer(services, response, "retention", question)


async def _answer(
    services: Services,
    response: Response,
    kind: str,
    question: DaysQuestion | RetentionQuestion,
    part: str | None = None,
) -> Any:
    """Wait for the job and return its result, or the part of it with the answer's items; headers say what it covers."""
    asking = services.asking
    task = await asking.ask(kind, question.parameters(), question.scope(), wait=asking.patience)
    if task.status == "FAILURE":
        raise JobFailed(task.error or "")
    if task.status == "CANCELLED":
        raise JobCancelled("the task was cancelled")
    if task.result is None:
        return _later(task)
    response.headers["location"] = _path(task)
    response.headers["weir-as-of"] = task.result["as_of"]
    if task.checked_at is not None:
        response.headers["weir-checked-at"] = task.checked_at.astimezone(UTC).isoformat()
    response.headers["weir-queued"] = str(task.result["queued"])
    return task.result if part is None else task.result[part]


def _later(task: Task) -> Response:
    headers = {"location": _path(task), "retry-after": str(retry_after())}
    return Response(task.model_dump_json(), 202, headers, "application/json")


def _path(task: Task) -> str:
    return f"/tasks/{task.task_id}"
