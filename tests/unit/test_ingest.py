"""Nobody's body holds up the others: not a large one while it is decoded, not a slow one while it comes."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from factories import reading

from api.errors import KeyReused, problem_of
from api.ingest import body as bodies
from api.ingest.body import BodyLimit, read_body
from api.ingest.ingest import LARGE_BYTES, Common
from api.ingest.readings import ReadingIngest
from api.ingest.room import Room
from shared.errors import PublishRefused, WeirError
from shared.streams import READINGS, readings

LIMIT = 4 * 1024 * 1024
DEVICE = str(uuid4())
DEADLINE = 20


class Devices:
    """Knows every device."""

    def remembered(self, _):
        return 7

    async def keys(self, device_ids):
        return dict.fromkeys(device_ids, 7)


class Publisher:
    """Confirms at once, and remembers."""

    stream = READINGS

    def __init__(self):
        self.published = []

    async def submit(self, rows, records, receipt=None, digest=None):
        self.published.append((records, receipt))
        return str(receipt or uuid4())


class Keys:
    """Has stored nothing yet."""

    def __init__(self):
        self.claimed = {}

    async def claim(self, receipt, digest):
        if self.claimed.setdefault(receipt, digest) != digest:
            raise KeyReused("another body")


@pytest.fixture
def room():
    return Room(16 * LIMIT)


@pytest.fixture
def publisher():
    return Publisher()


@pytest.fixture
def ingest(publisher, room):
    common = Common(Keys(), room, LIMIT, 10_000, datetime(1990, 1, 1, tzinfo=UTC), timedelta(days=1))
    return ReadingIngest(Devices(), publisher, common)


def scope(key=None):
    return {"type": "http", "headers": [(b"idempotency-key", key)] if key else []}


def coming(*parts, more=False):
    """A body in these parts; with `more` another is announced, and never comes."""
    left = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if left:
        left[-1]["more_body"] = more

    async def receive():
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


def batch(size, **fields):
    return json.dumps([reading(number, **fields) for number in range(size)]).encode()


LARGE = batch(5_000)


async def test_single_reading_is_answered_while_large_batches_are_decoded(ingest, publisher, monkeypatch):
    answered, decode = threading.Event(), readings.decode_of_device
    decoding, most = [], []

    def slow(*arguments, **options):
        decoding.append(1)
        most.append(len(decoding))
        assert answered.wait(DEADLINE)
        decoding.pop()
        return decode(*arguments, **options)

    monkeypatch.setattr(readings, "decode_of_device", slow)
    async with asyncio.timeout(DEADLINE):
        large = [asyncio.create_task(ingest.batch(DEVICE, scope(), coming(LARGE))) for _ in range(5)]
        while len(decoding) < 2:
            await asyncio.sleep(0)
        answer = await ingest.one(DEVICE, scope(), coming(json.dumps(reading()).encode()))
        assert (answer.status, publisher.published) == (202, [(1, None)])
        answered.set()
        assert [(await one).status for one in large] == [202] * 5
    assert max(most) == 2  # and no more at one time, for each takes memory


@pytest.mark.parametrize("size", [10, 5_000])
async def test_batch_is_decoded_in_a_thread_only_when_it_is_large(ingest, monkeypatch, size):
    threads, decode = [], readings.decode

    def seen(*arguments, **options):
        threads.append(threading.current_thread())
        return decode(*arguments, **options)

    monkeypatch.setattr(readings, "decode", seen)
    body = batch(size, device_id=DEVICE)
    assert (await ingest.gateway(scope(), coming(body))).status == 202
    assert [one is threading.main_thread() for one in threads] == [len(body) <= LARGE_BYTES]


async def test_fault_found_in_a_thread_is_answered_like_any_other(ingest):
    with pytest.raises(WeirError) as caught:
        await ingest.batch(DEVICE, scope(), coming(LARGE[:-1]))
    assert problem_of(caught.value).status == 400


async def test_gateway_is_known_by_its_devices(ingest, publisher):
    one, two = str(uuid4()), str(uuid4())
    for ids in ([one, two], [one, two], [one], [two]):
        body = json.dumps([reading(device_id=device) for device in ids] + [{"device_id": "none"}]).encode()
        await ingest.gateway(scope(b"key"), coming(body))
    with pytest.raises(KeyReused):  # the same devices, so the same gateway, and another body
        await ingest.gateway(scope(b"key"), coming(batch(1, device_id=one) + b" "))
    receipts = [receipt for _, receipt in publisher.published]
    assert receipts[0] == receipts[1]
    assert len(set(receipts)) == 3
    await ingest.batch(one, scope(b"key"), coming(batch(1)))
    assert publisher.published[-1][1] not in receipts


async def test_body_that_stalls_is_answered_408_and_its_connection_closed(room, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0)
    for parts in ([], [b"["], [b"[", b"{", b"}"]):
        with pytest.raises(WeirError) as caught:
            await read_body({}, coming(*parts, more=True), LIMIT, room)
        answer = problem_of(caught.value)
        assert answer.status == 408
        assert (b"content-type", b"application/problem+json") in answer.headers
        assert (b"connection", b"close") in answer.headers
    assert room.taken == 0


@pytest.mark.parametrize("late", [False, True])
async def test_body_that_comes_in_pieces_is_read_whole(room, late):
    receive = coming(b"[", b"1", b"]")

    async def receive_late():
        await asyncio.sleep(0)
        return await receive()

    assert await read_body({}, receive_late if late else receive, LIMIT, room) == b"[1]"
    assert room.taken == 0


async def test_sender_that_leaves_before_its_body_is_told_nothing(room):
    async def receive():
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    with pytest.raises(bodies.Disconnected):
        await read_body({}, receive, LIMIT, room)


async def test_bodies_in_pieces_have_a_bound_together():
    room = Room(10)
    stalled = asyncio.create_task(read_body({}, coming(b"12345678", more=True), LIMIT, room))
    async with asyncio.timeout(DEADLINE):
        while room.taken < 8:
            await asyncio.sleep(0)
    with pytest.raises(PublishRefused) as caught:
        await read_body({}, coming(b"1", b"23"), LIMIT, room)
    assert problem_of(caught.value).status == 503
    assert await read_body({}, coming(b"1", b"2"), LIMIT, room) == b"12"
    stalled.cancel()
    await asyncio.wait([stalled])
    assert room.taken == 0


async def drained(_, receive, send):
    """An application that reads its body, and then waits for what comes after it."""
    while (await receive())["more_body"]:
        pass
    await send("read")
    await receive()


async def test_body_for_a_route_has_the_same_deadline(room, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0)
    with pytest.raises(bodies.HTTPException) as caught:
        await BodyLimit(drained, LIMIT, room)(scope(), coming(b"{", more=True), None)
    assert caught.value.status_code == 408


async def test_deadline_of_a_body_is_over_with_it(room, monkeypatch):
    """A route may wait for its client to leave for as long as it works."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0)
    read = asyncio.Event()

    async def send(_):
        read.set()

    waiting = asyncio.create_task(BodyLimit(drained, LIMIT, room)(scope(), coming(b"{", b"}"), send))
    async with asyncio.timeout(DEADLINE):
        await read.wait()
    for _ in range(10):  # turns of the loop, in which a deadline would end it
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
