"""A window: the span of time that a question is about."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from shared.errors import InvalidRecord
from shared.streams.timestamps import normalized

#: What stands for an open start, and for an open end: nothing that is stored lies beyond.
OLDEST, NEWEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def in_words(value: object) -> object:
    """Let pass what begins with a date. Pydantic takes numbers, too, for seconds or milliseconds since 1970: a year
    would be a moment of that year's first hour.
    """
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _DATE.match(value):
        return normalized(value)
    raise PydanticCustomError("datetime_parsing", "must be a date or a moment such as 2026-01-31T09:30:00Z")


#: A moment as a request names it, in ISO 8601: a date, or a date and a time; UTC unless it has an offset.
Moment = Annotated[datetime, BeforeValidator(in_words)]


@dataclass(frozen=True)
class Window:
    """A span of time, its start in it and its end not; either may be open."""

    start: datetime | None
    end: datetime | None


def window(start: datetime | None, end: datetime | None) -> Window:
    """Make a window of moments in UTC. Raises InvalidRecord."""
    found = Window(in_utc(start, "start"), in_utc(end, "end"))
    if found.end and found.end <= (found.start or OLDEST):
        raise InvalidRecord("empty_window", "end", "must be later than start, and than the year 1 where there is none")
    return found


def in_utc(moment: datetime | None, field: str) -> datetime | None:
    """Give a moment in UTC, which is meant where none is named. Raises InvalidRecord."""
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidRecord("out_of_range", field, "is outside the years 1 to 9999") from error
