"""Readings of a cold file, from one place to another, a few at a time."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from api.export.columns import BATCH, ROWS, Place
from shared.cold.manifest import ColdFile
from shared.cold.store import Store


class Part(NamedTuple):
    """Which of a file's rows: of these devices (sorted, None: all), start <= time < end, from a place on up to another."""

    keys: Sequence[int] | None
    start: datetime
    end: datetime
    place: Place
    until: Place | None


def tables(store: Store, file: ColdFile, part: Part) -> Iterator[pa.Table]:
    """Yield the rows in the order of the file. Raises ColdFileDamaged, ColdUnavailable."""
    with store.within(file):
        parquet = store.open(file)
        groups = [group for group in range(parquet.num_row_groups) if _may_hold(parquet, group, part)]
        for batch in parquet.iter_batches(BATCH, row_groups=groups, columns=ROWS.names, use_threads=False):
            found = batch.filter(pa.array(_mask(batch, part)))
            if found.num_rows:
                columns = [found.column(name).cast(ROWS.field(name).type) for name in ROWS.names]
                yield pa.Table.from_arrays(columns, schema=ROWS)


def _may_hold(parquet: Any, group: int, part: Part) -> bool:
    """Whether a row group can hold such rows, by its statistics."""
    keys, times = statistics(parquet, group)
    first = max(keys.min, part.place.key)
    last = keys.max if part.until is None else min(keys.max, part.until.key)
    if first > last or times.max < part.start or times.min >= part.end:
        return False
    if part.keys is None:
        return True
    nearest = bisect_left(part.keys, first)
    return nearest < len(part.keys) and part.keys[nearest] <= last


def statistics(parquet: Any, group: int) -> tuple[Any, Any]:
    """Return what is known of a row group's devices and times: each with `min` and `max`."""
    columns = parquet.schema_arrow.names
    row_group = parquet.metadata.row_group(group)
    return tuple(row_group.column(columns.index(name)).statistics for name in ("device_key", "time"))


def _mask(batch: pa.RecordBatch, part: Part) -> NDArray[np.bool_]:
    keys: NDArray[np.int32] = batch.column("device_key").to_numpy()
    times: NDArray[np.datetime64] = batch.column("time").to_numpy()
    mask: NDArray[np.bool_] = (times >= instant(part.start)) & (times < instant(part.end))
    mask &= _from(keys, times, part.place)
    if part.until is not None:
        mask &= ~_from(keys, times, part.until)
    if part.keys is not None:
        mask &= np.isin(keys, part.keys)
    return mask


def _from(keys: NDArray[np.int32], times: NDArray[np.datetime64], place: Place) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (keys > place.key) | ((keys == place.key) & (times >= instant(place.time)))
    return found


def instant(moment: datetime) -> np.datetime64:
    """Give a moment the form in which numpy compares it: UTC, without saying so."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
