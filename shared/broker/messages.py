"""The wire format: a group of submissions of one stream as one AMQP message.

The body is records as binary COPY tuples, back to back. Records sent without a key come first and are kept under
the message's own id. Each keyed submission follows under its own receipt; the header `keyed` lists them, packed as
receipt (16 bytes), records and body bytes (unsigned 32-bit, big-endian) in the order of the body. The header `digests`
has 16 bytes for each of them, in the same order: of what was sent, so that another body under the same key is noticed.
"""

import hashlib
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pamqp.commands import Basic

from shared.streams.stream import COPY, JSON, Count, Stream

_KEYED = struct.Struct(">16sII")

RECORDS, KEYED, DIGESTS = "records", "keyed", "digests"
MINUTE, SERIES, REACHED = "minute", "series", "reached"
PERSISTENT = 2
#: The version of a UUID that begins with its time.
_TIMED = 7
#: Bytes of a digest; all zero where none is known.
DIGEST_BYTES = 16
NO_DIGEST = bytes(DIGEST_BYTES)


def new_receipt() -> UUID:
    """Make a UUIDv7 (RFC 9562): ordered by time, so that the receipts' index grows at its end."""
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + os.urandom(10), "big")
    return UUID(int=value & ~(0xF000 << 64) & ~(0xC000 << 48) | (0x7000 << 64) | (0x8000 << 48))


def made_at(receipt: UUID) -> datetime | None:
    """Say when a receipt was made, to the millisecond; None for one that was derived, from a key or another's id."""
    if receipt.version != _TIMED:
        return None
    try:
        return datetime.fromtimestamp((receipt.int >> 80) / 1000, UTC)
    except ValueError:  # beyond the year 9999: nobody made it
        return datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of a body that is kept under one receipt."""

    receipt: UUID
    records: int
    start: int
    end: int
    #: Of the body as it was sent; None for submissions without a key.
    digest: bytes | None = None


@dataclass(slots=True)
class Series:
    """Messages of one publisher and one minute, each of which was confirmed before the next was published.

    Each says how many records the series has reached with it. So whoever reads one knows of all before it, even where
    the publisher is killed before it can tell.
    """

    minute: int
    id: str = field(default_factory=lambda: str(uuid4()))
    #: Records of its messages that are confirmed.
    confirmed: int = 0


@dataclass(slots=True)
class Group:
    """Submissions that share one message and one confirm."""

    stream: Stream
    #: When it was opened, by the event loop's clock, in seconds.
    opened: float
    #: As text: it goes into the message and into every answer.
    receipt: str = field(default_factory=lambda: str(new_receipt()))
    minute: int = field(default_factory=lambda: int(time.time()) // 60)
    records: int = 0
    size: int = 0
    rows: list[bytes] = field(default_factory=list)
    #: Records without a key, which are kept under the message's own receipt.
    unkeyed: int = 0
    keyed: list[tuple[UUID, int, bytes, bytes]] = field(default_factory=list)
    #: Its series, once it is published in one, and the records that this has reached with it.
    series: str | None = None
    reached: int = 0

    def add(self, rows: bytes, records: int, receipt: UUID | None = None, digest: bytes = NO_DIGEST) -> str:
        """Take a submission in; the answer is where its receipt will be found. A keyed one brings its digest.

        Submissions without a key share the message's receipt, so theirs comes with their place in it: the first of
        their records, counted from 0, and how many they are.
        """
        self.records += records
        self.size += len(rows)
        if receipt is None:
            first, self.unkeyed = self.unkeyed, self.unkeyed + records
            self.rows.append(rows)
            return f"{self.receipt}?first={first}&records={records}"
        self.keyed.append((receipt, records, rows, digest))
        return str(receipt)

    def join(self, series: Series) -> None:
        """Become the next message of a series."""
        self.series, self.reached = series.id, series.confirmed + self.records

    def body(self) -> bytes:
        return b"".join([*self.rows, *(rows for _, _, rows, _ in self.keyed)])

    def properties(self) -> Basic.Properties:
        headers: dict[str, Any] = {RECORDS: self.records, MINUTE: self.minute}
        if self.series is not None:
            headers |= {SERIES: self.series, REACHED: self.reached}
        if self.keyed:
            headers[KEYED] = bytearray(
                b"".join(_KEYED.pack(receipt.bytes, records, len(rows)) for receipt, records, rows, _ in self.keyed)
            )
            headers[DIGESTS] = bytearray(b"".join(digest for *_, digest in self.keyed))
        return Basic.Properties(
            message_id=self.receipt,
            message_type=self.stream.message_type,
            content_type=COPY,
            delivery_mode=PERSISTENT,
            headers=headers,
        )


def segments(
    receipt: UUID, records: int, body: bytes, keyed: bytes, count: Count, digests: bytes = b""
) -> list[Segment]:
    """Say which part of a body belongs to which receipt; the message's own comes first, even when it is empty.

    Raises:
        ValueError: the header does not fit the body.
    """
    parts = [(UUID(bytes=key), part, length) for key, part, length in _unpack(keyed)]
    start = len(body) - sum(length for _, _, length in parts)
    own = records - sum(part for _, part, _ in parts)
    if start < 0 or own < 0:
        raise ValueError("the keyed submissions are larger than the message")
    if digests and len(digests) != len(parts) * DIGEST_BYTES:
        raise ValueError("the header of digests is not as long as that of keyed submissions")
    found = [Segment(receipt, own, 0, start)]
    for number, (key, part, length) in enumerate(parts):
        digest = digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
        found.append(Segment(key, part, start, start + length, digest if any(digest) else None))
        start += length
    if any(count(body[one.start : one.end]) != one.records for one in found):
        raise ValueError("the body does not hold the records of the header")
    return found


def _unpack(keyed: bytes) -> Iterator[tuple[bytes, int, int]]:
    if len(keyed) % _KEYED.size:
        raise ValueError("the header of keyed submissions is cut")
    return _KEYED.iter_unpack(keyed)


def digest_of(body: bytes) -> bytes:
    """Tell bodies sent under one key apart; two that differ have one digest by no accident."""
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def keyed_receipt(stream: Stream, scope: str, key: str) -> UUID:
    """Derive the receipt of a submission from who sends it and its Idempotency-Key: a retry gets the same one."""
    return uuid5(NAMESPACE_URL, f"weir:{stream.name}:{scope}:{key}")


def foreign_receipt(stream: Stream, producer: str, message_id: str) -> UUID:
    """Give another producer's message id the form of a receipt. Two producers may both count 1, 2, 3.

    A UUID is kept as it is where no producer is named, so that whoever made it can ask for it; two producers that name
    themselves may use the same one. Receipts of different streams never meet: the table knows them by stream and id.
    """
    try:
        message_id = str(own := UUID(message_id))
        if not producer:
            return own
    except ValueError:
        pass
    return uuid5(NAMESPACE_URL, f"weir:message:{stream.name}:{producer}:{message_id}")


def letter_id(stream: Stream, receipt: UUID, index: int | None) -> UUID:
    """Derive the id of a dead letter from its receipt and the record's index in it; None: the message as a whole."""
    return uuid5(receipt, f"{stream.name}:{-1 if index is None else index}")


def replay_receipt(letter: UUID) -> UUID:
    """Derive the receipt of a dead letter's replay: however often it is replayed, it is stored once."""
    return uuid5(letter, "replay")


def replay_properties(receipt: UUID, content_type: str) -> Basic.Properties:
    """Make a replay's properties. It has no type: like another producer's, it is counted when the consumer reads it."""
    return Basic.Properties(message_id=str(receipt), content_type=content_type or JSON, delivery_mode=PERSISTENT)
