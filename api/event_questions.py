"""Questions about events, as query or body, and what their answers look like."""

import datetime as dt
import re
from datetime import date
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from api.questions import Whole
from shared import segments
from shared.days import Days
from shared.errors import InvalidRecord
from shared.scope import Scope
from shared.streams import EVENTS

#: Most days of one question.
DAYS_LIMIT = 3660
#: Room for every zone before and after.
_FIRST_DAY, _LAST_DAY = date(2, 1, 1), date(9000, 12, 31)

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: Names of files that are no zones: what this machine's clock shows, and "nobody has set it yet".
_NO_ZONES = {"localtime", "Factory"}


@cache
def _zones() -> set[str]:
    return available_timezones() - _NO_ZONES


def _iso(value: object) -> object:
    """Pydantic takes numbers for dates, too: seconds or milliseconds since 1970, by their size."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        return value
    raise PydanticCustomError("date_parsing", "must be a date such as 2026-01-31")


def _known_zone(name: str) -> str:
    if name not in _zones():
        raise PydanticCustomError("unknown_zone", "must be a time zone such as Europe/Kyiv")
    return name


def _segment(text: str) -> str:
    try:
        segments.parse(text)
    except InvalidRecord as error:
        raise PydanticCustomError("invalid_segment", "{reason}", {"reason": str(error)}) from error
    return text


def _possible(day: date) -> date:
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise PydanticCustomError("out_of_range", "must be in the years 2 to 9000")
    return day


Day = Annotated[date, BeforeValidator(_iso), AfterValidator(_possible)]
Zone = Annotated[str, Field(max_length=100, description="Whose days they are."), AfterValidator(_known_zone)]
SegmentText = Annotated[
    str,
    Field(
        max_length=1000,
        description="Only events of this segment: event_type:VALUE or properties.NAME:VALUE.",
        examples=["event_type:purchase", "properties.country:UA"],
    ),
    AfterValidator(_segment),
]


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid")

    segment: SegmentText | None = None
    tz: Zone = "UTC"

    def parameters(self) -> dict[str, Any]:
        """The same as JSON, under the public names."""
        return self.model_dump(mode="json", by_alias=True)


class DaysQuestion(Question):
    from_: Annotated[Day, Field(alias="from", description="First day.")]
    to: Annotated[Day, Field(description="Last day; it is in it.")]

    @field_validator("to")
    @classmethod
    def _after_from(cls, to: date, info: ValidationInfo) -> date:
        first = info.data.get("from_")
        if first is not None and to < first:
            raise PydanticCustomError("empty_window", "must not be before from")
        if first is not None and (to - first).days >= DAYS_LIMIT:
            raise PydanticCustomError("too_long", "must be less than {days} days after from", {"days": DAYS_LIMIT})
        return to

    def scope(self) -> Scope:
        """The events that the answer depends on."""
        days = Days(ZoneInfo(self.tz), self.from_, self.to)
        return Scope(None, days.start, days.end, EVENTS)


class TopEventsQuestion(DaysQuestion):
    limit: Annotated[Whole, Field(ge=1, le=1000, description="Most event types in the answer.")] = 10


class RetentionQuestion(Question):
    start_date: Annotated[Day, Field(description="The day of the first event of the users to follow.")]
    windows: Annotated[Whole, Field(ge=1, le=366, description="How many days to follow them.")] = 3

    def scope(self) -> Scope:
        """The events that the answer depends on: which is a user's first depends on all that were before."""
        days = Days(ZoneInfo(self.tz), self.start_date, self.start_date + dt.timedelta(days=self.windows))
        return Scope(None, None, days.end, EVENTS)


class DailyUsers(BaseModel):
    date: dt.date
    unique_users: int


class EventCount(BaseModel):
    event_type: str
    count: int


class RetentionWindow(BaseModel):
    """`day`: days since the cohort's first. `rate`: count ÷ size of the cohort, 0 when that is empty."""

    day: int
    count: int
    rate: float


class Retention(BaseModel):
    cohort_size: int
    windows: list[RetentionWindow]
