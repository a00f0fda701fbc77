"""What submissions of every stream have in common: how they are read, kept under a receipt, and answered."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from api.errors import JSON, Answer, BadRequest, problem_of_rejected
from api.ingest.body import Headers
from api.ingest.keys import Keys
from api.ingest.room import Room
from shared.broker.messages import NO_DIGEST, digest_of, keyed_receipt
from shared.broker.publisher import Publisher
from shared.streams.rejections import Rejected
from shared.streams.stream import PG_EPOCH, Encoded, TimeBounds, microseconds

_PG_EPOCH_MICROSECONDS = int(PG_EPOCH.timestamp()) * 1_000_000
#: Longest Idempotency-Key, in bytes.
KEY_LIMIT = 255

#: Submissions over this many bytes are decoded in a thread, this many at one time: nobody else is answered while one is
#: decoded, each takes several times its size, and more threads would not be quicker with Python's one lock.
LARGE_BYTES, DECODING = 64 * 1024, 2

Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class Common:
    """What the ingests of all streams share: bounds on bodies and times, their room, their memory of keys."""

    keys: Keys
    room: Room
    body_limit_bytes: int
    submission_limit: int
    earliest: datetime
    ahead: timedelta
    decoding: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, DECODING))


class Ingest:
    """Takes submissions of one stream in: reads, validates, encodes, publishes, answers.

    Each answer is 202 only once the broker has confirmed; a WeirError comes otherwise.
    """

    def __init__(self, publisher: Publisher, common: Common) -> None:
        self._publisher = publisher
        self._keys = common.keys
        self._room = common.room
        self._decoding = common.decoding
        self._body_limit = common.body_limit_bytes
        self._submission_limit = common.submission_limit
        self._earliest = microseconds(common.earliest)
        self._ahead = common.ahead // timedelta(microseconds=1)

    async def _decoded(self, body: bytes, decode: Callable[[], Decoded]) -> Decoded:
        """Decode a body where it holds nobody up: here when it is small, otherwise in a thread."""
        if len(body) <= LARGE_BYTES:
            return decode()
        with self._room.part() as held:
            held.take(len(body))
            async with self._decoding:
                return await asyncio.to_thread(decode)

    async def _submit(self, encoded: Encoded, receipt: UUID | None, digest: bytes) -> Answer:
        """Publish what is valid and list the rest."""
        if not encoded.records:
            return problem_of_rejected(encoded.rejected)
        kept_under = await self._publisher.submit(encoded.rows, encoded.records, receipt, digest)
        body = _batch_body(encoded.records, encoded.rejected)
        headers = [(b"content-type", JSON), (b"content-length", str(len(body)).encode()), location(kept_under)]
        return Answer(202, headers, body)

    async def _claimed(self, receipt: UUID | None, sent: bytes) -> bytes:
        """Use the key for what was sent, and return its digest. Raises KeyReused when it was used for something else.

        The digest is of the bytes: the rows hold the time of acceptance where a reading brings none of its own.
        """
        if receipt is None:
            return NO_DIGEST
        digest = await self._decoded(sent, partial(digest_of, sent))
        await self._keys.claim(receipt, digest)
        return digest

    def _now(self) -> tuple[int, TimeBounds]:
        now = time.time_ns() // 1000 - _PG_EPOCH_MICROSECONDS
        return now, TimeBounds(self._earliest, now + self._ahead)

    def _receipt(self, headers: Headers, sender: Callable[[], str]) -> UUID | None:
        """Derive the receipt from the Idempotency-Key, where there is one, and the sender. Raises BadRequest."""
        key = headers.get(b"idempotency-key")
        if key is None:
            return None
        if not 0 < len(key) <= KEY_LIMIT or not key.isascii() or not key.decode("ascii").isprintable():
            raise BadRequest(f"Idempotency-Key must be 1 to {KEY_LIMIT} printable ASCII characters")
        return keyed_receipt(self._publisher.stream, sender(), key.decode("ascii"))


def media_type(headers: Headers) -> str:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def location(receipt: str) -> tuple[bytes, bytes]:
    return b"location", b"/receipts/" + receipt.encode()


def _batch_body(accepted: int, rejected: Sequence[Rejected]) -> bytes:
    faults = [{"index": one.index, "code": one.code, "field": one.field} for one in rejected]
    return json.dumps({"status": "ok", "accepted": accepted, "rejected": faults}).encode()
