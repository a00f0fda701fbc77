"""What a stream is: one kind of record and the way it takes, with every name derived from its own."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from shared.streams.decoding import Rejected

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
    found, start = [], 0
    while start < len(rows):
        end = start + 2
        try:
            (fields,) = _FIELDS.unpack_from(rows, start)
            for _ in range(fields):
                (length,) = _LENGTH.unpack_from(rows, end)
                end += _LENGTH.size + max(length, 0)  # -1 is NULL
        except struct.error as error:
            raise ValueError("the rows are cut") from error
        if fields < 1 or end > len(rows):
            raise ValueError("the rows are garbled")
        found.append(rows[start:end])
        start = end
    return found


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
#: The way back: binary COPY tuples in; each record's device key and its other fields, as JSON has them. Raises ValueError.
Unpack = Callable[[bytes], list[tuple[int, dict[str, Any]]]]


class Submission(NamedTuple):
    """A decoded submission that waits for its devices' keys."""

    device_ids: frozenset[UUID]
    #: Returns its records as they were sent. This takes another look at the whole body: ask once.
    items: Callable[[], list[bytes]]
    encode: Callable[[Mapping[UUID, int]], Encoded]


@dataclass(frozen=True)
class Stream:
    """One kind of record: its table, its encoding, its names."""

    name: str
    table: str
    columns: tuple[str, ...]
    #: Length of one record as a binary COPY tuple.
    record_bytes: int
    #: Schema version, carried by every message: a consumer refuses what it does not know.
    version: int
    decode: Decode
    unpack: Unpack
    #: The field that says when; a record without it counts as taken when it was accepted.
    time_field: str

    @property
    def queue(self) -> str:
        return f"weir.{self.name}"

    @property
    def dead_queue(self) -> str:
        return f"{self.queue}.dead"

    @property
    def message_type(self) -> str:
        return f"{self.name}/{self.version}"
