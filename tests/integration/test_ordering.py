"""An ordered copy holds what its file holds, counts as long as the file does, and is never in the way."""

import random
from datetime import date, timedelta
from uuid import UUID

import numpy as np
import pytest
from cold_tier import COLUMNS, DAY, MIDNIGHT, ColdTier, readings
from factories import Weir, partition
from sealed import Row, insert

from analytics import tiering
from analytics.progress import Progress
from analytics.statistics import Statistics
from shared.cold import forgetting, ordered_manifest, ordering, switch, upkeep, verification
from shared.cold.ordered import BlockDamaged, unpack
from shared.cold.ordering import OrderedDay, order_all
from shared.questions import Question
from shared.streams import STREAMS

LONG = timedelta(minutes=1)
FEW = 200


@pytest.fixture
def cold(weir: Weir, monkeypatch):
    """A sealed day, in which devices 1 and 2 have enough readings for an ordered copy, in several series, and 3 has not."""
    monkeypatch.setattr(ordering, "FEWEST_ROWS", FEW)
    monkeypatch.setattr(ordering, "_AT_ONCE", 500)
    found = ColdTier(weir)
    partition(weir, "readings", DAY)
    found.insert(readings(3000, seed=1, devices=2) + [(3, *row[1:]) for row in readings(FEW - 1, seed=2)])
    found.seal()
    yield found
    found.engine.dispose()


def order(cold: ColdTier):
    return order_all(cold.engine, cold.store, STREAMS, LONG)


def copies(cold: ColdTier):
    with cold.engine.connect() as connection:
        return ordered_manifest.copies(connection, "readings")


def devices(cold: ColdTier, keys=(1, 2, 3), start=None, end=None):
    with cold.engine.connect() as connection:
        return ordered_manifest.devices(connection, "readings", keys, start, end)


def told(cold: ColdTier, **window) -> set[int]:
    return {key for one in devices(cold, **window) for key in one.device_keys}


def values(cold: ColdTier, copy, blocks) -> np.ndarray:
    with cold.store.source(copy.path) as source:
        read = [unpack(source.read_at(block["bytes"], block["offset"]), block) for block in blocks]
    return np.concatenate([np.repeat(*one) for one in read])


def test_copy_holds_each_axis_of_the_larger_devices(cold: ColdTier) -> None:
    assert order(cold) == [OrderedDay("readings", DAY, 2, copies(cold)[0].bytes)]
    table = cold.store.read(cold.file(), COLUMNS)
    (both,) = devices(cold)
    assert both.device_keys == {1, 2}
    for key in both.device_keys:
        (one,) = devices(cold, keys=[key])
        mine = table.filter(table["device_key"].to_numpy() == key)
        for axis, blocks in zip("xyz", one.blocks, strict=True):
            assert blocks["rows"].sum() == len(mine)
            assert sorted(values(cold, one.copy, blocks)) == sorted(mine[axis].to_numpy() + 0.0)
    for axis, blocks in zip("xyz", both.blocks, strict=True):
        mine = table.filter(table["device_key"].to_numpy() < 3)
        assert sorted(values(cold, both.copy, blocks)) == sorted(mine[axis].to_numpy() + 0.0)


class Silent:
    def began(self, version):
        pass

    def reached(self, percent):
        pass


def test_device_whose_values_cannot_be_packed_has_no_copy_and_exact_numbers_all_the_same(
    cold: ColdTier, weir: Weir
) -> None:
    """Device 1 counts, device 2 tells random bits, device 3 does so after two series of counting."""
    yesterday, chance = MIDNIGHT - timedelta(days=1), random.Random(1)
    counting = {1: 1000, 2: 0, 3: 1000}
    rows = [
        Row(
            key,
            yesterday + timedelta(seconds=second),
            *(float(chance.randint(-300, 300)) if second < counting[key] else chance.gauss(0, 1) for _ in "xyz"),
        )
        for key, number in {1: 1000, 2: 6000, 3: 2000}.items()
        for second in range(number)
    ]
    weir.rows("INSERT INTO users (name, email) VALUES ('a', 'a@example.org')")
    for key in counting:
        weir.rows(f"INSERT INTO devices (id, user_id, name) VALUES ('{UUID(int=key)}', 1, 'device')")
    partition(weir, "readings", yesterday.date())
    insert(weir, rows)
    cold.seal()
    (file, _) = cold.files()
    assert {one.day: one.devices for one in order(cold)} == {DAY: 2, file.day: 1}
    assert order(cold) == []
    (one,) = [one for one in devices(cold) if one.copy.file == file.id]
    assert one.device_keys == {1}
    known = weir.scalar("SELECT sum(pg_column_size(s.*)) FROM cold_summaries s WHERE file = %s", str(file.id))
    known += weir.scalar("SELECT sum(pg_column_size(b.*)) FROM cold_blocks b WHERE file = %s", str(file.id))
    assert file.bytes / len(rows) > 15
    assert (file.bytes + one.copy.bytes + known) / len(rows) <= 30
    assert [one.fault for one in verification.verify(cold.engine, cold.store, STREAMS)] == [None] * 4
    for key in counting:
        answer = Statistics(cold.engine, cold.store, Progress(Silent())).of_device(
            UUID(int=key), Question(end=MIDNIGHT, quantiles=(0.9,))
        )
        mine = [row for row in rows if row.key == key]
        for axis in "xyz":
            values = [getattr(row, axis) for row in mine]
            assert (answer[axis]["count"], answer[axis]["median"]) == (len(mine), np.median(values))
            assert answer[axis]["quantiles"]["0.9"] == pytest.approx(np.quantile(values, 0.9), rel=1e-12)


def test_what_is_ordered_is_not_ordered_again(cold: ColdTier) -> None:
    order(cold)
    before = cold.on_disk()
    assert order(cold) == []
    assert cold.on_disk() == before


def test_hourly_upkeep_puts_in_order_what_is_sealed(cold: ColdTier) -> None:
    tiering.run(cold.engine, cold.store, 7, dict.fromkeys((stream.name for stream in STREAMS), None), timedelta(days=1))
    assert [copy.day for copy in copies(cold)] == [DAY]


def test_only_devices_wholly_inside_the_window_are_told(cold: ColdTier) -> None:
    order(cold)
    file = cold.file()
    after = file.last + timedelta(microseconds=1)
    assert told(cold, start=file.first, end=after) == {1, 2}
    assert devices(cold, keys=[3]) == []
    assert len(told(cold, end=file.last)) + len(told(cold, start=file.first + timedelta(microseconds=1))) < 4


def test_copy_goes_with_its_file_and_is_made_again(cold: ColdTier) -> None:
    order(cold)
    (first,) = copies(cold)
    cold.insert(readings(500, seed=3, devices=2))
    cold.seal()
    assert copies(cold) == []
    assert first.path in cold.on_disk()  # for whoever still reads it
    upkeep.tidy(cold.engine, cold.store, timedelta(0))
    assert first.path not in cold.on_disk()
    assert len(order(cold)) == 1
    (second,) = copies(cold)
    assert cold.on_disk() == {cold.file().path, second.path}


@pytest.mark.parametrize("step", ["note", "claim"])
def test_ordering_killed_on_its_way_is_done_again(cold: ColdTier, monkeypatch, step: str) -> None:
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(switch if step == "claim" else cold.store, "claim" if step == "claim" else "create", kill)
        with pytest.raises(Killed):
            order(cold)
    assert copies(cold) == []
    assert len(order(cold)) == 1
    upkeep.tidy(cold.engine, cold.store, timedelta(0))
    assert cold.on_disk() == {cold.file().path, copies(cold)[0].path}


def test_damaged_copy_is_found_and_no_block_of_it_believed(cold: ColdTier) -> None:
    order(cold)
    (one,) = devices(cold)
    path = cold.folder / one.copy.path
    garbled = bytearray(path.read_bytes())
    garbled[int(one.blocks[0][0]["offset"]) + 20] ^= 1
    path.write_bytes(garbled)
    with pytest.raises(BlockDamaged):
        values(cold, one.copy, one.blocks[0][:1])
    _, damaged = verification.verify(cold.engine, cold.store, STREAMS)
    assert (damaged.path, damaged.fault) == (str(path), "has another size or SHA-256")
    path.unlink()
    _, missing = verification.verify(cold.engine, cold.store, STREAMS)
    assert (missing.path, missing.fault) == (str(path), "is missing")
    assert f"--forget {path}" in missing.advice
    forgetting.forget(cold.engine, forgetting.find(cold.engine, cold.store, STREAMS, str(path)))
    assert len(order(cold)) == 1
    assert [one.fault for one in verification.verify(cold.engine, cold.store, STREAMS)] == [None, None]


def test_file_that_is_damaged_is_told_and_holds_nothing_else_back(cold: ColdTier, weir: Weir) -> None:
    other = date(2026, 1, 30)
    partition(weir, "readings", other)
    cold.insert((1, row[1] - timedelta(days=1), *row[2:]) for row in readings(FEW, seed=4))
    cold.seal()
    name = next(file.path for file in cold.files() if file.day == DAY)
    path = cold.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    failed, done = order(cold)
    assert (failed.day, done.day) == (DAY, other)
    assert name in failed.reason
