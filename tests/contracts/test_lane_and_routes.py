"""The lane answers what the documented routes would: the same status, headers and body, for good and bad requests."""

import gzip
import json
import re
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from factories import event, reading

from api.app import create_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 4 * 1024 * 1024
NDJSON = {"content-type": "application/x-ndjson"}
GZIP = {"content-encoding": "gzip"}

ONE, BATCH, GATEWAY = "/devices/{device}/stats/", "/devices/{device}/stats/batch", "/stats/batch"
EVENTS, API_EVENTS = "/events", "/api/events"

GOOD = json.dumps(reading()).encode()
MIXED = json.dumps([reading(1), reading(2, x="two"), {}, reading(4)]).encode()
LINES = b'{"x": 1, "y": 2, "z": 3}\n\n{"x": NaN, "y": 2, "z": 3}\nbroken\n'
COLUMNS = b'{"x": [1, 2, null], "y": [1, 2, 3], "z": [1, 1e400, 3], "timestamp": [null, null, null]}'


SOME_EVENTS = json.dumps([event(1), event(2, user_id=""), {}, event(1), event(3, properties={"a": "\0"})]).encode()


@dataclass(frozen=True)
class Sent:
    """A request; `{device}`, `{other}` and `{stranger}` stand for the ids of two devices and of none."""

    path: str
    body: bytes = b""
    headers: dict[str | bytes, str | bytes] = field(default_factory=dict)
    method: str = "POST"
    chunked: bool = False


GATEWAY_BATCH = json.dumps([reading(n, device_id=one) for n, one in enumerate(["{device}", "{other}", "{stranger}"])])

REQUESTS = {
    "one": Sent(ONE, GOOD),
    "one in upper case": Sent("/devices/{upper}/stats/", GOOD),
    "one as text": Sent(ONE, GOOD, {"content-type": "text/plain"}),
    "one in pieces": Sent(ONE, GOOD, chunked=True),
    "one packed": Sent(ONE, gzip.compress(GOOD), GZIP),
    "one with a key": Sent(ONE, GOOD, {"idempotency-key": "lane and route"}),
    "one with a query": Sent(ONE + "?limit=0&x=%00", GOOD),
    "one that is empty": Sent(ONE),
    "one that is broken": Sent(ONE, GOOD[:-1]),
    "one with a bad field": Sent(ONE, b'{"x": true, "y": 1, "z": 1}'),
    "one with NaN": Sent(ONE, b'{"x": NaN, "y": 1, "z": 1}'),
    "one with a field too many": Sent(ONE, json.dumps(reading(speed=1)).encode()),
    "one with half a surrogate pair": Sent(ONE, rb'{"x": "\ud800", "y": 1, "z": 1}'),
    "one from long ago": Sent(ONE, json.dumps(reading(timestamp="1970-01-01T00:00:00Z")).encode()),
    "one too large": Sent(ONE, b" " * (LIMIT + 1)),
    "one too large in pieces": Sent(ONE, b" " * (LIMIT + 1), chunked=True),
    "one announced too large": Sent(ONE, GOOD, {"content-length": str(LIMIT + 1)}),
    "one unpacked too large": Sent(ONE, gzip.compress(b" " * (LIMIT + 1)), GZIP),
    "one too large of a stranger": Sent("/devices/{stranger}/stats/", b" " * (LIMIT + 1)),
    "one with broken gzip": Sent(ONE, GOOD, GZIP),
    "one in brotli": Sent(ONE, GOOD, {"content-encoding": "br"}),
    "one with a long key": Sent(ONE, GOOD, {"idempotency-key": "k" * 256}),
    "one with an odd key": Sent(ONE, GOOD, {b"idempotency-key": b"\xff"}),
    "one with an empty key": Sent(ONE, GOOD, {"idempotency-key": ""}),
    "one of a stranger": Sent("/devices/{stranger}/stats/", GOOD),
    "one of no uuid": Sent("/devices/no-uuid/stats/", GOOD),
    "one of a bare uuid": Sent("/devices/{hex}/stats/", GOOD),
    "one of a urn": Sent("/devices/urn:{hex}/stats/", GOOD),
    "one of nobody": Sent("/devices//stats/", GOOD),
    "one of NUL": Sent("/devices/%00/stats/", GOOD),
    "one of a slash": Sent("/devices/a%2Fb/stats/", GOOD),
    "one without the slash": Sent("/devices/{device}/stats", GOOD),
    "one by PUT": Sent(ONE, GOOD, method="PUT"),
    "array": Sent(BATCH, MIXED),
    "array in pieces": Sent(BATCH, MIXED, chunked=True),
    "array packed": Sent(BATCH, gzip.compress(MIXED), GZIP),
    "array with a key": Sent(BATCH, MIXED, {"idempotency-key": "lane and route, batch"}),
    "lines": Sent(BATCH, LINES, NDJSON),
    "lines with a charset": Sent(BATCH, LINES, {"content-type": "Application/X-NDJSON; charset=utf-8"}),
    "columns": Sent(BATCH, COLUMNS),
    "unequal columns": Sent(BATCH, b'{"x": [1], "y": [], "z": [1]}'),
    "empty array": Sent(BATCH, b"[]"),
    "array of nothing good": Sent(BATCH, b"[{}, 5]"),
    "broken array": Sent(BATCH, MIXED[:-1]),
    "array of 10,001": Sent(BATCH, json.dumps([reading()] * 10_001).encode()),
    "array of a stranger": Sent("/devices/{stranger}/stats/batch", MIXED),
    "array with a slash": Sent(BATCH + "/", MIXED),
    "array by GET": Sent(BATCH, method="GET"),
    "gateway": Sent(GATEWAY, GATEWAY_BATCH.encode()),
    "gateway with a key": Sent(GATEWAY, GATEWAY_BATCH.encode(), {"idempotency-key": "lane and route, gateway"}),
    "gateway packed": Sent(GATEWAY, gzip.compress(LINES), NDJSON | GZIP),
    "gateway without devices": Sent(GATEWAY, MIXED),
    "gateway of strangers": Sent(GATEWAY, json.dumps([reading(device_id="{stranger}")]).encode()),
    "gateway with a long key": Sent(GATEWAY, GATEWAY_BATCH.encode(), {"idempotency-key": "k" * 256}),
    "gateway too large": Sent(GATEWAY, b" " * (LIMIT + 1)),
    "events": Sent(EVENTS, SOME_EVENTS),
    "events by the other path": Sent(API_EVENTS, SOME_EVENTS),
    "events in pieces": Sent(EVENTS, SOME_EVENTS, chunked=True),
    "events packed": Sent(EVENTS, gzip.compress(SOME_EVENTS), GZIP),
    "events with a key": Sent(EVENTS, SOME_EVENTS, {"idempotency-key": "lane and route, events"}),
    "events with a used key": Sent(EVENTS, b"[]", {"idempotency-key": "lane and route, events"}),
    "events as lines": Sent(API_EVENTS, json.dumps(event(4)).encode() + b"\n\n{}\nbroken\n", NDJSON),
    "one event": Sent(EVENTS, json.dumps(event(5)).encode()),
    "one bad event": Sent(EVENTS, json.dumps(event(5, properties=[])).encode()),
    "one broken event": Sent(EVENTS, json.dumps(event(5)).encode()[:-1]),
    "events of nothing good": Sent(EVENTS, b"[{}, 5]"),
    "no events": Sent(EVENTS, b"[]"),
    "10,001 events": Sent(EVENTS, json.dumps([event()] * 10_001).encode()),
    "events too large": Sent(EVENTS, b" " * (LIMIT + 1)),
    "events by GET": Sent(EVENTS, method="GET"),
    "events with a slash": Sent(EVENTS + "/", SOME_EVENTS),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def applications(running_weir):
    """Clients of the lane and of the routes behind it: one process, one broker connection, one database."""
    lane = create_app(running_weir.settings())
    async with lane.behind.app.router.lifespan_context(lane.behind.app):
        clients = [
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://weir") for app in (lane, lane.behind)
        ]
        yield clients
        for client in clients:
            await client.aclose()


@pytest.fixture(scope="module")
def names(running_weir):
    device, stranger = running_weir.device(), uuid4()
    return {
        "{device}": str(device),
        "{other}": str(running_weir.device()),
        "{stranger}": str(stranger),
        "{upper}": str(device).upper(),
        "{hex}": device.hex,
    }


def named(text, names):
    for name, value in names.items():
        text = text.replace(name, value)
    return text


async def pieces(body):
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


async def ask(client, sent, names):
    body = sent.body
    if b"{device}" in body or b"{stranger}" in body:
        body = named(body.decode(), names).encode()
    content = pieces(body) if sent.chunked else body
    answer = await client.request(sent.method, named(sent.path, names), content=content, headers=sent.headers)
    headers = dict(answer.headers)
    if "location" in headers and not sent.headers.get("idempotency-key"):
        headers["location"] = re.sub(
            r"^/receipts/[0-9a-f-]{36}\?first=0&records=", "/receipts/…?records=", headers["location"]
        )
    return answer.status_code, headers, answer.content


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
async def test_lane_and_routes_answer_alike(applications, names, sent):
    by_lane, by_route = [await ask(client, sent, names) for client in applications]
    assert by_lane == by_route


@pytest.mark.parametrize(
    ("name", "status"),
    {
        "one": 202,
        "array": 202,
        "lines": 202,
        "columns": 202,
        "gateway": 202,
        "one of a stranger": 404,
        "one too large in pieces": 413,
        "one announced too large": 413,
        "one with a long key": 400,
        "array of nothing good": 422,
        "events": 202,
        "events by the other path": 202,
        "events as lines": 202,
        "one event": 202,
        "one bad event": 422,
        "one broken event": 400,
        "10,001 events": 413,
    }.items(),
)
async def test_answer_that_both_give_is_the_right_one(applications, names, name, status):
    """Were both wrong in the same way, the comparison would not notice."""
    found = [(await ask(client, REQUESTS[name], names))[0] for client in applications]
    assert found == [status] * 2
