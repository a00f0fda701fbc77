"""A local day is every moment whose local date it is, in every zone and whatever its clocks do."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analytics.events import local_day
from shared.days import Days

#: Where days are odd: changes at midnight, at a minute after it, over the date line, of half an hour, twice in a month.
ODD = [
    "UTC",
    "Europe/Kyiv",
    "America/Havana",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Beirut",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Europe/Amsterdam",
    "Asia/Kathmandu",
]
zones = st.sampled_from(ODD) | st.sampled_from(sorted(available_timezones()))
dates = st.dates(date(1900, 1, 1), date(2040, 1, 1))


def local_days(days: Days, moments: list[datetime]) -> list[int]:
    microseconds = [(moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for moment in moments]
    connection = duckdb.connect(":memory:")
    query = f"SELECT {local_day(days)} FROM (SELECT make_timestamptz(unnest(?)) AS time)"
    found = connection.execute(query, [microseconds]).fetchall()
    connection.close()
    return [day for (day,) in found]


@settings(deadline=None)
@given(zones, dates, st.integers(0, 400), st.lists(st.integers(-3 * 86_400, 403 * 86_400), min_size=1, max_size=20))
@example("America/St_Johns", date(2008, 11, 1), 1, [86_400 + hours * 60 for hours in range(-60, 400)])
@example("Pacific/Apia", date(2011, 12, 29), 2, [hours * 1800 for hours in range(-60, 200)])
@example("Europe/Kyiv", date(2026, 3, 29), 0, [hours * 1800 for hours in range(-60, 100)])
def test_moment_is_in_the_day_of_its_local_date(zone: str, first: date, width: int, seconds: list[int]) -> None:
    there = ZoneInfo(zone)
    days = Days(there, first, first + timedelta(days=width))
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    moments = [begin + timedelta(seconds=one, microseconds=-1) for one in seconds]
    moments += [moment + timedelta(microseconds=1) for moment in moments]
    for moment, found in zip(moments, local_days(days, moments), strict=True):
        local = moment.astimezone(there).date()
        if days.first <= local <= days.last:
            assert days.start <= moment < days.end
        if days.start <= moment < days.end:
            assert found == local.toordinal()


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 7, 1), 24)])
def test_day_is_as_long_as_its_clocks_make_it(day: date, hours: int) -> None:
    days = Days(ZoneInfo("Europe/Kyiv"), day, day)
    assert days.end - days.start == timedelta(hours=hours)


def test_day_that_a_zone_left_out_holds_nothing() -> None:
    days = Days(ZoneInfo("Pacific/Apia"), date(2011, 12, 30), date(2011, 12, 30))
    assert days.start == days.end


def test_days_are_those_of_utc_only_while_the_zone_has_its_time() -> None:
    winter, summer = date(2026, 1, 10), date(2026, 7, 10)
    assert Days(ZoneInfo("UTC"), winter, summer).are_utc
    assert Days(ZoneInfo("Europe/London"), winter, winter).are_utc
    assert not Days(ZoneInfo("Europe/London"), winter, summer).are_utc
    assert not Days(ZoneInfo("Europe/Kyiv"), winter, winter).are_utc
