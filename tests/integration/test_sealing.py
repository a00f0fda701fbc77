"""A sealed day is the same records in another place: none is lost, none is shown twice, whatever stops it."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cold_tier import COLUMNS, DAY, MIDNIGHT, ColdTier, readings
from factories import Weir, partition

from shared.cold import manifest, upkeep
from shared.cold.sealing import Sealed
from shared.cold.writing import STEPS
from shared.errors import ColdFileDamaged, Conflict, DatabaseUnavailable
from shared.exact_sum import ExactSum

DEVICE = "11111111-1111-4111-8111-11111111111{}"
GRACE = timedelta(hours=1)
#: What a day may look like before it is sealed: has it a partition, or rows in the default one; has it a file?
KINDS = {
    "partition": (True, False),
    "default": (False, False),
    "late": (False, True),
    "partition and file": (True, True),
}


@pytest.fixture
def cold(weir: Weir) -> Iterator[ColdTier]:
    found = ColdTier(weir)
    yield found
    found.engine.dispose()


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def day(cold: ColdTier, request: pytest.FixtureRequest) -> list[tuple]:
    """A day that is to be sealed, and its records."""
    has_partition, has_file = request.param
    rows = readings(400, seed=1) if has_file else []
    cold.insert(rows)
    cold.seal()
    if has_partition:
        partition(cold.weir, "readings", DAY)
    new = readings(300, seed=2, devices=5)
    cold.insert(new)
    return sorted(rows + new)


def test_sealed_day_is_the_same_records(cold: ColdTier, day: list[tuple]) -> None:
    assert cold.all() == day
    (sealed,) = cold.seal()
    assert (sealed.rows, sealed.hot_rows) == (len(day), 300)
    assert cold.weir.stored() == 0
    assert cold.all() == day
    assert not cold.sources()
    ordered = list(zip(*cold.store.read(cold.file(), COLUMNS[:2]).to_pydict().values(), strict=True))
    assert ordered == sorted(ordered)


@pytest.mark.parametrize("stopped_at", STEPS)
def test_seal_that_fails_at_any_step_leaves_one_truth(cold: ColdTier, day: list[tuple], stopped_at: str) -> None:
    def stop(name: str) -> None:
        if name == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cold.seal(stop)
    assert cold.all() == day
    cold.seal()
    assert cold.all() == day
    assert cold.weir.stored() == 0
    upkeep.tidy(cold.engine, cold.store, timedelta(0))
    assert cold.on_disk() == {cold.file().path}


@pytest.mark.parametrize("killed_at", STEPS)
@pytest.mark.parametrize("day", [KINDS["partition"], KINDS["late"]], ids=["partition", "late"], indirect=True)
def test_killed_seal_leaves_one_truth(cold: ColdTier, day: list[tuple], killed_at: str) -> None:
    cold.weir.run("seal", "tests/crash_while_sealing.py", "readings", killed_at)
    assert cold.weir.wait_for_end("seal") == -signal.SIGKILL
    assert cold.all() == day
    cold.seal()
    assert cold.all() == day
    upkeep.tidy(cold.engine, cold.store, timedelta(0))
    assert cold.on_disk() == {cold.file().path}


def test_readings_that_come_while_a_day_is_written_are_not_lost(cold: ColdTier, day: list[tuple]) -> None:
    """Only what was written goes; a partition stays for what came, until nothing more does."""
    late, coming = readings(7, seed=9), True

    def come(name: str) -> None:
        nonlocal coming
        if name == "verified" and coming:
            coming = False
            cold.insert(late)

    (source,) = cold.sources()
    cold.seal(come)
    # A partition was sealed by its rows, at a second reading, which had them all.
    assert cold.weir.stored() == (7 if source.is_default else 0)
    assert cold.all() == sorted(day + late)
    cold.seal()
    assert cold.all() == sorted(day + late)
    assert not cold.sources()


def test_day_that_gets_records_all_the_time_is_sealed(cold: ColdTier) -> None:
    """Its partition could never be dropped; it is once the sender is quiet."""
    partition(cold.weir, "readings", DAY)
    rows = readings(300, seed=1)
    cold.insert(rows)
    number = 100

    def come(name: str) -> None:
        nonlocal number
        if name == "verified":
            number += 1
            new = readings(5, seed=number)
            rows.extend(new)
            cold.insert(new)

    (sealed,) = cold.seal(come)
    assert (sealed.rows, cold.weir.stored()) == (305, 5)
    assert cold.all() == sorted(rows)
    assert not cold.sources()[0].is_default
    cold.seal(come)
    assert (cold.file().rows, cold.weir.stored()) == (315, 5)
    assert cold.all() == sorted(rows)
    for _ in range(2):
        cold.seal()
    assert not cold.sources()
    assert cold.all() == sorted(rows)
    upkeep.tidy(cold.engine, cold.store, timedelta(0))
    assert cold.on_disk() == {cold.file().path}


def test_readers_see_each_record_once_at_every_moment(cold: ColdTier, day: list[tuple]) -> None:
    reads, sealed = 0, threading.Event()
    seen: set[int] = set()

    def read() -> None:
        nonlocal reads
        while not sealed.is_set():
            seen.add(len(cold.all()))
            reads += 1

    def wait_for_a_read(name: str) -> None:
        before = reads
        if name != "entered":  # nobody reads while the day is switched
            cold.weir.wait_for(lambda: reads > before)

    reader = threading.Thread(target=read)
    reader.start()
    cold.seal(wait_for_a_read)
    sealed.set()
    reader.join(20)
    assert reads > 1
    assert seen == {len(day)}


def test_switch_waits_for_a_reader_and_keeps_nobody_waiting_meanwhile(cold: ColdTier) -> None:
    partition(cold.weir, "readings", DAY)
    rows = readings(100, seed=1)
    cold.insert(rows)
    waits: list[float] = []
    ended = threading.Event()

    def seal() -> None:
        cold.seal()
        ended.set()

    with manifest.snapshot(cold.engine) as connection:
        assert not manifest.files(connection, "readings")
        sealer = threading.Thread(target=seal)
        sealer.start()
        began = time.monotonic()
        while time.monotonic() - began < 3:
            before = time.monotonic()
            cold.insert([(9, MIDNIGHT + timedelta(days=5), 0, 0, 0)])
            waits.append(time.monotonic() - before)
        assert not ended.is_set()
        # The partition is still there for whoever has a manifest without the file.
        assert connection.exec_driver_sql("SELECT count(*) FROM readings WHERE device_key < 9").scalar_one() == 100
    assert ended.wait(20)
    sealer.join(20)
    assert max(waits) < 1
    assert len(cold.all()) == 100 + len(waits)


def test_seal_gives_up_where_a_lock_does_not_come_free(cold: ColdTier, monkeypatch: pytest.MonkeyPatch) -> None:
    partition(cold.weir, "readings", DAY)
    rows = readings(100, seed=1)
    cold.insert(rows)
    monkeypatch.setattr("shared.cold.switch.patiently.retry.stop", lambda _: True)
    with cold.weir.connection() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO readings VALUES (1, %s, 0, 0, 0)", [MIDNIGHT])
        with pytest.raises(DatabaseUnavailable):
            cold.seal()
        cursor.execute("ROLLBACK")
    assert cold.all() == sorted(rows)
    cold.seal()
    assert cold.all() == sorted(rows)


def test_partition_without_records_is_only_dropped(cold: ColdTier) -> None:
    partition(cold.weir, "readings", DAY)
    (sealed,) = cold.seal()
    assert sealed.rows == 0
    assert not cold.sources()
    assert not cold.files()


def test_manifest_knows_each_device_and_its_exact_sums(cold: ColdTier) -> None:
    rows = readings(1000, seed=3)
    for part in (rows[:600], rows[600:]):
        cold.insert(part)
        cold.seal()
    with manifest.snapshot(cold.engine) as connection:
        (file,) = manifest.files(connection, "readings", device_keys=[2])
        assert not manifest.files(connection, "readings", device_keys=[7])
        assert not manifest.files(connection, "readings", start=MIDNIGHT + timedelta(days=1))
        assert not manifest.files(connection, "readings", end=MIDNIGHT)
        found = list(manifest.summaries(connection, "readings"))
    table = cold.store.read(file)
    for one in found:
        ours = [row for row in rows if row[0] == one.device_key]
        assert one.rows == len(ours)
        assert set(table["device_key"].to_pylist()[one.first_row :][: one.rows]) == {one.device_key}
        assert (one.first, one.last) == (min(row[1] for row in ours), max(row[1] for row in ours))
        for axis in range(3):
            values = [row[2 + axis] for row in ours]
            assert (one.min[axis], one.max[axis]) == (min(values), max(values))
            assert ExactSum(one.sum[axis]).rounded() == math.fsum(values)
    for axis in range(3):
        whole = ExactSum([part for one in found for part in one.sum[axis]])
        assert whole.rounded() == math.fsum(row[2 + axis] for row in rows)


def test_file_names_devices_as_the_world_knows_them(cold: ColdTier) -> None:
    cold.weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    for number in (1, 2):
        cold.weir.rows("INSERT INTO devices (id, user_id) VALUES (%s, 1)", DEVICE.format(number))
    cold.insert(readings(50, seed=1, devices=2))
    cold.seal()
    cold.insert(readings(50, seed=2, devices=3))
    cold.seal()
    table = cold.store.read(cold.file(), ["device_key", "device_id"])
    known = {(key, device_id) for key, device_id in zip(*table.to_pydict().values(), strict=True)}
    assert known == {(1, DEVICE.format(1)), (2, DEVICE.format(2)), (3, None)}


def test_file_that_counts_no_more_stays_for_its_readers_and_then_goes(cold: ColdTier) -> None:
    cold.insert(readings(50, seed=1))
    cold.seal()
    old = cold.file()
    cold.insert(readings(50, seed=2))
    cold.seal()
    assert upkeep.tidy(cold.engine, cold.store, GRACE) == 0
    assert len(cold.store.read(old)) == 50
    cold.weir.rows("UPDATE cold_leftovers SET since = since - interval '2 hours'")
    assert upkeep.tidy(cold.engine, cold.store, GRACE) == 1
    assert cold.on_disk() == {cold.file().path}


def test_file_that_was_removed_as_a_leftover_cannot_come_to_count(cold: ColdTier) -> None:
    rows = readings(50, seed=1)
    partition(cold.weir, "readings", DAY)
    cold.insert(rows)

    def tidy(name: str) -> None:
        if name == "named":
            assert upkeep.tidy(cold.engine, cold.store, GRACE) == 1

    with pytest.raises(DatabaseUnavailable):
        cold.seal(tidy)
    assert cold.all() == sorted(rows)


def test_damaged_file_keeps_late_readings_hot(cold: ColdTier) -> None:
    cold.insert(readings(500, seed=1))
    cold.seal()
    place = Path(cold.store.path(cold.file()))
    whole = bytearray(place.read_bytes())
    whole[len(whole) // 3] ^= 1
    place.write_bytes(whole)
    cold.insert(readings(500, seed=2))
    for _ in range(2):
        with pytest.raises(ColdFileDamaged, match=cold.file().path):
            cold.seal()
    assert place.read_bytes() == whole
    # Other days are sealed all the same.
    cold.insert(readings(10, seed=3, day=MIDNIGHT + timedelta(days=1)))
    found = upkeep.seal_all(cold.engine, cold.store, cold.sources(DAY + timedelta(days=2)), timedelta(minutes=1))
    assert [type(one) for one in found] == [upkeep.Failed, Sealed]
    assert cold.weir.stored() == 500


def test_only_one_seals_at_a_time(cold: ColdTier) -> None:
    with upkeep.alone(cold.engine, cold.store), pytest.raises(Conflict), upkeep.alone(cold.engine, cold.store):
        pass
    with upkeep.alone(cold.engine, cold.store):
        pass


def test_late_readings_wait_for_a_file_that_is_new(cold: ColdTier) -> None:
    """A file is not written again every hour."""
    cold.insert(readings(50, seed=1))
    cold.seal()
    cold.insert(readings(1, seed=2))
    before = DAY + timedelta(days=1)
    (source,) = cold.sources()
    assert not upkeep.due(cold.engine, [source.stream], before, timedelta(days=1))
    cold.weir.rows("UPDATE cold_files SET sealed_at = sealed_at - interval '25 hours'")
    assert upkeep.due(cold.engine, [source.stream], before, timedelta(days=1)) == [source]
