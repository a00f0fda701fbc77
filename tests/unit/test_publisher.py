"""What a sender is told is true: not kept, or not known to be kept; and nobody's haste costs the connection."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.broker.publisher import HEADER_BYTES, KEYED_BYTES, LEAST_FRAME_BYTES, MESSAGE_BYTES, Publisher
from shared.errors import BrokerUnavailable, PublishRefused
from shared.streams import READINGS
from shared.streams.readings import ROW_BYTES

ROW = bytes(ROW_BYTES)
DOUBT, FULL = BrokerUnavailable("no confirm came"), PublishRefused("the queue is full")
DEADLINE = 10


class Broker:
    """Connection and channel in one. Each publish waits until the test answers it."""

    blocked = False
    fault = None
    frame_bytes = 131_072

    def __init__(self):
        self.bodies = []
        self.answers = []
        self.resets = 0
        self.published = asyncio.Event()

    async def channel(self):
        return self

    def reset(self):
        self.resets += 1

    def publish(self, exchange, routing_key, body, properties):
        self.bodies.append(body)
        self.answers.append(asyncio.get_running_loop().create_future())
        self.published.set()
        return self.answers[-1]

    async def answer(self, fault=None):
        async with asyncio.timeout(DEADLINE):
            await self.published.wait()
        self.published.clear()
        if fault is None:
            self.answers[-1].set_result(None)
        else:
            self.answers[-1].set_exception(fault)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
async def publisher(broker):
    publisher = Publisher(
        READINGS,
        broker,
        deadline=timedelta(seconds=5),
        message_limit=10_000,
        waiting_limit=100_000,
        waiting_limit_bytes=64 * 1024 * 1024,
        on_confirm=lambda _: None,
    )
    running = asyncio.create_task(publisher.run())
    yield publisher
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_group_whose_time_is_over_is_not_published_and_costs_no_connection(broker, publisher, monkeypatch):
    first = asyncio.create_task(publisher.submit(ROW, 1))
    async with asyncio.timeout(DEADLINE):
        await broker.published.wait()
    second = asyncio.create_task(publisher.submit(ROW, 1))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    later = loop.time() + 6  # the first is confirmed, after longer than the second may take
    await broker.answer()
    monkeypatch.setattr(loop, "time", lambda: later)
    with pytest.raises(PublishRefused):
        await second
    await first
    assert len(broker.bodies) == 1
    assert broker.resets == 0


async def test_refusal_after_an_attempt_that_may_have_been_kept_is_no_certainty(broker, publisher):
    submitting = asyncio.create_task(publisher.submit(ROW, 1))
    await broker.answer(DOUBT)
    await broker.answer(FULL)
    with pytest.raises(BrokerUnavailable):
        await submitting
    assert broker.bodies[0] == broker.bodies[1]


async def test_refusal_of_the_first_attempt_is_certain(broker, publisher):
    submitting = asyncio.create_task(publisher.submit(ROW, 1))
    await broker.answer(FULL)
    with pytest.raises(PublishRefused):
        await submitting


@pytest.mark.parametrize("frame_bytes", [131_072, 16_384, 4_096, 0])
async def test_keyed_submissions_of_one_message_fit_its_header(broker, publisher, frame_bytes):
    broker.frame_bytes = frame_bytes
    most = ((frame_bytes or LEAST_FRAME_BYTES) - HEADER_BYTES) // KEYED_BYTES
    submitting = [asyncio.create_task(publisher.submit(ROW, 1, uuid4())) for _ in range(most + 10)]
    for _ in range(2):
        await broker.answer()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*submitting)
    assert [len(body) // len(ROW) for body in broker.bodies] == [most, 10]


async def test_group_that_was_gathered_for_larger_frames_is_refused_and_the_next_one_fits(broker, publisher):
    first = asyncio.create_task(publisher.submit(ROW, 1))
    await broker.published.wait()
    submitting = [asyncio.create_task(publisher.submit(ROW, 1, uuid4())) for _ in range(100)]
    await asyncio.sleep(0)
    broker.frame_bytes = LEAST_FRAME_BYTES
    await broker.answer()
    await first
    async with asyncio.timeout(DEADLINE):
        refused = await asyncio.gather(*submitting, return_exceptions=True)
    assert {type(one) for one in refused} == {PublishRefused}
    again = asyncio.create_task(publisher.submit(ROW, 1, uuid4()))
    await broker.answer()
    assert await again


async def test_nobody_waits_for_a_publisher_that_ended(broker, publisher):
    def fail(*_):
        raise RuntimeError("a programming error")

    broker.publish = fail
    submitting = [asyncio.create_task(publisher.submit(ROW, 6_000)) for _ in range(5)]
    async with asyncio.timeout(DEADLINE):
        told = await asyncio.gather(*submitting, return_exceptions=True)
        await publisher.drain()
    assert {type(one) for one in told} == {BrokerUnavailable}
    with pytest.raises(BrokerUnavailable, match="ended"):
        await publisher.submit(ROW, 1)
    assert publisher.waiting == 0


async def test_draining_ends_when_the_broker_never_answers(broker, publisher):
    publisher._deadline = 0.1
    submitting = asyncio.create_task(publisher.submit(ROW, 1))
    await broker.published.wait()
    async with asyncio.timeout(DEADLINE):
        await publisher.drain()
    with pytest.raises(BrokerUnavailable):
        await submitting


async def test_message_of_large_records_stays_below_what_the_broker_takes(broker, publisher):
    large = bytes(MESSAGE_BYTES // 2 - 10)
    submitting = [asyncio.create_task(publisher.submit(large, 1)) for _ in range(5)]
    for _ in range(3):
        await broker.answer()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*submitting)
    assert [len(body) // len(large) for body in broker.bodies] == [2, 2, 1]


async def test_more_bytes_than_may_wait_are_refused_at_once(broker, publisher):
    large = bytes(20 * 1024 * 1024)
    submitting = [asyncio.create_task(publisher.submit(large, 1)) for _ in range(3)]
    async with asyncio.timeout(DEADLINE):
        await broker.published.wait()
    with pytest.raises(PublishRefused):
        await publisher.submit(large, 1)
    for _ in submitting:
        await broker.answer()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*submitting)
    assert publisher.waiting_bytes == 0
    submitting = [asyncio.create_task(publisher.submit(large, 1))]
    await broker.answer()
    await submitting[0]
