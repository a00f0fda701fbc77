"""What is in a cold file, as the manifest keeps it: gathered while it is written, and again when it is read back."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shared.exact_sum import ExactSum
from shared.streams import Stream

Values = NDArray[np.float64]


class DeviceRows(NamedTuple):
    """One device's rows in a file, or in a part of it; minima, maxima and exact sums per axis."""

    first_row: int
    rows: int
    first: datetime
    last: datetime
    min: tuple[float, ...]
    max: tuple[float, ...]
    #: Per axis floats whose exact sum is that of all values: `ExactSum(parts)` makes a sum of them again.
    sum: tuple[tuple[float, ...], ...]


class Contents(NamedTuple):
    """Rows, the times they span, and each device's part."""

    rows: int
    first: datetime | None
    last: datetime | None
    devices: dict[int, DeviceRows]

    def same_as(self, other: "Contents") -> bool:
        """Whether both hold the same, wherever in a file a device's rows are."""
        return self[:3] == other[:3] and _anywhere(self) == _anywhere(other)


def _anywhere(contents: Contents) -> dict[int, DeviceRows]:
    return {key: one._replace(first_row=0) for key, one in contents.devices.items()}


class Gatherer:
    """Takes a file's rows, table after table, and sums them up."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._cold = stream.cold
        self._rows = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._devices: dict[int, DeviceRows] = {}
        #: Of all texts together, in UTF-8; without the devices' ids, which are not in the table.
        self.text_bytes = 0

    def add(self, table: pa.Table) -> None:
        """Add rows that follow those before. Raises ValueError when a device's rows do not stand together."""
        if not len(table):
            return
        times = table["time"].combine_chunks()
        bounds = pc.min_max(times).as_py()
        self._first = min(self._first or bounds["min"], bounds["min"])
        self._last = max(self._last or bounds["max"], bounds["max"])
        if self._cold.by_device:
            self._add_devices(table, times)
        self.text_bytes += text_bytes(table, self._stream)
        self._rows += len(table)

    def contents(self) -> Contents:
        return Contents(self._rows, self._first, self._last, self._devices)

    def _add_devices(self, table: pa.Table, times: pa.Array) -> None:
        keys = table["device_key"].to_numpy()
        starts = np.concatenate([[0], np.flatnonzero(np.diff(keys)) + 1])
        ends = np.append(starts[1:], len(keys))
        axes = [table[name].to_numpy() for name in self._cold.axes]
        minima = zip(*(np.minimum.reduceat(axis, starts).tolist() for axis in axes), strict=True)
        maxima = zip(*(np.maximum.reduceat(axis, starts).tolist() for axis in axes), strict=True)
        sums = zip(*(_sums(axis, starts, ends) for axis in axes), strict=True)
        firsts, lasts = (times.take(pa.array(rows)).to_pylist() for rows in (starts, ends - 1))
        counts = (ends - starts).tolist()
        parts = zip((starts + self._rows).tolist(), counts, firsts, lasts, minima, maxima, sums, strict=True)
        for key, part in zip(keys[starts].tolist(), map(DeviceRows._make, parts), strict=True):
            before = self._devices.get(key)
            if before and before.first_row + before.rows != part.first_row:
                raise ValueError("the rows of a device do not stand together")
            self._devices[key] = joined(before, part) if before else part


def joined(one: DeviceRows, other: DeviceRows) -> DeviceRows:
    """Add up two parts of the same device."""
    return DeviceRows(
        min(one.first_row, other.first_row),
        one.rows + other.rows,
        min(one.first, other.first),
        max(one.last, other.last),
        tuple(map(min, one.min, other.min)),
        tuple(map(max, one.max, other.max)),
        tuple(tuple(ExactSum(a).add(b).parts()) for a, b in zip(one.sum, other.sum, strict=True)),
    )


def gathered(tables: Iterable[pa.Table], stream: Stream) -> Gatherer:
    """Sum up a whole file. Raises ValueError as `Gatherer.add` does."""
    gatherer = Gatherer(stream)
    for table in tables:
        gatherer.add(table)
    return gatherer


def text_bytes(table: pa.Table, stream: Stream) -> int:
    """Say how long a table's texts are together, in UTF-8."""
    return sum(pc.sum(pc.binary_length(table[name].cast(pa.string()))).as_py() or 0 for name in stream.cold.texts)


def _sums(axis: Values, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[tuple[float, ...]]:
    return [tuple(ExactSum(axis[start:end]).parts()) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
