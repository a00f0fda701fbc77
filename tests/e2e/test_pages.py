"""Lists of readings page through hot and cold as one, however many share a time and whatever is sealed meanwhile."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from factories import Weir
from sealed import Row, insert, key_of, scattered, seal_days, shown

FIRST_DAY = date(2025, 3, 1)
DAYS = 3
SEEDS = range(12)
MOST_PAGES = 1_000


@pytest.fixture(scope="module")
def devices(running_weir: Weir) -> dict[str, int]:
    """Three devices' ids and keys."""
    made = [running_weir.device(f"device {number}") for number in range(3)]
    return {str(device): key_of(running_weir, device) for device in made}


def newest_first(row: Row) -> tuple[object, ...]:
    return (-row.time.timestamp(), -row.key, row.x, row.y, row.z)


def days_of(seed: int) -> list[date]:
    return [FIRST_DAY + timedelta(days=10 * seed + number) for number in range(DAYS)]


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def walked(weir: Weir, path: str, chance: random.Random, days: list[date], limit: int, **window: str) -> Iterator[dict]:
    """Every reading of a list; between two pages any of the days may be sealed."""
    answer = weir.http.get(path, params={"limit": limit, **window})
    for _ in range(MOST_PAGES):
        assert answer.status_code == 200, answer.text
        assert len(answer.json()) <= limit
        yield from answer.json()
        following = answer.links.get("next")
        if following is None:
            return
        if chance.random() < 0.15:
            seal_days(weir, chance.sample(days, 1))
        answer = weir.http.get(following["url"])
    pytest.fail("the pages have no end")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_reading_is_listed_once_whatever_is_sealed_between_two_pages(
    running_weir: Weir, devices: dict[str, int], seed: int
) -> None:
    chance = random.Random(seed)
    keys, days = list(devices.values()), days_of(seed)
    rows = [row for day in days for row in scattered(chance, keys, day, 80, moments=chance.choice([2, 40]))]
    insert(running_weir, rows)
    if chance.random() < 0.7:
        seal_days(running_weir, chance.sample(days, chance.randint(1, DAYS)))
        late = scattered(chance, keys, days[0], 30, moments=3) + chance.sample(rows, 20)
        insert(running_weir, late)
        rows += late
    window = {"start": midnight(days[0]).isoformat(), "end": midnight(days[-1] + timedelta(days=1)).isoformat()}

    limit = chance.choice([1, 7, 50]) if seed % 4 else 1000
    found = shown(walked(running_weir, "/stats/", chance, days, limit, **window), devices)
    assert found == sorted(rows, key=newest_first)
    for device, key in devices.items():
        found = shown(walked(running_weir, f"/stats/{device}/", chance, days, limit, **window), devices)
        assert found == sorted((row for row in rows if row.key == key), key=newest_first)


def test_window_is_cut_to_the_microsecond_in_hot_and_cold(running_weir: Weir, devices: dict[str, int]) -> None:
    day = FIRST_DAY - timedelta(days=100)
    (device, key), *_ = devices.items()
    start = midnight(day)
    rows = [Row(key, start + timedelta(microseconds=number), float(number), 0.0, 0.0) for number in range(10)]
    insert(running_weir, rows[::2])
    seal_days(running_weir, [day])
    insert(running_weir, rows[1::2])
    window = {"start": rows[2].time.isoformat(), "end": rows[7].time.isoformat()}
    for path in ("/stats/", f"/stats/{device}/"):
        found = running_weir.http.get(path, params=window)
        assert [one["x"] for one in found.json()] == [6.0, 5.0, 4.0, 3.0, 2.0]


@pytest.mark.parametrize(
    "cursor", ["x", "MXwxfDEuMHwxLjB8MS4wfDA", "MXwxfG5hbnwxLjB8MS4wfDE", "OTk5OTk5OTk5OTk5OTk5OTk5OTl8MXwxfDF8MXwx"]
)
def test_cursor_that_no_page_gave_is_422(running_weir: Weir, cursor: str) -> None:
    answer = running_weir.http.get("/stats/", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "cursor"
