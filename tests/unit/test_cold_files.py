"""A cold file holds what was put into it, and says so when it does not any more. No database."""

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Self

import pyarrow as pa
import pytest
from cold_tier import COLUMNS, MIDNIGHT, readings
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.cold import contents, layout, writing
from shared.cold.manifest import ColdFile
from shared.cold.merging import Merger
from shared.cold.store import MARK, Store
from shared.errors import ColdFileDamaged, ColdUnavailable, Misconfigured
from shared.streams import EVENTS, READINGS

DAY = date(2026, 1, 31)
SCHEMA = layout.schema(READINGS)


def table(rows: list[tuple]) -> pa.Table:
    """Readings as a sealed file has them."""
    columns = dict(zip(COLUMNS, map(list, zip(*sorted(rows), strict=True)), strict=True))
    columns["device_id"] = [f"device {key}" for key in columns["device_key"]]
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}, schema=SCHEMA)


def written(store: Store, rows: list[tuple], pieces: int = 3) -> ColdFile:
    whole = table(rows)

    def fill(writer: layout.Writer):
        size = -(-len(whole) // pieces)
        for start in range(0, len(whole), size):
            writer.add(whole.slice(start, size))
        return lambda: contents.gathered([whole], READINGS).contents()

    return writing.write(store, writing.new_path(READINGS, DAY), READINGS, DAY, fill).file


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SHARED_ROWS", 64)
    monkeypatch.setattr(layout, "GROUP_ROWS", 128)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / MARK).touch()
    return Store(str(tmp_path))


def rows_of(found: pa.Table) -> list[tuple]:
    return list(zip(*found.select(COLUMNS).to_pydict().values(), strict=True))


@pytest.mark.parametrize(
    "url", ["{folder}", "file://{folder}", "mock://bucket/{folder}"], ids=["path", "file", "objects"]
)
def test_what_is_read_is_what_is_asked_for(url: str, tmp_path: Path, small_groups: None) -> None:
    """The last one cannot rename, nor force anything to disk, as storage of objects cannot."""
    store, chance = Store(url.format(folder=tmp_path)), random.Random(1)
    rows = sorted(readings(2000, seed=1, devices=40))
    file = written(store, rows)
    assert store.open(file).num_row_groups > 15
    assert rows_of(store.read(file)) == rows
    for _ in range(40):
        start, end = sorted(MIDNIGHT + timedelta(minutes=chance.randrange(-60, 1500)) for _ in "ab")
        keys = chance.sample(range(45), chance.randrange(5))
        wanted = [row for row in rows if start <= row[1] < end and row[0] in keys]
        assert rows_of(store.read(file, COLUMNS, start=start, end=end, device_keys=keys)) == wanted
        found = store.read(file, ["x"], start=start, device_keys=keys)
        assert found.column_names == ["x"]
        assert found["x"].to_pylist() == [row[2] for row in rows if row[1] >= start and row[0] in keys]


def test_row_group_holds_one_large_device_or_several_small_ones(store: Store, small_groups: None) -> None:
    sizes = {1: 10, 2: 30, 3: 40, 4: 300, 5: 5, 6: 64, 7: 100}
    rows = [(key, MIDNIGHT + timedelta(seconds=n), 0.0, 0.0, 0.0) for key, size in sizes.items() for n in range(size)]
    parquet = store.open(written(store, rows, pieces=11))
    groups = [parquet.read_row_group(n)["device_key"].to_pylist() for n in range(parquet.num_row_groups)]
    assert [(sorted(set(group)), len(group)) for group in groups] == [
        ([1, 2], 40), ([3], 40), ([4], 128), ([4], 128), ([4, 5], 49), ([6], 64), ([7], 100),
    ]  # fmt: skip


keys = st.tuples(st.integers(1, 3), st.integers(0, 5))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(keys, min_size=1, max_size=6), max_size=5), st.lists(st.lists(keys, max_size=6), max_size=5))
def test_merged_rows_are_all_rows_in_order(new: list[list], old: list[list]) -> None:
    def tables(parts: list[list]) -> list[pa.Table]:
        flat, found = sorted(key for part in parts for key in part), []
        for part in parts:
            taken, flat = flat[: len(part)], flat[len(part) :]
            rows = [(key, MIDNIGHT + timedelta(seconds=time), 0.0, 0.0, 0.0) for key, time in taken]
            found.append(table(rows) if rows else SCHEMA.empty_table())
        return found

    merger = Merger(READINGS.cold.order, iter(tables(old)))
    found = [piece for part in tables(new) for piece in merger.add(part)] + list(merger.rest())
    merged = [row[:2] for piece in found for row in rows_of(piece)]
    wanted = [(key, MIDNIGHT + timedelta(seconds=time)) for part in new + old for key, time in part]
    assert merged == sorted(wanted)


def damaged(store: Store, file: ColdFile, content: bytes) -> str | None:
    """What reading says of a file with other content; None: that it is as it was."""
    error = None
    place = Path(store.path(file))
    whole = place.read_bytes()
    before = store.read(file)
    place.write_bytes(content)
    try:
        after = store.read(file)
    except ColdFileDamaged as found:
        error = found
    place.write_bytes(whole)
    if error:
        assert file.path in str(error)
        assert str(place) not in str(error)  # the API tells it to its clients
        return error.fault
    assert after.equals(before)
    return None


def test_flipped_bit_never_gives_another_answer(store: Store) -> None:
    """Where it is harmless, as in an unused statistic of a page, it may pass; `weir verify` finds it all the same."""
    file = written(store, readings(500, seed=1))
    whole = Path(store.path(file)).read_bytes()
    chance, found = random.Random(2), 0
    for _ in range(1500):
        content = bytearray(whole)
        content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        found += damaged(store, file, bytes(content)) is not None
    assert found > 1400


@pytest.mark.parametrize("length", [0, 3, 8, 1000, -1])
def test_cut_file_is_damaged(store: Store, length: int) -> None:
    file = written(store, readings(500, seed=1))
    whole = Path(store.path(file)).read_bytes()
    cut = whole[:length]
    assert damaged(store, file, cut) == f"has {len(cut)} bytes and not {len(whole)}"
    assert damaged(store, file, whole + b"PAR1")
    assert damaged(store, file, b"x" * len(whole)) == "cannot be read"
    assert damaged(store, file, whole[:-5] + b"\xffPAR1") == "cannot be read"


def test_missing_file_is_damaged(store: Store) -> None:
    file = written(store, readings(500, seed=1))
    assert store.remove(file.path)
    assert not store.remove(file.path)
    with pytest.raises(ColdFileDamaged, match="is missing"):
        store.read(file)


class OnceBroken:
    """A file whose pages fail to be read, as over a network, though it is whole."""

    def __init__(self, parquet) -> None:
        self._parquet = parquet

    def __getattr__(self, name: str):
        return getattr(self._parquet, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parquet.close()

    def read_row_group(self, *_: object, **__: object):
        raise OSError("the connection was reset")


def test_file_that_did_not_come_through_is_not_called_damaged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(store, readings(500, seed=1))
    whole = store.open
    monkeypatch.setattr(store, "open", lambda file: OnceBroken(whole(file)))
    with pytest.raises(ColdUnavailable):
        store.read(file)


def test_file_that_is_missing_where_no_store_is_is_not_called_damaged(store: Store, tmp_path: Path) -> None:
    file = written(store, readings(5, seed=1))
    tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-away"))
    with pytest.raises(ColdUnavailable, match="mounted"):
        store.read(file)


def test_folders_that_were_made_for_a_file_are_on_disk_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: set[Path] = set()

    def settle(descriptor: int) -> None:
        settled.add(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr("os.fsync", settle)
    file = written(Store(str(tmp_path / "volume" / "cold")), readings(5, seed=1))
    named = tmp_path / "volume" / "cold" / file.path
    assert {tmp_path, *list(named.parents)[:4]} <= settled
    assert tmp_path.parent not in settled


def test_store_that_cannot_be_written_to_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ColdUnavailable):
        written(Store(str(tmp_path / "file")), readings(5, seed=1))


def test_store_that_goes_away_before_a_file_is_read_back_is_unavailable(store: Store, tmp_path: Path) -> None:
    """And the file is not called damaged: sealing stops instead of trying every other day."""
    whole = table(readings(5, seed=1))

    def fill(writer: layout.Writer):
        writer.add(whole)
        return lambda: contents.gathered([whole], READINGS).contents()

    def take_away(_: str) -> None:
        tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-away"))

    with pytest.raises(ColdUnavailable):
        writing.write(store, writing.new_path(READINGS, DAY), READINGS, DAY, fill, take_away)


def test_file_that_does_not_hold_what_it_should_does_not_come_to_count(store: Store) -> None:
    rows = readings(500, seed=1)
    other = [*rows[:-1], (*rows[-1][:4], rows[-1][4] + 1)]

    def fill(writer: layout.Writer):
        writer.add(table(rows))
        return lambda: contents.gathered([table(other)], READINGS).contents()

    with pytest.raises(writing.NotAsWritten):
        writing.write(store, writing.new_path(READINGS, DAY), READINGS, DAY, fill)


def test_file_whose_texts_are_others_does_not_come_to_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(text: str, folder: str) -> str:
        found = pa.table([["e"], [MIDNIGHT], ["u"], [text], ["{}"]], schema=layout.schema(EVENTS))

        def fill(writer: layout.Writer):
            writer.add(found)
            return lambda: contents.gathered([found], EVENTS).contents()

        return writing.write(store, f"{folder}/events.parquet", EVENTS, DAY, fill).file.path

    other = write("login", "a")
    parquet = store.parquet
    monkeypatch.setattr(store, "parquet", lambda _: parquet(other))
    assert write("logon", "b")
    with pytest.raises(writing.NotAsWritten):
        write("logout", "c")


def test_address_that_means_nothing_is_misconfigured() -> None:
    with pytest.raises(Misconfigured):
        Store("nope://bucket")
