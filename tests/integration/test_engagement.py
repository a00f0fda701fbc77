"""Daily users, top events and retention are what counting by hand gives: hot, cold, and across the edge."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from factories import Weir
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from analytics import tiering
from analytics.counted import SealedUsers, count_all
from analytics.engagement import Engagement
from analytics.progress import Progress
from shared import segments
from shared.cold import hot
from shared.cold.sealing import seal
from shared.cold.store import Store
from shared.cold.upkeep import Failed
from shared.database import connect
from shared.days import Days
from shared.errors import ColdFileDamaged, WeirError
from shared.streams import EVENTS

MINUTE = timedelta(minutes=1)
DAY = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Event:
    time: datetime
    user_id: str
    event_type: str = "view"
    properties: dict[str, Any] = field(default_factory=dict, hash=False)


class NoReports:
    """A job nobody asks about."""

    def began(self, version: object) -> None:
        pass

    def reached(self, percent: int) -> None:
        pass


class Tiers:
    """The events of one Weir, their store, and the questions."""

    def __init__(self, weir: Weir) -> None:
        self.weir = weir
        self.engine = connect(weir.database_url, pool_size=2, statement_deadline=timedelta(seconds=30))
        self.store = Store(weir.settings().cold_url)

    def insert(self, events: Sequence[Event]) -> None:
        rows = [(str(uuid4()), one.time, one.user_id, one.event_type, json.dumps(one.properties)) for one in events]
        with self.weir.connection() as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO events VALUES (%s, %s, %s, %s, %s)", rows)

    def seal(self, days: frozenset[date] | None = None) -> None:
        """Seal what is hot of these days, or of all."""
        with self.engine.connect() as connection:
            sources = hot.sources(connection, EVENTS, date(2100, 1, 1))
        for source in sources:
            if days is None or source.day in days:
                seal(self.engine, self.store, source)

    def empty(self) -> None:
        self.weir.rows("TRUNCATE events; DELETE FROM cold_files; DELETE FROM cold_leftovers")

    def ask(self, deadline: timedelta = MINUTE) -> Engagement:
        return Engagement(self.engine, self.store, Progress(NoReports()), deadline)

    def daily_users(self, zone: str, first: date, last: date, segment: str | None = None) -> dict[date, int]:
        found = self.ask().daily_users(Days(ZoneInfo(zone), first, last), parsed(segment))
        return {date.fromisoformat(one["date"]): one["unique_users"] for one in found["days"]}

    def top_events(
        self, zone: str, first: date, last: date, segment: str | None = None, limit: int = 10
    ) -> list[tuple]:
        found = self.ask().top_events(Days(ZoneInfo(zone), first, last), parsed(segment), limit)
        return [(one["event_type"], one["count"]) for one in found["events"]]

    def retention(self, zone: str, start: date, windows: int, segment: str | None = None) -> list[int]:
        """The cohort's size, then how many were active on each day after."""
        found = self.ask().retention(ZoneInfo(zone), start, windows, parsed(segment))
        size = found["cohort_size"]
        for number, window in enumerate(found["windows"], 1):
            assert window["day"] == number
            assert window["rate"] == (window["count"] / size if size else 0)
        return [size, *(one["count"] for one in found["windows"])]


@pytest.fixture
def tiers(weir: Weir) -> Iterator[Tiers]:
    found = Tiers(weir)
    yield found
    found.engine.dispose()


def parsed(segment: str | None) -> segments.Segment | None:
    return None if segment is None else segments.parse(segment)


# The same by hand


class ByHand:
    def __init__(self, events: Sequence[Event], zone: str, segment: str | None) -> None:
        self._zone = ZoneInfo(zone)
        self._events = [one for one in events if segment is None or is_in(one, segment)]

    def day(self, event: Event) -> date:
        return event.time.astimezone(self._zone).date()

    def daily_users(self, first: date, last: date) -> dict[date, int]:
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        return {day: len({one.user_id for one in self._events if self.day(one) == day}) for day in days}

    def top_events(self, first: date, last: date, limit: int) -> list[tuple]:
        counts = Counter(one.event_type for one in self._events if first <= self.day(one) <= last)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]

    def retention(self, start: date, windows: int) -> list[int]:
        first: dict[str, Event] = {}
        for one in sorted(self._events, key=lambda event: event.time):
            first.setdefault(one.user_id, one)
        cohort = {user for user, one in first.items() if self.day(one) == start}
        active = [
            {one.user_id for one in self._events if self.day(one) == start + timedelta(days=number)}
            for number in range(1, windows + 1)
        ]
        return [len(cohort), *(len(cohort & users) for users in active)]


def is_in(event: Event, segment: str) -> bool:
    where, _, value = segment.partition(":")
    if where == "event_type":
        return event.event_type == value
    found: Any = event.properties
    for name in where.split(".")[1:]:
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, int | float) and not isinstance(found, bool):
        return value[0].isdigit() and float(value) == found
    return found is not None and (found if isinstance(found, str) else json.dumps(found)) == value


#: A zone, and a day that is odd in it.
SCENES = [
    ("UTC", date(2026, 1, 31)),
    ("Europe/Kyiv", date(2026, 3, 29)),
    ("Europe/Kyiv", date(2025, 10, 26)),
    ("America/St_Johns", date(2008, 11, 2)),
    ("Pacific/Apia", date(2011, 12, 30)),
]
SEGMENTS = [
    None,
    None,
    "event_type:view",
    "event_type:a, \"b\"\n'c'",
    "properties.country:UA",
    "properties.n:1.5",
    "properties.n:2",
    "properties.n:2.0",
    "properties.n:true",
    "properties.a.b~/c:ю",
]
#: COPY has to carry these to and fro.
USERS = ["a", "A", " a", 'q"', "\\.", "NULL", "1", "ю\r\nb,", "\x01"]
TYPES = ["view", "buy", "a, \"b\"\n'c'", "Ж", "\\N"]
PROPERTIES = [{}, {"country": "UA"}, {"country": "DE", "n": 1.5}, {"n": 2}, {"n": "2"}, {"n": True}, {"n": None}]
PROPERTIES += [{"a": {"b~/c": "ю"}, "country": ["UA"]}, {"a": "b~/c", "a.b~/c": "ю"}]


@st.composite
def events(draw: st.DrawFn, day: date) -> list[Event]:
    """Events of five days, often at the same moment, often at the turn of an hour."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    minutes = st.integers(-2 * 48, 3 * 48).map(lambda halves: 30 * halves) | st.integers(-2 * 1440, 3 * 1440)
    times = st.builds(
        lambda minute, off: midnight + timedelta(minutes=minute, microseconds=off),
        minutes,
        st.sampled_from([-1, 0, 0, 7]),
    )
    one = st.builds(Event, times, st.sampled_from(USERS), st.sampled_from(TYPES), st.sampled_from(PROPERTIES))
    return draw(st.lists(one, max_size=40))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[str, date, list[Event], list[Event], frozenset[date]]:
    zone, day = draw(st.sampled_from(SCENES))
    some = st.frozensets(st.integers(-3, 4).map(lambda number: day + timedelta(days=number)))
    return zone, day, draw(events(day)), draw(events(day)), draw(some)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(scenes(), st.sampled_from(SEGMENTS), st.integers(-2, 2), st.integers(0, 3), st.integers(1, 4))
@example(
    # Its clocks went from 00:01 back to 23:01, so a user's first event may be of the later of two days.
    (
        "America/St_Johns",
        date(2008, 11, 2),
        [Event(datetime(2008, 11, 2, 2, 30, tzinfo=UTC), "a"), Event(datetime(2008, 11, 2, 2, 40, tzinfo=UTC), "a")],
        [Event(datetime(2008, 11, 2, 2, 45, tzinfo=UTC), "b"), Event(datetime(2008, 11, 2, 5, tzinfo=UTC), "b")],
        frozenset({date(2008, 11, 2)}),
    ),
    None,
    0,
    1,
    2,
)
def test_answers_are_those_counted_by_hand_wherever_events_are(
    tiers: Tiers, scene, segment: str | None, begin: int, width: int, number: int
) -> None:
    zone, day, early, late, sealed = scene
    first = day + timedelta(days=begin)
    last = first + timedelta(days=width)
    tiers.empty()

    def check(stored: list[Event]) -> None:
        by_hand = ByHand(stored, zone, segment)
        assert tiers.daily_users(zone, first, last, segment) == by_hand.daily_users(first, last)
        assert tiers.top_events(zone, first, last, segment, number) == by_hand.top_events(first, last, number)
        assert tiers.retention(zone, first, number, segment) == by_hand.retention(first, number)

    tiers.insert(early)
    check(early)
    tiers.seal(sealed)
    check(early)
    check(early)
    tiers.insert(late)
    check(early + late)
    tiers.seal()
    check(early + late)
    check(early + late)


#: What a property is as JSON, and under which name it is counted.
NUMBERS = {
    "20": "20",
    "20.0": "20.0",
    "2e1": "2e1",
    "text 20": '"20"',
    "text 20.0": '"20.0"',
    "true": "true",
    "text true": '"true"',
    "null": "null",
    "text null": '"null"',
    "array": "[20]",
    "object": '{"n": 20}',
    "-20": "-20",
    "0": "0",
    "-0.0": "-0.0",
    "0.1": "0.1",
    "2^53": "9007199254740992",
    "2^53 + 1": "9007199254740993",
    "2^53 as float": "9007199254740992.0",
    "2^64": "18446744073709551616",
    "2^64 + 1": "18446744073709551617",
    "10^30": "1" + 30 * "0",
    "10^30 + 1": "1" + 29 * "0" + "1",
    "10^400": "1" + 400 * "0",
}
TWENTY = {"20", "20.0", "2e1"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("20", TWENTY | {"text 20"}),
        ("20.0", TWENTY | {"text 20.0"}),
        ("2e1", TWENTY),
        ("2.0E+1", TWENTY),
        ("-20", {"-20"}),
        *((value, set()) for value in ("020", "+20", " 20", "20 ", "20.", ".2e2", "0x14", "2_0", "٢٠", "NaN", "inf", "1e400")),
        *((value, {"0", "-0.0"}) for value in ("0", "-0", "0.0", "0e9")),
        ("0.1", {"0.1"}),
        ("0.10000000000000000555", {"0.1"}),
        ("true", {"true", "text true"}),
        ("null", {"text null"}),
        ("9007199254740992", {"2^53", "2^53 as float"}),
        ("9007199254740993", {"2^53 + 1", "2^53 as float"}),
        ("9007199254740992.0", {"2^53", "2^53 + 1", "2^53 as float"}),
        ("18446744073709551617", {"2^64 + 1"}),
        ("1" + 29 * "0" + "1", {"10^30 + 1"}),
        ("1e30", {"10^30", "10^30 + 1"}),
        ("1" + 400 * "0", {"10^400"}),
    ],
)  # fmt: skip
def test_numbers_of_a_segment_are_compared_as_numbers(numbers: Tiers, value: str, found: set[str]) -> None:
    counts = numbers.top_events("UTC", DAY - timedelta(days=1), DAY, f"properties.n:{value}", 1000)
    assert dict(counts) == dict.fromkeys(found, 2)


@pytest.fixture(scope="module")
def numbers(running_weir: Weir) -> Iterator[Tiers]:
    """Each of them twice: hot and sealed."""
    tiers = Tiers(running_weir)
    for moment in (NOON - timedelta(days=1), NOON):
        rows = [(str(uuid4()), moment, "u", name, f'{{"n": {json_}}}') for name, json_ in NUMBERS.items()]
        with running_weir.connection() as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO events VALUES (%s, %s, %s, %s, %s)", rows)
        if moment < NOON:
            tiers.seal()
    yield tiers
    tiers.engine.dispose()


# What is sealed is counted once


SOME = [Event(NOON, "a"), Event(NOON, "a"), Event(NOON, "b"), Event(NOON - timedelta(days=1), "a")]


def counted(tiers: Tiers) -> dict[date, int]:
    return dict(tiers.weir.rows("SELECT f.day, c.users FROM cold_users c JOIN cold_files f ON f.id = c.file"))


@pytest.fixture
def sealed(tiers: Tiers) -> Tiers:
    tiers.insert(SOME)
    tiers.seal()
    return tiers


def test_sealed_day_is_counted_once(sealed: Tiers) -> None:
    first = DAY - timedelta(days=2)
    expected = {first: 0, DAY - timedelta(days=1): 1, DAY: 2}
    assert sealed.daily_users("UTC", first, DAY) == expected
    assert counted(sealed) == {DAY - timedelta(days=1): 1, DAY: 2}
    for file in files(sealed):
        file.unlink()
    assert sealed.daily_users("UTC", first, DAY) == expected
    assert sealed.daily_users("Europe/London", first, DAY) == expected
    with pytest.raises(ColdFileDamaged):
        sealed.daily_users("Europe/Kyiv", first, DAY)


def test_sealed_days_can_be_counted_before_anybody_asks(sealed: Tiers) -> None:
    flip_a_user(files(sealed)[0])
    failed: list[Failed] = []
    assert count_all(sealed.engine, sealed.store, MINUTE, failed.append) == 1
    assert [one.day for one in failed] == [DAY - timedelta(days=1)]
    assert counted(sealed) == {DAY: 2}
    files(sealed)[1].unlink()
    assert sealed.daily_users("UTC", DAY, DAY) == {DAY: 2}


def test_days_for_which_no_time_is_left_are_counted_the_next_time(sealed: Tiers) -> None:
    failed: list[Failed] = []
    assert count_all(sealed.engine, sealed.store, timedelta(0), failed.append) == 0
    assert [one.reason for one in failed] == ["it took longer than a job may"]
    assert count_all(sealed.engine, sealed.store, MINUTE, failed.append) == 2
    assert len(failed) == 1


@pytest.mark.parametrize("error", [RuntimeError, SoftTimeLimitExceeded])
def test_only_the_end_of_the_tasks_time_ends_the_counting(
    sealed: Tiers, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = SealedUsers.keep, True

    def once_broken(*arguments: Any) -> None:
        nonlocal broken
        if broken:
            broken = False
            raise error("out of the blue")
        whole(*arguments)

    monkeypatch.setattr(SealedUsers, "keep", once_broken)
    failed: list[Failed] = []
    if error is SoftTimeLimitExceeded:
        with pytest.raises(SoftTimeLimitExceeded):
            count_all(sealed.engine, sealed.store, MINUTE, failed.append, tiering.ENDS)
        return
    assert count_all(sealed.engine, sealed.store, MINUTE, failed.append) == 1
    assert [one.reason for one in failed] == ["unexpected RuntimeError: out of the blue"]


def test_days_that_cannot_be_counted_for_want_of_a_temporary_folder_are_told(
    sealed: Tiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    failed: list[Failed] = []
    assert count_all(sealed.engine, sealed.store, MINUTE, failed.append) == 0
    assert len(failed) == 1
    assert counted(sealed) == {}


def test_late_events_of_a_counted_day_count(sealed: Tiers) -> None:
    assert sealed.daily_users("UTC", DAY, DAY) == {DAY: 2}
    sealed.insert([Event(NOON, "b"), Event(NOON, "c")])
    assert sealed.daily_users("UTC", DAY, DAY) == {DAY: 3}
    sealed.seal()
    assert counted(sealed) == {}
    assert sealed.daily_users("UTC", DAY, DAY) == {DAY: 3}
    assert counted(sealed) == {DAY: 3}


def test_part_of_what_is_counted_is_of_no_use_to_a_segment_or_another_zone(sealed: Tiers) -> None:
    assert sealed.daily_users("UTC", DAY, DAY, "event_type:buy") == {DAY: 0}
    assert sealed.daily_users("Pacific/Auckland", DAY, DAY) == {DAY: 1}
    assert counted(sealed) == {}


# What cannot be read


def files(tiers: Tiers) -> list[Path]:
    return sorted(Path(tiers.weir.settings().cold_url).rglob("*.parquet"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def flip_footer(path: Path) -> None:
    flip(path, -20)


def flip_a_user(path: Path) -> None:
    group = parquet.read_metadata(path).row_group(0)
    (column,) = (one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == "user_id")
    flip(path, column.data_page_offset + column.total_compressed_size - 1)


@pytest.mark.parametrize("harm", [cut, flip_footer, flip_a_user, Path.unlink], ids=lambda harm: harm.__name__)
def test_damaged_file_is_named_and_harms_nothing_else(sealed: Tiers, harm: Callable[[Path], None]) -> None:
    _, damaged = files(sealed)
    harm(damaged)
    for ask in (
        lambda: sealed.daily_users("UTC", DAY, DAY),
        lambda: sealed.retention("UTC", DAY + timedelta(days=1), 1),
    ):
        with pytest.raises(ColdFileDamaged, match=damaged.name):
            ask()
    day_before = DAY - timedelta(days=1)
    assert sealed.daily_users("UTC", day_before, day_before) == {day_before: 1}
    assert sealed.top_events("UTC", day_before, day_before) == [("view", 1)]


def test_question_ends_at_its_deadline(tiers: Tiers) -> None:
    tiers.insert([Event(NOON + timedelta(seconds=number), f"user {number}") for number in range(5000)])
    with pytest.raises(WeirError, match="longer than a job may"):
        tiers.ask(timedelta(0)).daily_users(Days(ZoneInfo("UTC"), DAY, DAY), None)
