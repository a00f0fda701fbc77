"""A chart stands for every reading of its window, hot or cold, and says so."""

import random
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from factories import Weir
from sealed import Row, engine_of, insert, key_of, seal_days

from api.chart import Wish, draw
from api.errors import TooSlow
from api.window import Window
from shared.cold.store import Store

DAY = date(2025, 7, 1)
EMPTY = {axis: {"time": [], "value": []} for axis in "xyz"}
MIDNIGHT = datetime(2025, 7, 1, tzinfo=UTC)


def milliseconds(time: datetime) -> float:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) / 1000


@pytest.fixture
def rows(running_weir: Weir) -> tuple[str, list[Row]]:
    """A device with readings over three days: the first is cold, the second both, the third hot."""
    device = running_weir.device()
    key, chance = key_of(running_weir, device), random.Random(1)
    times = sorted(MIDNIGHT + timedelta(microseconds=chance.randrange(3 * 86_400_000_000)) for _ in range(3000))
    rows = [Row(key, time, chance.gauss(0, 1), chance.gauss(5, 2), 1.0) for time in times]
    late = [row for row in rows if row.time.date() == DAY + timedelta(days=1)][::5]
    insert(running_weir, [row for row in rows if row not in late])
    seal_days(running_weir, [DAY, DAY + timedelta(days=1)])
    insert(running_weir, late)
    return str(device), rows


def points(line: dict[str, list[float]]) -> list[tuple[float, float]]:
    return list(zip(line["time"], line["value"], strict=True))


def test_few_readings_are_drawn_as_they_are(running_weir: Weir, rows: tuple[str, list[Row]]) -> None:
    device, stored = rows
    answer = running_weir.http.get(f"/devices/{device}/series", params={"points": 3000, "method": "minmax"}).json()
    hot = sum(row.time.date() == DAY + timedelta(days=2) for row in stored)
    late = len([row for row in stored if row.time.date() == DAY + timedelta(days=1)][::5])
    assert (answer["readings"], answer["hot"], answer["cold"]) == (3000, hot + late, 3000 - hot - late)
    for axis in ("x", "y", "z"):
        assert points(answer["axes"][axis]) == [(milliseconds(row.time), getattr(row, axis)) for row in stored]


@pytest.mark.parametrize("method", ["lttb", "minmax"])
def test_many_readings_are_drawn_with_few_of_them(running_weir: Weir, rows: tuple[str, list[Row]], method: str) -> None:
    device, stored = rows
    window = {"start": (MIDNIGHT + timedelta(hours=6)).isoformat(), "end": (MIDNIGHT + timedelta(hours=60)).isoformat()}
    query = {"points": 100, "method": method, "axes": "y,x", **window}
    answer = running_weir.http.get(f"/devices/{device}/series", params=query).json()
    inside = [row for row in stored if MIDNIGHT + timedelta(hours=6) <= row.time < MIDNIGHT + timedelta(hours=60)]
    assert (answer["readings"], answer["method"], list(answer["axes"])) == (len(inside), method, ["y", "x"])
    for axis, line in answer["axes"].items():
        every = {(milliseconds(row.time), getattr(row, axis)) for row in inside}
        assert 80 < len(points(line)) <= 100
        assert set(points(line)) <= every
        assert max(line["value"]) == max(value for _, value in every)
        assert min(line["value"]) == min(value for _, value in every)


def test_window_with_nothing_in_it_is_an_empty_chart(running_weir: Weir, rows: tuple[str, list[Row]]) -> None:
    device, _ = rows
    answer = running_weir.http.get(f"/devices/{device}/series", params={"end": "2020-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["readings"]) == (200, 0)
    assert answer.json()["axes"] == EMPTY


def test_device_without_readings_has_an_empty_chart(running_weir: Weir) -> None:
    answer = running_weir.http.get(f"/devices/{running_weir.device()}/series")
    assert answer.json()["axes"] == EMPTY


def test_chart_that_takes_too_long_is_given_up(running_weir: Weir, rows: tuple[str, list[Row]]) -> None:
    wish = Wish(rows[1][0].key, Window(None, None), ["x"], "lttb", 100)
    with engine_of(running_weir) as engine, pytest.raises(TooSlow):
        draw(engine, Store(running_weir.settings().cold_url), wish, timedelta(0))


def test_unknown_device_is_404(running_weir: Weir) -> None:
    assert running_weir.http.get(f"/devices/{uuid4()}/series").status_code == 404


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("points", {"points": 2}),
        ("points", {"points": 10_001}),
        ("method", {"method": "mean"}),
        ("axes", {"axes": "x,w"}),
        ("axes", {"axes": "x,x"}),
        ("axes", {"axes": ""}),
        ("start", {"start": "yesterday"}),
        ("end", {"start": "2025-07-02T00:00:00Z", "end": "2025-07-01T00:00:00Z"}),
        ("end", {"start": "2025-07-02T00:00:00Z", "end": "2025-07-02T00:00:00Z"}),
    ],
)
def test_what_makes_no_sense_is_422_with_the_field(running_weir: Weir, field: str, query: dict[str, object]) -> None:
    answer = running_weir.http.get(f"/devices/{running_weir.device()}/series", params=query)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
