"""A broker that agrees to small frames only: a header is one frame, so fewer keyed submissions share a message."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from factories import Weir, good_row

from shared.broker import topology
from shared.broker.connection import BrokerConnection
from shared.broker.messages import Group, digest_of
from shared.broker.publisher import Publisher
from shared.streams import STREAMS, Stream
from shared.tasks import in_background

DEADLINE = 30


@pytest.fixture(params=[16_384, 4_096])
def frame_bytes(request: pytest.FixtureRequest, rabbitmqctl: Callable[..., str]) -> Iterator[int]:
    """The largest frame that the broker agrees to, for connections from now on."""
    before = rabbitmqctl("-q", "eval", "{ok, N} = application:get_env(rabbit, frame_max), N.").strip()
    rabbitmqctl("eval", f"application:set_env(rabbit, frame_max, {request.param}).")
    try:
        yield request.param
    finally:
        rabbitmqctl("eval", f"application:set_env(rabbit, frame_max, {before}).")


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
async def test_many_keyed_submissions_at_once_are_kept_each_under_its_receipt(
    weir: Weir, stream: Stream, frame_bytes: int
) -> None:
    broker = BrokerConnection(weir.amqp_url, timedelta(seconds=10), partial(topology.declare, streams=STREAMS))
    groups: list[Group] = []
    publisher = Publisher(
        stream,
        broker,
        deadline=timedelta(seconds=DEADLINE),
        message_limit=10_000,
        waiting_limit=100_000,
        waiting_limit_bytes=64 * 1024 * 1024,
        on_confirm=groups.append,
    )
    receipts = [uuid4() for _ in range(1_500)]
    rows = [good_row(stream, number) for number in range(len(receipts))]
    async with in_background(broker.run(), publisher.run()), asyncio.timeout(DEADLINE):
        await broker.channel()
        assert broker.frame_bytes == frame_bytes
        sent = zip(rows, receipts, strict=True)
        told = await asyncio.gather(*(publisher.submit(one, 1, receipt, digest_of(one)) for one, receipt in sent))
    assert told == [str(receipt) for receipt in receipts]
    assert sum(group.records for group in groups) == len(receipts)
    assert len(groups) >= len(receipts) * 40 // frame_bytes
    weir.start("consumer")
    weir.wait_until_stored(len(receipts), stream=stream)
    kept = {receipt for (receipt,) in weir.rows("SELECT id::text FROM receipts WHERE stored = 1")}
    assert kept == {str(receipt) for receipt in receipts}
