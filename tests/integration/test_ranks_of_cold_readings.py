"""Answers out of ordered copies are those out of the readings themselves, for any window, hot, cold or both."""

import random
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from cold_tier import DAY, MIDNIGHT, ColdTier
from factories import Weir, partition

import analytics.cold
from analytics.cold import parts
from analytics.progress import Progress
from analytics.statistics import Statistics
from shared.cold import manifest, ordered_manifest, ordering
from shared.cold.ordered import BLOCK
from shared.cold.ordering import order_all
from shared.cold.sealing import seal
from shared.cold.store import Store
from shared.errors import ColdFileDamaged, JobCancelled
from shared.questions import AXES, Question
from shared.scope import Scope
from shared.streams import STREAMS

DAYS = 4
WHOLE = Question()
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
LONG = timedelta(minutes=1)


class Counting(Store):
    """A store that says how many files were opened, and how often there was reading in ordered copies."""

    opened = 0
    copies_read = 0

    def source(self, path):
        self.copies_read += path.endswith(".blocks")
        return super().source(path)

    def open(self, file):
        self.opened += 1
        return super().open(file)


class Silent:
    def began(self, version):
        pass

    def reached(self, percent):
        pass


@pytest.fixture
def cold(weir: Weir, monkeypatch):
    """Four days of devices 1 and 2: the first three are sealed and in order, but of device 2 some are too few for that."""
    monkeypatch.setattr(ordering, "FEWEST_ROWS", 100)
    monkeypatch.setattr(ordering, "MOST_BYTES", 1000.0)  # blocks are as small as this, and so their bounds are large
    monkeypatch.setattr("shared.cold.ordered._FEWEST", 8)
    monkeypatch.setattr("shared.cold.ordered._MOST", 16)
    found = ColdTier(weir)
    weir.rows("INSERT INTO users (name, email) VALUES ('a', 'a@example.org')")
    for key in (1, 2):
        weir.rows(f"INSERT INTO devices (id, user_id, name) VALUES ('{UUID(int=key)}', 1, 'device')")
    found.readings = list(made())
    for days in range(DAYS):
        partition(weir, "readings", DAY + timedelta(days=days))
    found.insert(found.readings)
    yield found
    found.engine.dispose()


def made():
    chance = random.Random(5)
    for days in range(DAYS):
        for key, number in ((1, 400), (2, 150 if days == 1 else 60)):
            for _ in range(number):
                time = MIDNIGHT + timedelta(days=days, microseconds=chance.randrange(86_400_000_000))
                yield (
                    key,
                    time,
                    chance.gauss(0, 1),
                    float(chance.randint(-3, 3)),
                    chance.choice([-0.0, 0.0, 1e300, 2.5]),
                )


def ordered(cold: ColdTier) -> int:
    """Seal three of the days and put them in order."""
    for source in cold.sources(DAY + timedelta(days=DAYS - 1)):
        seal(cold.engine, cold.store, source)
    return len(order_all(cold.engine, cold.store, STREAMS, LONG))


def numbers(rows, axis):
    values = np.array([row[2 + axis] for row in rows])
    if not len(values):
        return {"count": 0, "min": None, "max": None, "median": None}
    return {
        "count": len(values),
        "min": values.min(),
        "max": values.max(),
        "median": np.median(values),
        "quantiles": dict(zip(map(str, ("0", 0.05, 0.5, 0.95, "1")), np.quantile(values, QUANTILES), strict=True)),
    }


def statistics(cold: ColdTier) -> Statistics:
    return Statistics(cold.engine, cold.store, Progress(Silent()))


def ask(cold: ColdTier, key, start, end):
    question = Question(start, end, quantiles=QUANTILES)
    if key is None:
        return statistics(cold).of_user(1, question, by_device=False)
    return statistics(cold).of_device(UUID(int=key), question)


def windows():
    chance = random.Random(6)
    yield None, None
    for days in range(DAYS):
        yield MIDNIGHT + timedelta(days=days), MIDNIGHT + timedelta(days=days + 1)
    for _ in range(20):
        start, end = sorted(MIDNIGHT + timedelta(seconds=chance.randrange(86400 * DAYS)) for _ in range(2))
        yield chance.choice([None, start]), chance.choice([None, end])


#: Bytes of blocks that may be held: of all days, of two of device 1, of none.
@pytest.mark.parametrize("most", [ordered_manifest.MOST_BYTES, 5000, 0])
def test_every_window_has_the_numbers_of_its_readings(cold: ColdTier, monkeypatch, most: int) -> None:
    monkeypatch.setattr(ordered_manifest, "MOST_BYTES", most)
    before = [(key, window, ask(cold, key, *window)) for window in windows() for key in (1, 2, None)]
    assert ordered(cold) == DAYS - 1
    for key, (start, end), hot in before:
        found = ask(cold, key, start, end)
        mine = [
            row
            for row in cold.readings
            if key in (row[0], None) and (start is None or row[1] >= start) and (end is None or row[1] < end)
        ]
        for axis, name in enumerate("xyz"):
            assert found[name] == hot[name]
            for word, number in numbers(mine, axis).items():
                assert found[name][word] == (pytest.approx(number, rel=1e-12) if number else number)
        assert found["newest"] == hot["newest"]
        assert found["hot"] + found["cold"] == len(mine)


def in_order(cold: ColdTier):
    with manifest.snapshot(cold.engine) as connection:
        return ordered_manifest.devices(connection, "readings", (1, 2))


def test_only_so_much_is_held_in_order_and_the_largest_devices_first(cold: ColdTier, monkeypatch) -> None:
    ordered(cold)
    largest = [(DAY, 1), (DAY + timedelta(days=1), 1), (DAY + timedelta(days=2), 1), (DAY + timedelta(days=1), 2)]
    all_bytes = sum(blocks.nbytes for one in in_order(cold) for blocks in one.blocks)
    held = set()
    for most in range(0, all_bytes + 1, BLOCK.itemsize):
        monkeypatch.setattr(ordered_manifest, "MOST_BYTES", most)
        found = in_order(cold)
        assert sum(blocks.nbytes for one in found for blocks in one.blocks) <= most
        told = {(one.copy.day, key) for one in found for key in one.device_keys}
        assert told == set(largest[: len(told)])
        held.add(len(told))
    assert held == {0, 1, 2, 3, 4}


def asked_of_all(cold: ColdTier, start, end):
    found = statistics(cold).of_all(Question(start, end, quantiles=QUANTILES))
    return {name: value for name, value in found.items() if name != "as_of"}


def test_answers_of_all_read_only_what_is_not_in_order(cold: ColdTier, monkeypatch) -> None:
    expected = [(window, asked_of_all(cold, *window)) for window in windows()]
    ordered(cold)
    read = set()
    pieces = Store.pieces

    def noted(store, file, *columns, device_keys=None, **window):
        read.add((file.day, device_keys))
        return pieces(store, file, *columns, device_keys=device_keys, **window)

    monkeypatch.setattr(Store, "pieces", noted)
    asked_of_all(cold, None, None)
    assert read == {(DAY, (2,)), (DAY + timedelta(days=2), (2,))}
    for few in (analytics.cold._FEW, 1):
        monkeypatch.setattr(analytics.cold, "_FEW", few)
        for window, hot in expected:
            found = asked_of_all(cold, *window)
            assert found.pop("hot") + found.pop("cold") == hot["hot"]
            assert found == {name: value for name, value in hot.items() if name not in ("hot", "cold")}


def test_whole_days_are_answered_without_reading_them(cold: ColdTier, monkeypatch) -> None:
    ordered(cold)
    with monkeypatch.context() as patch:

        def never(*_, **__):
            raise AssertionError("a file is read")

        patch.setattr(Store, "pieces", never)
        assert ask(cold, 1, None, None)["cold"] == 400 * (DAYS - 1)
        with pytest.raises(AssertionError):
            statistics(cold).of_device(UUID(int=1), Question(histogram=3))


def test_more_hot_readings_than_there_is_room_for_are_ranked_with_the_cold_ones(cold: ColdTier) -> None:
    expected = statistics(cold).of_device(UUID(int=1), WHOLE)
    ordered(cold)
    found = Statistics(cold.engine, cold.store, Progress(Silent()), room=300).of_device(UUID(int=1), WHOLE)
    assert [found[axis] for axis in "xyz"] == [expected[axis] for axis in "xyz"]


def test_damaged_copy_fails_the_job_that_needs_it_and_names_the_file(cold: ColdTier) -> None:
    ordered(cold)
    with cold.engine.connect() as connection:
        first, *_ = ordered_manifest.copies(connection, "readings")
    path = cold.folder / first.path
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(ColdFileDamaged, match=first.path):
        ask(cold, 1, None, None)
    assert ask(cold, 1, MIDNIGHT + timedelta(days=1), None)["x"]["count"] == 400 * (DAYS - 1)


def test_file_is_opened_only_for_windows_in_which_it_has_readings(cold: ColdTier) -> None:
    ordered(cold)
    store = Counting(str(cold.folder))

    def read(keys, start, end):
        """The rows in a window of each part, and how many files were opened for them."""
        with manifest.snapshot(cold.engine) as connection:
            found = parts(connection, store, Scope(keys))
        store.opened = 0
        return sum(piece.rows for part in found for piece in part.within(start, end).pieces(AXES)), store.opened

    for days in range(DAYS - 1):
        start = MIDNIGHT + timedelta(days=days)
        assert read((1,), start, start + timedelta(days=1)) == (400, 1)
        first = min(row[1] for row in cold.readings if row[0] == 2 and row[1] >= start)
        assert read((2,), start, first) == (0, 0)
        assert read((2,), start, first + timedelta(microseconds=1)) == (1, 1)
        assert read(None, start, start + timedelta(days=1))[1] == 1
    assert read(None, MIDNIGHT - timedelta(days=1), MIDNIGHT) == (0, 0)


def test_job_cancelled_during_ranks_stops_at_the_next_part(cold: ColdTier, monkeypatch) -> None:
    ordered(cold)
    monkeypatch.setattr("analytics.progress.EVERY", 0.0)
    store = Counting(str(cold.folder))

    class Cancelling(Silent):
        def reached(self, percent):
            if store.copies_read:
                raise JobCancelled("nobody waits for this job any more")

    with pytest.raises(JobCancelled):
        Statistics(cold.engine, store, Progress(Cancelling())).of_device(UUID(int=1), WHOLE)
    assert store.copies_read == 1
