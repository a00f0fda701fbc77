"""What a stream is: one kind of record and the way it takes, with every name derived from its own."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec

from shared.streams.rejections import Rejected

#: Media type of a message whose body is binary COPY tuples.
COPY = "application/vnd.weir.copy"
JSON = "application/json"

#: Records go in by the name of their stream, dead letters by the same name on the other exchange.
EXCHANGE = "weir"
DEAD_EXCHANGE = "weir.dead"

#: Start and end of PostgreSQL's binary COPY format: signature, no flags, no header extension; then field count -1.
#: https://www.postgresql.org/docs/18/sql-copy.html, "Binary Format"
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
COPY_TRAILER = struct.pack(">h", -1)
_FIELDS, _LENGTH = struct.Struct(">h"), struct.Struct(">i")


def split_rows(rows: bytes) -> list[bytes]:
    """Split binary COPY tuples that stand back to back. Raises ValueError when they are cut or garbled."""
    ends = row_ends(rows)
    return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def count_rows(rows: bytes) -> int:
    """Count binary COPY tuples that stand back to back. Raises ValueError when they are cut or garbled."""
    return len(row_ends(rows))


def row_ends(rows: bytes) -> list[int]:
    """Say where each of binary COPY tuples that stand back to back ends. Raises ValueError as `split_rows` does."""
    ends, end, size = [], 0, len(rows)
    fields_at, length_at = _FIELDS.unpack_from, _LENGTH.unpack_from
    while end < size:
        try:
            (fields,) = fields_at(rows, end)
            end += _FIELDS.size
            for _ in range(fields):
                (length,) = length_at(rows, end)
                end += _LENGTH.size + length if length > 0 else _LENGTH.size  # -1 is NULL
        except struct.error as error:
            raise ValueError("the rows are cut") from error
        if fields < 1 or end > size:
            raise ValueError("the rows are garbled")
        ends.append(end)
    return ends


#: PostgreSQL counts a timestamptz from here.
PG_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

#: RFC 3339, with an offset.
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]


def microseconds(moment: datetime) -> int:
    """Microseconds since 2000-01-01 UTC, which is how PostgreSQL stores a timestamptz."""
    since = moment - PG_EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class TimeBounds(NamedTuple):
    """Which timestamps are plausible, in microseconds since 2000-01-01 UTC (PostgreSQL's epoch)."""

    earliest: int
    latest: int


class Encoded(NamedTuple):
    """Records as binary COPY tuples, back to back; how many; and those that were left out."""

    rows: bytes
    records: int
    rejected: list[Rejected]


#: Takes a body, its media type, the time for records without one, the time bounds and the most records it may hold.
Decode = Callable[[bytes, str, int, TimeBounds, int], "Submission"]
#: The way back: binary COPY tuples in; each record's device key, if it has one, and its other fields, as JSON has them.
#: Raises ValueError.
Unpack = Callable[[bytes], list[tuple[int | None, dict[str, Any]]]]
#: Says how many binary COPY tuples stand back to back, as `count_rows` does for tuples of any length.
Count = Callable[[bytes], int]


class Submission(NamedTuple):
    """A decoded submission that waits for its devices' keys."""

    device_ids: frozenset[UUID]
    #: Returns its records as they were sent. This takes another look at the whole body: ask once.
    items: Callable[[], list[bytes]]
    encode: Callable[[Mapping[UUID, int]], Encoded]


class Cold(NamedTuple):
    """What a sealed file of a stream holds. Where records have devices, `device_id` is put behind `device_key`."""

    #: The table's columns, each as int32, float64, string, words (a string that comes often) or time.
    columns: Mapping[str, str]
    #: The columns by which the rows of a file are sorted; where records have devices, device_key is the first.
    order: tuple[str, ...]
    #: Columns whose count, min, max and sum per device the manifest keeps.
    axes: tuple[str, ...] = ()

    @property
    def by_device(self) -> bool:
        return "device_key" in self.columns

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(name for name, kind in self.columns.items() if kind in {"string", "words"})


@dataclass(frozen=True)
class Stream:
    """One kind of record: its table, its encoding, its names."""

    name: str
    table: str
    columns: tuple[str, ...]
    count: Count
    #: Schema version, carried by every message: a consumer refuses what it does not know.
    version: int
    decode: Decode
    unpack: Unpack
    #: The field that says when.
    time_field: str
    cold: Cold
    #: Whether a record without it counts as taken when it was accepted.
    is_dated_on_arrival: bool = False
    #: The column by which a record is stored once, however often and under whatever receipt it comes: a uuid, and the
    #: first column. Without one each record of a new receipt is stored.
    identity: str | None = None

    @property
    def queue(self) -> str:
        return f"weir.{self.name}"

    @property
    def dead_queue(self) -> str:
        return f"{self.queue}.dead"

    @property
    def parked_queue(self) -> str:
        return f"{self.queue}.parked"

    @property
    def identities(self) -> str:
        """The table of the identities that are stored; also of records that are sealed, or gone."""
        return f"{self.identity}s"

    @property
    def message_type(self) -> str:
        return f"{self.name}/{self.version}"
