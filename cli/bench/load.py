"""What is sent in batches: readings of several devices, as bodies of requests and as the rows they become."""

import http.client
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import numpy as np

from cli.bench.figures import Invalid
from cli.programs import HOST
from shared.streams.reading_records import Columns, Reading
from shared.streams.readings import decode_of_device
from shared.streams.stream import TimeBounds, microseconds

#: Readings in one request.
BATCH = 1000
DEVICES = 8
#: Who sends batches at the same time.
CONNECTIONS = 8
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """One batch of one device, in both forms a device may send it, and as rows."""

    path: str
    array: bytes
    columns: bytes
    rows: bytes


def requests(devices: Sequence[tuple[UUID, int]], readings: int) -> list[Request]:
    """Make so many readings, a millisecond apart, the devices taking turns; the same on every call within a day."""
    random = np.random.default_rng(7)
    # One partition, as it is with devices that send what they measure.
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    made = []
    for number in range(readings // BATCH):
        device_id, key = devices[number % len(devices)]
        start = first + timedelta(milliseconds=number // len(devices) * BATCH)
        made.append(_request(device_id, key, start, random.normal(20, 5, (3, BATCH)).round(3).tolist()))
    return made


def _request(device_id: UUID, key: int, start: datetime, axes: Sequence[list[float]]) -> Request:
    x, y, z = axes
    times = [start + timedelta(milliseconds=number) for number in range(BATCH)]
    columns = msgspec.json.encode(Columns(x, y, z, list(times)))
    array = msgspec.json.encode([Reading(*row) for row in zip(x, y, z, times, strict=True)])
    now = microseconds(start)
    bounds = TimeBounds(0, now + 86_400_000_000)
    rows = decode_of_device(columns, _JSON, now, bounds, key).rows
    return Request(f"/devices/{device_id}/stats/batch", array, columns, rows)


def post(port: int, bodies: Sequence[tuple[str, bytes]]) -> int:
    """Post every body once, a few at a time; return how many readings were accepted. Raises Invalid."""

    def post_some(start: int) -> int:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        accepted = 0
        try:
            for path, body in bodies[start::CONNECTIONS]:
                connection.request("POST", path, body, {"Content-Type": _JSON})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != http.HTTPStatus.ACCEPTED:
                    raise Invalid(f"a batch was answered with {answer.status}: {said[:300]!r}")
                accepted += int(msgspec.json.decode(said)["accepted"])
        finally:
            connection.close()
        return accepted

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return sum(threads.map(post_some, range(CONNECTIONS)))
