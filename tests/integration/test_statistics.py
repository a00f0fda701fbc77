"""Statistics are those of brute force, to the last digit, wherever the readings are and however few are read at once."""

import bisect
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from uuid import UUID, uuid4

import numpy as np
import pytest
from factories import Weir, partition

from analytics import cold as cold_readings
from analytics import hot as hot_readings
from analytics.progress import Progress
from analytics.statistics import ROOM, Statistics
from shared import questions
from shared.cold import hot, ordering
from shared.cold.sealing import seal
from shared.cold.store import Store
from shared.database import connect
from shared.errors import InvalidRecord
from shared.questions import AXES, EPOCH, Question
from shared.streams import READINGS

FIRST = date(2026, 1, 30)
DAYS = 3
MIDNIGHT = datetime(2026, 1, 30, tzinfo=UTC)
EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308, 1e16, 1.0, -1e16, 0.1]


class NoReports:
    def began(self, version) -> None:
        self.version = version

    def reached(self, percent) -> None:
        pass


class Readings:
    """The readings of a user's devices in one Weir, and what brute force says of them."""

    def __init__(self, weir: Weir, devices: int) -> None:
        settings = weir.settings()
        self.engine = connect(settings.database_url, pool_size=3, statement_deadline=timedelta(seconds=30))
        self.store = Store(settings.cold_url)
        self.weir = weir
        weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
        self.ids = [uuid4() for _ in range(devices)]
        for one in self.ids:
            weir.rows("INSERT INTO devices (id, user_id) VALUES (%s, 1)", str(one))
        self.keys = {UUID(one): key for one, key in weir.rows("SELECT id::text, key FROM devices")}
        for number in range(DAYS):
            partition(weir, "readings", FIRST + timedelta(days=number))
        self.rows: list[tuple[int, datetime, float, float, float]] = []

    def insert(self, rows) -> None:
        rows = list(rows)
        with self.weir.connection() as connection, connection.cursor() as cursor:
            for one in rows:
                cursor.execute("INSERT INTO readings VALUES (%s, %s, %s, %s, %s)", one)
        self.rows += rows

    def seal(self, *days: date) -> None:
        with self.engine.connect() as connection:
            sources = hot.sources(connection, READINGS, FIRST + timedelta(days=DAYS))
        for source in sources:
            if source.day in days:
                seal(self.engine, self.store, source)

    def order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have what is sealed put in order, however few readings a device has, and in blocks of few."""
        monkeypatch.setattr(ordering, "FEWEST_ROWS", 5)
        monkeypatch.setattr("shared.cold.ordered._FEWEST", 8)
        ordering.order_all(self.engine, self.store, [READINGS], timedelta(minutes=1))

    def statistics(self, room: int = ROOM) -> Statistics:
        return Statistics(self.engine, self.store, Progress(NoReports()), room)

    def expected(self, keys, question: Question) -> dict:
        rows = [
            row
            for row in self.rows
            if row[0] in keys
            and (question.start is None or row[1] >= question.start)
            and (question.end is None or row[1] < question.end)
        ]
        found = {"newest": max((row[1] for row in rows), default=None), "rows": len(rows), **numbers(rows, question)}
        if question.bucket:
            buckets = defaultdict(list)
            for row in rows:
                buckets[(row[1] - EPOCH) // question.bucket].append(row)
            found["buckets"] = [
                {
                    "start": (EPOCH + number * question.bucket).isoformat(),
                    "end": (EPOCH + (number + 1) * question.bucket).isoformat(),
                    **{name: without_histogram(one) for name, one in numbers(rows, question).items()},
                }
                for number, rows in sorted(buckets.items())
            ]
        return found


def without_histogram(numbers: dict) -> dict:
    return {name: value for name, value in numbers.items() if name != "histogram"}


def numbers(rows, question: Question) -> dict:
    columns = {name: np.array([row[2 + place] for row in rows], dtype=float) for place, name in enumerate(AXES)}
    with np.errstate(over="ignore"):
        columns["magnitude"] = np.hypot(np.hypot(columns["x"], columns["y"]), columns["z"])
    return {name: of_axis(sorted(columns[name].tolist()), question) for name in question.names}


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def of_axis(values: list[float], question: Question) -> dict:
    if not values:
        found = {"min": None, "max": None, "count": 0, "sum": 0.0, "median": None}
    else:
        found = {
            "min": finite(values[0]),
            "max": finite(values[-1]),
            "count": len(values),
            "sum": exact_sum(values),
            "median": quantile(values, "0.5"),
        }
    if question.quantiles:
        names = [f"{one:g}" for one in question.quantiles]
        found["quantiles"] = {name: quantile(values, name) if values else None for name in names}
    if question.histogram:
        found["histogram"] = histogram(values, question.histogram)
    return found


def exact_sum(values: list[float]) -> float | None:
    try:
        return float(sum(map(Fraction, values)))
    except OverflowError:
        return None


def quantile(values: list[float], share: str) -> float | None:
    place = Fraction(share) * (len(values) - 1)
    below, above = values[math.floor(place)], values[math.ceil(place)]
    if not math.isfinite(above):
        return finite(below) if place.denominator == 1 else None
    return float(Fraction(below) + (place - math.floor(place)) * (Fraction(above) - Fraction(below)))


def histogram(values: list[float], bins: int) -> dict:
    if not values:
        return {"edges": [], "counts": []}
    low, high = values[0], values[-1]
    if not math.isfinite(high):
        return {"edges": [low] * bins + [None], "counts": [0] * (bins - 1) + [len(values)]}
    edges = [float(Fraction(low) + (Fraction(high) - Fraction(low)) * place / bins) for place in range(bins + 1)]
    until = [0, *(bisect.bisect_left(values, edge) for edge in edges[1:-1]), len(values)]
    return {"edges": edges, "counts": [after - before for before, after in pairwise(until)]}


def told(answer: dict) -> dict:
    """An answer as `expected` has it."""
    newest = answer["newest"] and datetime.fromisoformat(answer["newest"])
    axes = {name: answer[name] for name in (*AXES, "magnitude", "buckets") if name in answer}
    return {"newest": newest, "rows": answer["hot"] + answer["cold"], **axes}


@pytest.fixture
def readings(weir: Weir) -> Iterator[Readings]:
    found = Readings(weir, 3)
    yield found
    found.engine.dispose()


def some_row(dice: random.Random, keys: list[int], kind: str) -> tuple:
    def value() -> float:
        if kind == "alike":
            return float(dice.randint(-5, 5))
        if kind == "wide":
            return math.ldexp(dice.uniform(-1, 1), dice.randint(-1074, 1000))
        return dice.choice([dice.gauss(0, 1), dice.gauss(0, 1), dice.choice(EXTREMES)])

    seconds = dice.choice([dice.uniform(0, DAYS * 86400), dice.randint(0, DAYS * 24) * 3600 % (DAYS * 86400)])
    moment = MIDNIGHT + timedelta(microseconds=int(seconds * 1_000_000))
    return (dice.choice(keys), moment, value(), value(), value())


def some_moment(dice: random.Random, moments: list[datetime]) -> datetime:
    """A whole hour, or the time of a reading, or as little before or after it as can be."""
    if dice.random() < 0.5:
        return MIDNIGHT + timedelta(hours=dice.randint(0, DAYS * 24))
    return dice.choice(moments) + timedelta(microseconds=dice.randint(-1, 1))


def some_question(dice: random.Random, moments: list[datetime]) -> Question:
    ends = sorted(some_moment(dice, moments) for _ in range(2))
    start, end = (one if dice.random() < 0.7 else None for one in ends)
    return Question(
        start,
        end + timedelta(microseconds=dice.choice([1, 1_000_000])) if end else None,
        axes=tuple(sorted(dice.sample(AXES, dice.randint(1, 3)))),
        magnitude=dice.random() < 0.5,
        quantiles=tuple(sorted(dice.sample([0.0, 0.05, 0.1, 0.25, 0.5, 0.95, 1.0], dice.randint(0, 4)))),
        histogram=dice.choice([None, 1, 7, 50]),
        bucket=dice.choice([None, timedelta(minutes=15), timedelta(hours=1), timedelta(days=1), timedelta(days=7)]),
    )


@pytest.mark.parametrize("kind", ["alike", "wide", "mixed"])
@pytest.mark.parametrize("sealed", [(), (0, 1, 2), (0, 2), (1,)], ids=["hot", "cold", "mixed", "one day cold"])
def test_random_windows_are_as_brute_force_says(readings: Readings, monkeypatch, kind: str, sealed) -> None:
    dice = random.Random(f"{kind} {sealed}")
    keys = list(readings.keys.values())
    rows = [some_row(dice, keys, kind) for _ in range(150)]
    readings.insert(rows)
    readings.seal(*(FIRST + timedelta(days=number) for number in sealed))
    if len(sealed) < DAYS:  # late ones stay hot
        late = [some_row(dice, keys, kind) for _ in range(30)]
        readings.insert(late)
        rows += late
    for number in range(12):
        if number == 6:  # the other half of the questions finds copies in order
            readings.order(monkeypatch)
            assert bool(readings.weir.scalar("SELECT count(*) FROM cold_ordered")) == bool(sealed)
        question = some_question(dice, [moment for _, moment, *_ in rows])
        monkeypatch.setattr(hot_readings, "PIECE", dice.choice([3, 20, 50_000]))
        monkeypatch.setattr(hot_readings, "_PAGES", dice.choice([1, 1_000]))
        monkeypatch.setattr(hot_readings, "_FEW", dice.choice([0, 200]))
        monkeypatch.setattr(cold_readings, "_FEW", dice.choice([0, 200]))
        statistics = readings.statistics(dice.choice([40, 300, ROOM]))
        device = dice.choice(readings.ids)
        assert told(statistics.of_device(device, question)) == readings.expected({readings.keys[device]}, question), (
            number,
            question,
        )
        assert told(statistics.of_all(question)) == readings.expected(set(keys), question), (number, question)
        apart = statistics.of_user(1, question, by_device=True)["devices"]
        assert {UUID(one): told(answer) for one, answer in apart.items()} == {
            one: readings.expected({key}, question) for one, key in readings.keys.items()
        }
    together = readings.statistics().of_user(1, Question(), by_device=False)
    assert told(together) == readings.expected(set(keys), Question())


def test_more_buckets_than_an_answer_may_have_are_an_error(readings: Readings, monkeypatch) -> None:
    monkeypatch.setattr(questions, "MOST_BUCKETS", 10)
    key = readings.keys[readings.ids[0]]
    readings.insert((key, MIDNIGHT + timedelta(hours=number), 1.0, 2.0, 3.0) for number in range(11))
    with pytest.raises(InvalidRecord, match="more than 10 buckets"):
        readings.statistics().of_device(readings.ids[0], Question(bucket=timedelta(hours=1)))
    ten = readings.statistics().of_device(
        readings.ids[0], Question(MIDNIGHT + timedelta(hours=1), bucket=timedelta(hours=1))
    )
    assert len(ten["buckets"]) == 10


def test_many_readings_of_one_moment_are_all_read(readings: Readings, monkeypatch) -> None:
    monkeypatch.setattr(hot_readings, "PIECE", 5)
    key = readings.keys[readings.ids[0]]
    readings.insert((key, MIDNIGHT, float(number), 0.0, 0.0) for number in range(50))
    readings.insert((key, MIDNIGHT + timedelta(seconds=number), -1.0, 0.0, 0.0) for number in range(7))
    found = told(readings.statistics().of_device(readings.ids[0], Question()))
    assert found == readings.expected({key}, Question())


def test_newest_may_be_the_first_moment_of_1970(readings: Readings) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    key = readings.keys[readings.ids[0]]
    readings.insert([(key, epoch - timedelta(days=1), 1.0, 2.0, 3.0)])
    readings.seal((epoch - timedelta(days=1)).date())
    readings.insert([(key, epoch, 1.0, 2.0, 3.0)])
    assert told(readings.statistics().of_device(readings.ids[0], Question())) == readings.expected({key}, Question())
