"""What requests may hold and answers look like, except readings: those are defined by their stream."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from api.window import in_words

#: Text without control characters: PostgreSQL cannot store NUL, and a log or a page should not be made to obey one.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", strict=True)]
Email = Annotated[str, Field(max_length=254, pattern=r"^[^\x00-\x20\x7f@]+@[^\x00-\x20\x7f@]+$", strict=True)]
#: PostgreSQL's integer.
Key = Annotated[int, Field(ge=1, le=2_147_483_647)]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is outside the years 1 to 9999") from error


AwareMoment = Annotated[AwareDatetime, BeforeValidator(in_words), AfterValidator(_in_utc)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewUser(Body):
    name: Name
    email: Email


class User(BaseModel):
    id: int
    name: str
    email: str


#: Whole days that a device's readings are kept; None: as long as everybody's. A century is for ever.
RetentionDays = Annotated[int, Field(ge=1, le=36_525, strict=True)]


class NewDevice(Body):
    """With `reuse`, the user's first device of this name is the answer where there is one, and none is made."""

    user_id: Annotated[Key, Field(strict=True)]
    name: Name | None = None
    retention_days: RetentionDays | None = None
    reuse: Annotated[bool, Field(strict=True)] = False


class DeviceChanges(Body):
    """What is not named stays as it is."""

    name: Name | None = None
    retention_days: RetentionDays | None = None


class Device(BaseModel):
    id: UUID
    user_id: int
    name: str | None
    retention_days: int | None


class Stored(BaseModel):
    """A stored reading."""

    device_id: UUID
    timestamp: datetime
    x: float
    y: float
    z: float


class Line(BaseModel):
    """One axis, column by column. `time` in milliseconds since 1970, UTC, as charts in a browser have it."""

    time: list[float]
    value: list[float]


class Chart(BaseModel):
    """What a chart shows of a window, and how many readings that stands for: hot ones and cold ones."""

    device_id: UUID
    start: datetime | None
    end: datetime | None
    as_of: datetime
    method: Literal["lttb", "minmax"]
    readings: int
    hot: int
    cold: int
    axes: dict[str, Line]


class Task(BaseModel):
    """`progress` is in per cent. `checked_at`: when the look began that last found the answer to be still true."""

    task_id: UUID
    status: Literal["PENDING", "STARTED", "SUCCESS", "FAILURE", "CANCELLED"]
    progress: int
    checked_at: datetime | None = None
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


#: What people say about what they do; and what they look for.
Words = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$", strict=True)]
State = Literal["open", "replaying", "replayed", "discarded"]


class Signed(Body):
    """Who does something, and why: it stays with the dead letter."""

    by: Name | None = None
    why: Words | None = None


class Selection(Body):
    """Which dead letters: all that fit everything that is said."""

    stream: Name | None = None
    device: UUID | None = None
    code: Name | None = None
    reason: Name | None = None
    state: State | None = None
    since: AwareMoment | None = None
    until: AwareMoment | None = None


class Replay(Selection, Signed):
    ids: Annotated[list[UUID], Field(max_length=1000)] | None = None
    dry_run: bool = True
    limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rate: Annotated[float, Field(ge=0.1, le=100_000)] | None = None
    cursor: Annotated[str, Field(max_length=40, pattern=r"^\d{1,18}-\d{1,18}$")] | None = None


class Replayed(BaseModel):
    """What was replayed. `left_open`: letters that must be edited first. `cursor`: where the next request goes on."""

    dry_run: bool
    matching: int
    by_code: dict[str, int]
    replayed: int = 0
    left_open: list[UUID] = []
    cursor: str | None = None


class Edit(Signed):
    """The records to publish in place of the letter's own: one, unless the letter is a whole message."""

    records: Annotated[list[dict[str, Any]], Field(min_length=1)]


class DeadLetterSummary(BaseModel):
    """`index` None: the message as a whole. `replay`: the receipt under which it is, or would be, replayed."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    stream: str
    device_id: UUID | None
    receipt: UUID | None
    index: int | None
    code: str
    reason: str
    attempts: int
    first_seen: datetime
    last_seen: datetime
    state: State
    replay: UUID
    replay_of: UUID | None
    replays: int


class DeadLetterAct(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    at: datetime
    act: Literal["edit", "replay", "discard"]
    by: str | None
    why: str | None


class DeadLetter(DeadLetterSummary):
    """`records` is what would be published, None when it cannot be read; `body` how it came, base64, its beginning."""

    records: list[Any] | None
    edited: bool
    content_type: str
    headers: dict[str, Any]
    size_bytes: int
    body: str
    acts: list[DeadLetterAct]
