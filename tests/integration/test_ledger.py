"""accepted = stored + duplicate + dead + in flight, whoever dies and whatever is not confirmed."""

import asyncio
import signal
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from factories import Weir, channel_to, group_of, publish_group, reading, row

from shared.broker import topology
from shared.broker.channel import Channel
from shared.broker.connection import BrokerConnection
from shared.broker.messages import Group, Series
from shared.broker.publisher import Publisher
from shared.errors import BrokerUnavailable
from shared.streams import READINGS, STREAMS

NOON = 840_000_000_000_000
NAN = float("nan")

TOTALS = """
    SELECT coalesce(sum(accepted), 0)::int, coalesce(sum(stored + duplicate + dead), 0)::int,
           coalesce(bool_and(accepted >= stored + duplicate + dead), true)
    FROM ledger
"""


def totals(weir: Weir) -> tuple[int, int]:
    """Accepted and settled; no series ever settles more than it accepted."""
    accepted, settled, holds = weir.rows(TOTALS)[0]
    assert holds
    return accepted, settled


def series_of(*sizes: int, keyed: bool = False) -> list[Group]:
    """Messages of one series, with so many records each."""
    series, groups = Series(29_000_000), []
    for size in sizes:
        group = group_of(([row(1, NOON, float(n)) for n in range(size)], uuid4() if keyed else None))
        group.minute = series.minute
        group.join(series)
        series.confirmed = group.reached
        groups.append(group)
    return groups


def test_killed_api_leaves_no_gap_in_the_ledger(weir: Weir) -> None:
    weir.start("api")
    path = f"/devices/{weir.device()}/stats/batch"
    accepted, unwritten = 0, []
    for _ in range(3):
        for _ in range(20):
            assert weir.http.post(path, json=[reading()] * 5).status_code == 202
            accepted += 5
        weir.stop("api", signal.SIGKILL)
        unwritten.append(accepted - totals(weir)[0])
        weir.start("api")
    assert any(unwritten), "each time the API had just written everything down: nothing is shown"
    weir.start("consumer")
    weir.wait_until_stored(accepted)
    assert totals(weir) == (accepted, accepted)


@pytest.mark.parametrize("keyed", [False, True], ids=["unkeyed", "keyed"])
async def test_one_message_tells_of_all_before_it_in_its_series(weir: Weir, *, keyed: bool) -> None:
    """What a queue lost is missed, though the API never wrote down that it was accepted."""
    first, lost, last = series_of(3, 4, 5, keyed=keyed)
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        for group in (last, first, first, last):
            await publish_group(channel, group)
        weir.wait_until_stored(8)
        weir.wait_for(lambda: totals(weir) == (12, 8))
        await publish_group(channel, lost)
        weir.wait_until_stored(12)
    weir.wait_for(lambda: totals(weir) == (12, 12))


async def test_consumer_that_dies_before_its_ack_counts_once(weir: Weir) -> None:
    groups = series_of(7, 7)
    weir.run("consumer", "tests/crash_before_ack.py")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, groups[0])
        assert weir.wait_for_end("consumer") == -signal.SIGKILL
        weir.start("consumer")
        await publish_group(channel, groups[1])
        weir.wait_until_stored(14)
    weir.wait_for(lambda: totals(weir) == (14, 14))


async def test_message_kept_after_its_503_counts_as_accepted_once_it_arrives(weir: Weir) -> None:
    """Its confirm never comes; the next message must neither vouch for it nor miss it."""
    confirmed: list[Group] = []
    deaf = False

    async def prepare(channel: Channel) -> None:
        await topology.declare(channel, STREAMS)
        hear = channel.receive

        def receive(kind: int, frame: bytes) -> None:
            if not deaf:
                hear(kind, frame)

        channel.receive = receive  # type: ignore[method-assign]

    connection = BrokerConnection(weir.amqp_url, timedelta(seconds=10), prepare)
    publisher = Publisher(
        READINGS,
        connection,
        deadline=timedelta(seconds=1),
        message_limit=100,
        waiting_limit=100,
        waiting_limit_bytes=64 * 1024 * 1024,
        on_confirm=confirmed.append,
    )
    running = [asyncio.create_task(connection.run()), asyncio.create_task(publisher.run())]
    rows = [b"".join(row(1, NOON, float(10 * n + i)) for i in range(n)) for n in range(6)]
    await publisher.submit(rows[1], 1)
    deaf = True
    with pytest.raises(BrokerUnavailable):
        await publisher.submit(rows[2], 2)
    deaf = False
    await publisher.submit(rows[3], 3)
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert [group.records for group in confirmed] == [1, 3]
    weir.start("consumer")
    weir.wait_until_stored(6)
    weir.wait_for(lambda: totals(weir) == (6, 6))


async def test_dead_and_foreign_records_balance_too(weir: Weir) -> None:
    bad = series_of(3)[0]
    bad.rows = [row(1, NOON, 1.0) + row(1, NOON, NAN) + row(1, NOON, 2.0)]
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, bad)
        await publish_group(channel, group_of(([row(1, NOON, 3.0)], None)))
        weir.wait_until_stored(3)
    weir.wait_for(lambda: totals(weir) == (4, 4))
