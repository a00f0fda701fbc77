"""What is remembered of a file changes no page, however little that is."""

import random
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from factories import Weir
from sealed import Row, engine_of, insert, scattered, seal_days
from sqlalchemy import Engine

from api import queries, tails
from api.places import Place
from api.window import Window
from shared.cold.store import Store

DAYS = [date(2025, 3, 1) + timedelta(days=number) for number in range(3)]
KEYS = [1, 2, 3, 4]
MOST_PAGES = 1_000


@pytest.fixture
def engine(weir: Weir) -> Iterator[Engine]:
    weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    weir.rows("INSERT INTO devices (id, user_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 4)")
    with engine_of(weir) as engine:
        yield engine


def walked(engine: Engine, found: tails.Tails, limit: int) -> Iterator[Row]:
    """Every reading of all devices, page by page."""
    place = None
    for _ in range(MOST_PAGES):
        wanted = queries.Wanted.of(None, Window(None, None), place, limit + 1)
        hot = queries.hot(engine, wanted)
        page = queries.page([hot.rows, found.newest(wanted, hot)], wanted.limit)
        yield from (Row(one.key, one.time, one.x, one.y, one.z) for one in page[:limit])
        if len(page) <= limit:
            return
        place = Place.after(page[:limit], place)
    pytest.fail("the pages have no end")


@pytest.mark.parametrize("seed", range(6))
def test_pages_are_the_same_however_little_is_kept(
    weir: Weir, engine: Engine, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(tails, "READINGS", chance.choice([5, 30, 1000]))
    monkeypatch.setattr(tails, "FILES", 2)
    rows = [row for day in DAYS for row in scattered(chance, KEYS, day, 150, moments=chance.choice([1, 5, 100]))]
    insert(weir, rows)
    seal_days(weir, DAYS[:2])
    late = chance.sample(rows, 30)
    insert(weir, late)
    found = list(walked(engine, tails.Tails(Store(weir.settings().cold_url)), chance.choice([1, 9, 40])))
    assert found == sorted(rows + late, key=lambda row: (-row.time.timestamp(), -row.key, row.x, row.y, row.z))


def test_file_is_unpacked_once_for_many_pages(weir: Weir, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    insert(weir, scattered(random.Random(1), KEYS, DAYS[0], 500, moments=400))
    seal_days(weir, DAYS)
    store, opened = Store(weir.settings().cold_url), []
    once = store.open
    monkeypatch.setattr(store, "open", lambda file: (opened.append(file.path), once(file))[1])
    assert len(list(walked(engine, tails.Tails(store), 10))) == 500
    assert len(opened) == 1
