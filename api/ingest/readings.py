"""Answers submissions of readings: one validation, one encoding and one answer, for the lane and the routes alike."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import TypeVar
from uuid import UUID

from api.errors import JSON, Answer, BadRequest, problem_of_rejected
from api.ingest.body import Headers, Receive, Scope, read_body
from api.ingest.devices import Devices
from api.ingest.keys import Keys
from api.ingest.room import Room
from shared.broker.messages import NO_DIGEST, digest_of, keyed_receipt
from shared.broker.publisher import Publisher
from shared.errors import InvalidRecord, NotFound
from shared.streams import readings
from shared.streams.decoding import EXPLANATIONS, Rejected
from shared.streams.stream import Encoded, TimeBounds

_PG_EPOCH_MICROSECONDS = int(readings.PG_EPOCH.timestamp()) * 1_000_000
#: Longest Idempotency-Key, in bytes.
KEY_LIMIT = 255

#: Batches over this many bytes are decoded in a thread, this many at one time: nobody else is answered while one is
#: decoded, each takes several times its size, and more threads would not be quicker with Python's one lock.
LARGE_BYTES, DECODING = 64 * 1024, 2

Decoded = TypeVar("Decoded")

_ACCEPTED = b'{"status":"ok"}'
_ACCEPTED_HEADERS = [(b"content-type", JSON), (b"content-length", str(len(_ACCEPTED)).encode())]


class ReadingIngest:
    """Takes readings in: reads, validates, encodes, publishes, answers.

    Each method answers 202 only once the broker has confirmed, and raises a WeirError otherwise.
    """

    def __init__(
        self,
        devices: Devices,
        keys: Keys,
        publisher: Publisher,
        room: Room,
        *,
        body_limit_bytes: int,
        submission_limit: int,
        earliest: datetime,
        ahead: timedelta,
    ) -> None:
        self._devices = devices
        self._keys = keys
        self._publisher = publisher
        self._room = room
        self._body_limit = body_limit_bytes
        self._submission_limit = submission_limit
        self._earliest = readings.microseconds(earliest)
        self._ahead = ahead // timedelta(microseconds=1)
        self._decoding = asyncio.Semaphore(DECODING)

    async def one(self, device: str, scope: Scope, receive: Receive) -> Answer:
        """Answer `POST /devices/{device}/stats/`."""
        key = self._devices.remembered(device) or await self._key(device)
        headers: Headers = dict(scope["headers"])
        body = await read_body(headers, receive, self._body_limit, self._room)
        now, bounds = self._now()
        rows = readings.encode_one(body, key, now, bounds)
        receipt = self._receipt(headers, device)
        digest = await self._claimed(receipt, body)
        del body  # nobody needs it while the broker is waited for, and it may be far larger than its rows
        kept_under = await self._publisher.submit(rows, 1, receipt, digest)
        return Answer(202, [*_ACCEPTED_HEADERS, _location(kept_under)], _ACCEPTED)

    async def batch(self, device: str, scope: Scope, receive: Receive) -> Answer:
        """Answer `POST /devices/{device}/stats/batch`: what is valid is kept, the rest is listed."""
        key = self._devices.remembered(device) or await self._key(device)
        headers: Headers = dict(scope["headers"])
        body = await read_body(headers, receive, self._body_limit, self._room)
        now, bounds = self._now()
        decode = partial(readings.decode_of_device, key=key, limit=self._submission_limit)
        encoded = await self._decoded(body, partial(decode, body, _media_type(headers), now, bounds))
        receipt = self._receipt(headers, device)
        digest = await self._claimed(receipt, body) if encoded.records else NO_DIGEST
        del body
        return await self._submit(encoded, receipt, digest)

    async def gateway(self, scope: Scope, receive: Receive) -> Answer:
        """Answer `POST /stats/batch`, where each reading names its device."""
        headers: Headers = dict(scope["headers"])
        body = await read_body(headers, receive, self._body_limit, self._room)
        now, bounds = self._now()
        decode = partial(readings.decode, limit=self._submission_limit)
        submission = await self._decoded(body, partial(decode, body, _media_type(headers), now, bounds))
        keys = await self._devices.keys(submission.device_ids)
        encoded = await self._decoded(body, partial(submission.encode, keys))
        receipt = self._receipt(headers, submission.device_ids)
        digest = await self._claimed(receipt, body) if encoded.records else NO_DIGEST
        del body, submission  # which has the body in its hands, too
        return await self._submit(encoded, receipt, digest)

    async def _decoded(self, body: bytes, decode: Callable[[], Decoded]) -> Decoded:
        """Decode a body where it holds nobody up: here when it is small, otherwise in a thread."""
        if len(body) <= LARGE_BYTES:
            return decode()
        with self._room.part() as held:
            held.take(len(body))
            async with self._decoding:
                return await asyncio.to_thread(decode)

    async def _submit(self, encoded: Encoded, receipt: UUID | None, digest: bytes) -> Answer:
        if not encoded.records:
            return problem_of_rejected(encoded.rejected)
        kept_under = await self._publisher.submit(encoded.rows, encoded.records, receipt, digest)
        body = _batch_body(encoded.records, encoded.rejected)
        headers = [(b"content-type", JSON), (b"content-length", str(len(body)).encode()), _location(kept_under)]
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

    async def _key(self, device: str) -> int:
        key = await self._devices.key(parse_device_id(device))
        if not key:
            raise NotFound("no device has this id")
        return key

    def _now(self) -> tuple[int, TimeBounds]:
        now = time.time_ns() // 1000 - _PG_EPOCH_MICROSECONDS
        return now, TimeBounds(self._earliest, now + self._ahead)

    def _receipt(self, headers: Headers, sender: str | Iterable[UUID]) -> UUID | None:
        """Derive the receipt from the Idempotency-Key, where there is one, and the sender.

        A gateway has no name of its own: it is known by the devices that it sends for, and a retry brings the same.
        """
        key = headers.get(b"idempotency-key")
        if not key:
            return None
        if len(key) > KEY_LIMIT or not key.isascii() or not key.decode("ascii").isprintable():
            raise BadRequest(f"Idempotency-Key must be {KEY_LIMIT} printable ASCII characters at most")
        if not isinstance(sender, str):
            sender = sha256(b"".join(sorted(device_id.bytes for device_id in sender))).hexdigest()
        return keyed_receipt(self._publisher.stream, sender.lower(), key.decode("ascii"))


def parse_device_id(text: str) -> UUID:
    """Parse a device's id from a path. Raises InvalidRecord."""
    try:
        found = UUID(text)
        if str(found) == text.lower():  # UUID() alone would take braces, urn: and missing hyphens
            return found
    except ValueError:
        pass
    raise InvalidRecord("not_a_uuid", "device_id", EXPLANATIONS["not_a_uuid"])


def _media_type(headers: Headers) -> str:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def _location(receipt: str) -> tuple[bytes, bytes]:
    return b"location", b"/receipts/" + receipt.encode()


def _batch_body(accepted: int, rejected: Sequence[Rejected]) -> bytes:
    faults = [{"index": one.index, "code": one.code, "field": one.field} for one in rejected]
    return json.dumps({"status": "ok", "accepted": accepted, "rejected": faults}).encode()
