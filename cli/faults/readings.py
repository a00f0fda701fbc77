"""Readings that can be told: each carries a number, and its axes and time follow from that number."""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.streams.stream import PG_EPOCH, microseconds

_TUPLE = struct.Struct(">h ii iq id id id")
_NOT_FINITE = (math.inf, -math.inf, math.nan)

#: A row of the table as it is compared: device key, microseconds since 2000, and the axes as their bits.
Row = tuple[int, int, bytes]


@dataclass(frozen=True)
class Device:
    id: UUID
    key: int


class Numbered:
    """Makes readings from numbers and numbers from rows. Numbers count from 0; each is one microsecond."""

    def __init__(self, start: datetime | None = None) -> None:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.start = start or midnight
        self._first = microseconds(self.start)

    def axes(self, number: int) -> tuple[float, float, float]:
        """The number itself, and two values whose every bit matters."""
        return float(number), math.sin(number + 0.5), -(number + 1) / 3

    def reading(self, number: int) -> dict[str, Any]:
        x, y, z = self.axes(number)
        moment = self.start + timedelta(microseconds=number)
        return {"x": x, "y": y, "z": z, "timestamp": moment.isoformat()}

    def number(self, moment: datetime) -> int:
        """The number of the reading that was taken at that moment."""
        return microseconds(moment) - self._first

    def body(self, first: int, count: int, *, single: bool) -> bytes:
        """The body of a submission of the readings from `first` on."""
        made = [self.reading(number) for number in range(first, first + count)]
        return json.dumps(made[0] if single else made).encode()

    def bad_axes(self, number: int) -> tuple[float, float, float]:
        """The axes of a reading that no table takes: one of the three is no finite number."""
        axes = list(self.axes(number))
        axes[number % 3] = _NOT_FINITE[number // 3 % 3]
        return axes[0], axes[1], axes[2]

    def row(self, number: int, key: int, *, bad: bool = False) -> Row:
        return key, self._first + number, bits(*(self.bad_axes(number) if bad else self.axes(number)))

    def copy_tuple(self, number: int, key: int, *, bad: bool = False) -> bytes:
        """The reading as a binary COPY tuple."""
        x, y, z = self.bad_axes(number) if bad else self.axes(number)
        return _TUPLE.pack(5, 4, key, 8, self._first + number, 8, x, 8, y, 8, z)

    def candidates(self, row: Row) -> tuple[int, int]:
        """The numbers a row might have, by its time and by its x: both are the same unless it is corrupt."""
        (x,) = struct.unpack(">d", row[2][:8])
        return row[1] - self._first, int(x) if math.isfinite(x) else -1


def row_of(tuple_bytes: bytes) -> Row:
    """Read a binary COPY tuple. Raises struct.error when it is none."""
    _, _, key, _, time, _, x, _, y, _, z = _TUPLE.unpack(tuple_bytes)
    return key, time, bits(x, y, z)


def row_of_json(record: Any, keys: Mapping[UUID, int]) -> Row:
    """Read a record of a dead letter, which names its device. Raises KeyError, TypeError, ValueError when it is none."""
    moment = datetime.fromisoformat(record["timestamp"])
    axes = [float(record[axis]) for axis in "xyz"]
    return keys[UUID(record["device_id"])], microseconds(moment), bits(*axes)


def table_row(key: int, time: datetime, x: float, y: float, z: float) -> Row:
    return key, (time - PG_EPOCH) // timedelta(microseconds=1), bits(x, y, z)


def bits(x: float, y: float, z: float) -> bytes:
    return struct.pack(">ddd", x, y, z)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]
