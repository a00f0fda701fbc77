"""Records that can be told: each carries a number, and everything else in it follows from that number."""

import hashlib
import json
import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from shared.streams import EVENTS, READINGS, STREAMS, Stream
from shared.streams.stream import microseconds

_NOT_FINITE = (math.inf, -math.inf, math.nan)
#: An odd factor and its inverse modulo 2 ** 128: numbers become ids that lie far apart, and ids numbers again.
_FACTOR = 0x9E3779B97F4A7C15F39CC0605CEDC835
_IDS = 1 << 128
_INVERSE = pow(_FACTOR, -1, _IDS)
#: PostgreSQL takes it in no text and in no JSON.
_NUL = "\0"

#: A row of a table as it is compared, bit by bit.
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Device:
    id: UUID
    key: int


class Numbered(ABC):
    """Makes records of one stream from numbers and numbers from rows. Numbers count from 0; each is one microsecond.

    A bad one is a record that no table takes.
    """

    stream: ClassVar[Stream]
    #: Reads the whole table.
    query: ClassVar[str]

    def __init__(self, start: datetime | None = None) -> None:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.start = start or midnight
        self._first = microseconds(self.start)

    def moment(self, number: int) -> datetime:
        return self.start + timedelta(microseconds=number)

    def body(self, numbers: Sequence[int], *, single: bool) -> bytes:
        """The body of a submission of these records."""
        made = [self.record(number) for number in numbers]
        return json.dumps(made[0] if single else made).encode()

    @abstractmethod
    def path(self, device: Device, *, single: bool) -> str:
        """Where a device sends them."""

    @abstractmethod
    def record(self, number: int) -> dict[str, Any]:
        """A good record as it is sent."""

    @abstractmethod
    def row(self, number: int, key: int, *, bad: bool = False) -> Row:
        """The record as it is compared; `key` is that of the device, where the stream has devices."""

    @abstractmethod
    def copy_tuple(self, number: int, key: int, *, bad: bool = False) -> bytes:
        """The record as a binary COPY tuple."""

    @abstractmethod
    def row_of(self, tuple_bytes: bytes) -> Row:
        """Read a binary COPY tuple. Raises ValueError when it is none."""

    @abstractmethod
    def row_of_json(self, record: Any, keys: Mapping[UUID, int]) -> Row:
        """Read a record of a dead letter; `keys` of devices. Raises KeyError, TypeError, ValueError when it is none."""

    @abstractmethod
    def table_row(self, columns: Sequence[Any]) -> Row:
        """Read a row of `query`."""

    @abstractmethod
    def candidates(self, row: Row) -> tuple[int, int]:
        """The numbers a row might have, by two of its fields: both are the same unless it is corrupt."""


class Readings(Numbered):
    stream = READINGS
    query = "SELECT device_key, time, x, y, z FROM readings"
    _TUPLE = struct.Struct(">h ii iq id id id")

    def path(self, device: Device, *, single: bool) -> str:
        return f"/devices/{device.id}/stats/" + ("" if single else "batch")

    def record(self, number: int) -> dict[str, Any]:
        x, y, z = self.axes(number)
        return {"x": x, "y": y, "z": z, "timestamp": self.moment(number).isoformat()}

    def axes(self, number: int, *, bad: bool = False) -> tuple[float, float, float]:
        """The number itself, and two values whose every bit matters; a bad one has one that is no finite number."""
        axes = [float(number), math.sin(number + 0.5), -(number + 1) / 3]
        if bad:
            axes[number % 3] = _NOT_FINITE[number // 3 % 3]
        return axes[0], axes[1], axes[2]

    def row(self, number: int, key: int, *, bad: bool = False) -> Row:
        return key, self._first + number, bits(*self.axes(number, bad=bad))

    def copy_tuple(self, number: int, key: int, *, bad: bool = False) -> bytes:
        x, y, z = self.axes(number, bad=bad)
        return self._TUPLE.pack(5, 4, key, 8, self._first + number, 8, x, 8, y, 8, z)

    def row_of(self, tuple_bytes: bytes) -> Row:
        try:
            _, _, key, _, time, _, x, _, y, _, z = self._TUPLE.unpack(tuple_bytes)
        except struct.error as error:
            raise ValueError("no reading") from error
        return key, time, bits(x, y, z)

    def row_of_json(self, record: Any, keys: Mapping[UUID, int]) -> Row:
        moment = datetime.fromisoformat(record["timestamp"])
        axes = [float(record[axis]) for axis in "xyz"]
        return keys[UUID(record["device_id"])], microseconds(moment), bits(*axes)

    def table_row(self, columns: Sequence[Any]) -> Row:
        key, time, x, y, z = columns
        return key, microseconds(time), bits(x, y, z)

    def candidates(self, row: Row) -> tuple[int, int]:
        (x,) = struct.unpack(">d", row[2][:8])
        return row[1] - self._first, int(x) if math.isfinite(x) else -1


class Events(Numbered):
    """A number has one event, however often it is sent."""

    stream = EVENTS
    query = "SELECT event_id, time, user_id, event_type, properties::text FROM events"

    def path(self, device: Device, *, single: bool) -> str:
        del device, single
        return "/events"

    def record(self, number: int) -> dict[str, Any]:
        return self._record(number, bad=False)

    def row(self, number: int, key: int, *, bad: bool = False) -> Row:
        del key
        return self._row(self._record(number, bad=bad))

    def copy_tuple(self, number: int, key: int, *, bad: bool = False) -> bytes:
        del key
        record = self._record(number, bad=bad)
        fields = (
            UUID(record["event_id"]).bytes,
            struct.pack(">q", self._first + number),
            record["user_id"].encode(),
            record["event_type"].encode(),
            b"\x01" + json.dumps(record["properties"]).encode(),
        )
        return struct.pack(">h", len(fields)) + b"".join(struct.pack(">i", len(one)) + one for one in fields)

    def row_of(self, tuple_bytes: bytes) -> Row:
        ((_, record),) = EVENTS.unpack(tuple_bytes)
        return self._row(record)

    def row_of_json(self, record: Any, keys: Mapping[UUID, int]) -> Row:
        del keys
        return self._row(record | {"event_id": UUID(record["event_id"])})

    def table_row(self, columns: Sequence[Any]) -> Row:
        record = dict(zip(("event_id", "occurred_at", "user_id", "event_type", "properties"), columns, strict=True))
        return self._row(record | {"properties": json.loads(record["properties"])})

    def candidates(self, row: Row) -> tuple[int, int]:
        return UUID(row[0]).int * _INVERSE % _IDS, row[1] - self._first

    def _record(self, number: int, *, bad: bool) -> dict[str, Any]:
        nul = [_NUL if bad and number % 3 == place else "" for place in range(3)]
        return {
            "event_id": str(UUID(int=number * _FACTOR % _IDS)),
            "occurred_at": self.moment(number).isoformat(),
            "user_id": f"user {number % 97}{nul[0]}",
            "event_type": f"тип {number % 7}{nul[1]}",
            "properties": {"number": number, "every bit": math.sin(number + 0.5), "text": f'"\\{nul[2]}'},
        }

    @staticmethod
    def _row(record: Mapping[str, Any]) -> Row:
        moment = record["occurred_at"]
        moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        properties = json.dumps(record["properties"], sort_keys=True)
        return str(record["event_id"]), microseconds(moment), record["user_id"], record["event_type"], properties


#: By the names of their streams, in the order of `STREAMS`.
KINDS = {kind.stream.name: kind for kind in (Readings, Events)}
assert set(KINDS) == {stream.name for stream in STREAMS}, "each stream needs records that can be told"


def all_numbered() -> dict[str, Numbered]:
    """Make one of each kind; they share the numbers, so that a number belongs to one stream."""
    return {name: kind() for name, kind in KINDS.items()}


def bits(x: float, y: float, z: float) -> bytes:
    return struct.pack(">ddd", x, y, z)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]
