"""A full queue refuses, and the publisher says how long it will take to empty."""

import asyncio
import math
from datetime import timedelta
from functools import partial

import pytest
from factories import Weir, channel_to, good_row, take

from api.errors import LATEST, problem_of
from shared.broker import backlog, topology
from shared.broker.connection import BrokerConnection
from shared.broker.publisher import Publisher
from shared.errors import PublishRefused
from shared.streams import STREAMS, Stream
from shared.tasks import in_background

DEADLINE = 40
FULL = {"definition": {"max-length": 5, "overflow": "reject-publish"}, "priority": 100, "apply-to": "queues"}


async def refusal(publisher: Publisher) -> PublishRefused:
    """Submit until the queue is full."""
    while True:
        try:
            await publisher.submit(good_row(publisher.stream, 1), 1)
        except PublishRefused as error:
            return error


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
async def test_full_queue_says_how_long_it_will_take(
    weir: Weir, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "EVERY_SECONDS", 0.1)
    weir.management("PUT", "policies/{vhost}/full", json=FULL | {"pattern": f"^{stream.queue}$"})
    connection = BrokerConnection(weir.amqp_url, timedelta(seconds=10), partial(topology.declare, streams=STREAMS))
    publisher = Publisher(
        stream,
        connection,
        deadline=timedelta(seconds=5),
        message_limit=10,
        waiting_limit=100,
        waiting_limit_bytes=64 * 1024 * 1024,
        on_confirm=lambda _: None,
    )

    async with (
        asyncio.timeout(DEADLINE),
        in_background(connection.run(), publisher.run(), publisher.backlog.run()),
        channel_to(weir.amqp_url) as channel,
    ):
        await refusal(publisher)
        while publisher.backlog.until_empty() != math.inf:  # nobody takes anything
            await channel.ready_messages(stream.queue)
        error = await refusal(publisher)
        assert error.seconds == math.inf
        assert LATEST // 2 <= int(dict(problem_of(error).headers)[b"retry-after"]) <= LATEST
        assert publisher.backlog.until_empty() is not None
        for _ in range(3):
            await take(channel, stream.queue)
        while publisher.backlog.until_empty() in {None, math.inf}:
            await channel.ready_messages(stream.queue)
        await refusal(publisher)  # there was room, and now it is full again
