"""Answers submissions of readings, for the lane and the routes alike."""

from collections.abc import Set as AbstractSet
from functools import partial
from hashlib import sha256
from uuid import UUID

from api.errors import JSON, Answer
from api.ingest.body import Headers, Receive, Scope, read_body
from api.ingest.devices import Devices
from api.ingest.ingest import Common, Ingest, location, media_type
from shared.broker.messages import NO_DIGEST
from shared.broker.publisher import Publisher
from shared.errors import InvalidRecord, NotFound
from shared.streams import readings
from shared.streams.rejections import EXPLANATIONS

_ACCEPTED = b'{"status":"ok"}'
_ACCEPTED_HEADERS = [(b"content-type", JSON), (b"content-length", str(len(_ACCEPTED)).encode())]


class ReadingIngest(Ingest):
    """Takes readings in, of devices that are known."""

    def __init__(self, devices: Devices, publisher: Publisher, common: Common) -> None:
        super().__init__(publisher, common)
        self._devices = devices

    async def one(self, device: str, scope: Scope, receive: Receive) -> Answer:
        """Answer `POST /devices/{device}/stats/`."""
        key = self._devices.remembered(device) or await self._key(device)
        headers: Headers = dict(scope["headers"])
        body = await read_body(headers, receive, self._body_limit, self._room)
        now, bounds = self._now()
        rows = readings.encode_one(body, key, now, bounds)
        receipt = self._receipt(headers, device.lower)
        digest = await self._claimed(receipt, body)
        del body  # nobody needs it while the broker is waited for, and it may be far larger than its rows
        kept_under = await self._publisher.submit(rows, 1, receipt, digest)
        return Answer(202, [*_ACCEPTED_HEADERS, location(kept_under)], _ACCEPTED)

    async def batch(self, device: str, scope: Scope, receive: Receive) -> Answer:
        """Answer `POST /devices/{device}/stats/batch`: what is valid is kept, the rest is listed."""
        key = self._devices.remembered(device) or await self._key(device)
        headers: Headers = dict(scope["headers"])
        body = await read_body(headers, receive, self._body_limit, self._room)
        now, bounds = self._now()
        decode = partial(readings.decode_of_device, key=key, limit=self._submission_limit)
        encoded = await self._decoded(body, partial(decode, body, media_type(headers), now, bounds))
        receipt = self._receipt(headers, device.lower)
        digest = await self._claimed(receipt, body) if encoded.records else NO_DIGEST
        del body
        return await self._submit(encoded, receipt, digest)

    async def gateway(self, scope: Scope, receive: Receive) -> Answer:
        """Answer `POST /stats/batch`, where each reading names its device."""
        headers: Headers = dict(scope["headers"])
        body = await read_body(headers, receive, self._body_limit, self._room)
        now, bounds = self._now()
        decode = partial(readings.decode, limit=self._submission_limit)
        submission = await self._decoded(body, partial(decode, body, media_type(headers), now, bounds))
        keys = await self._devices.keys(submission.device_ids)
        encoded = await self._decoded(body, partial(submission.encode, keys))
        receipt = self._receipt(headers, partial(_name, submission.device_ids))
        digest = await self._claimed(receipt, body) if encoded.records else NO_DIGEST
        del body, submission  # which has the body in its hands, too
        return await self._submit(encoded, receipt, digest)

    async def _key(self, device: str) -> int:
        key = await self._devices.key(parse_device_id(device))
        if not key:
            raise NotFound("no device has this id")
        return key


def _name(device_ids: AbstractSet[UUID]) -> str:
    """A gateway has no name of its own: it is known by the devices that it sends for, and a retry brings the same."""
    return sha256(b"".join(sorted(device_id.bytes for device_id in device_ids))).hexdigest()


def parse_device_id(text: str) -> UUID:
    """Parse a device's id from a path. Raises InvalidRecord."""
    try:
        found = UUID(text)
        if str(found) == text.lower():  # UUID() alone would take braces, urn: and missing hyphens
            return found
    except ValueError:
        pass
    raise InvalidRecord("not_a_uuid", "device_id", EXPLANATIONS["not_a_uuid"])
