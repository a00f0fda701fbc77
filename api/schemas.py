"""What requests may hold and answers look like, except readings: those are defined by their stream."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

#: Text without control characters: PostgreSQL cannot store NUL, and a log or a page should not be made to obey one.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", strict=True)]
Email = Annotated[str, Field(max_length=254, pattern=r"^[^\x00-\x20\x7f@]+@[^\x00-\x20\x7f@]+$", strict=True)]
#: PostgreSQL's integer.
Key = Annotated[int, Field(ge=1, le=2_147_483_647)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewUser(Body):
    name: Name
    email: Email


class User(BaseModel):
    id: int
    name: str
    email: str


class NewDevice(Body):
    user_id: Annotated[Key, Field(strict=True)]
    name: Name | None = None


class Device(BaseModel):
    id: UUID
    user_id: int
    name: str | None


class Stored(BaseModel):
    """A stored reading."""

    device_id: UUID
    timestamp: datetime
    x: float
    y: float
    z: float


class DeadRecord(BaseModel):
    """A record of a submission that could not be stored; index None: the message as a whole."""

    index: int | None
    code: str
    reason: str


class Receipt(BaseModel):
    """`accepted_at` is when its message was made: only a receipt of a submission without a key knows that."""

    id: UUID
    status: Literal["pending", "stored", "dead-lettered", "unknown"]
    stream: str | None = None
    accepted_at: datetime | None = None
    records: int | None = None
    stored_at: datetime | None = None
    dead: list[DeadRecord] = []


class Task(BaseModel):
    task_id: UUID
    status: Literal["PENDING", "STARTED", "SUCCESS", "FAILURE"]
    result: dict[str, Any] | None = None
    error: str | None = None


class Accepted(BaseModel):
    status: Literal["ok"]


class Rejection(BaseModel):
    index: int
    code: str
    field: str | None


class BatchAccepted(Accepted):
    accepted: int
    rejected: list[Rejection]


class Problem(BaseModel):
    """RFC 9457. `errors` names each faulty field and why."""

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[dict[str, Any]] = []
