"""The days of a time zone as UTC moments, so that zoneinfo alone says where a day begins."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
#: No zone is further from UTC than this.
_FURTHEST = timedelta(hours=27)
#: No zone changes its clocks and back again within this.
_STEP = timedelta(hours=12)


class Period(NamedTuple):
    """From `start` to `end`, which is not in it, local time is UTC plus `offset`."""

    start: datetime
    end: datetime
    offset: timedelta


class Days:
    """The local days from `first` to `last`, both included.

    A day is every moment whose local date it is: 23 or 25 hours where clocks change, none at all where a zone went over
    the date line. Moments between `start` and `end` (UTC, the end not included) may be of other days still: clocks that
    went back at midnight came to the day before a second time. `periods` reach a day beyond both.
    """

    def __init__(self, zone: ZoneInfo, first: date, last: date) -> None:
        self.first, self.last = first, last
        begin, end = _midnight(first), _midnight(last + _DAY)
        self.periods = list(_periods(zone, begin - _FURTHEST, end + _FURTHEST))
        inside = [
            (max(period.start, begin - period.offset), min(period.end, end - period.offset)) for period in self.periods
        ]
        spans = [span for span in inside if span[0] < span[1]] or [(begin, begin)]
        self.start, self.end = spans[0][0], spans[-1][1]

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1))

    @property
    def are_utc(self) -> bool:
        """Whether each is the day of the same date in UTC."""
        return all(not period.offset for period in self.periods)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _periods(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[Period]:
    """Cut a span of time where the zone's offset changes."""
    start = moment = begin
    offset = _offset(zone, begin)
    while moment < end:
        following = min(moment + _STEP, end)
        if _offset(zone, following) == offset:
            moment = following
            continue
        moment = _change(zone, moment, following)
        yield Period(start, moment, offset)
        start, offset = moment, _offset(zone, moment)
    yield Period(start, end, offset)


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the first second with another offset than `before`; clocks change on whole seconds."""
    offset = _offset(zone, before)
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if _offset(zone, middle) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
