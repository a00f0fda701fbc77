"""What a channel hands on: few messages at first, should one of them be what the consumer died of."""

import asyncio

import pytest
from factories import Weir, channel_to, group_of, publish_group, row

from consumer.intake import CAUTIOUS, Intake
from shared.broker.content import Message
from shared.errors import BrokerUnavailable
from shared.streams import READINGS

PREFETCH = 3 * CAUTIOUS
NOON = 840_000_000_000_000


async def test_what_others_died_with_comes_few_at_a_time_until_something_fresh_does(weir: Weir) -> None:
    arrived: list[Message] = []

    def waiting() -> int:
        return int(weir.queue(READINGS.queue).get("messages_ready", -1))

    async with channel_to(weir.amqp_url) as channel:
        for number in range(PREFETCH):
            await publish_group(channel, group_of(([row(1, NOON, float(number))], None)))
    async with channel_to(weir.amqp_url) as channel:
        intake = Intake(channel, PREFETCH, 1 << 30, arrived.append)
        await intake.open(READINGS.queue)
        await asyncio.to_thread(weir.wait_for, lambda: len(arrived) == PREFETCH)
    # Its connection is gone with all of them in hand.
    arrived.clear()
    async with channel_to(weir.amqp_url) as channel:
        intake = Intake(channel, PREFETCH, 1 << 30, arrived.append)
        await intake.open(READINGS.queue)
        await asyncio.to_thread(weir.wait_for, lambda: waiting() == PREFETCH - CAUTIOUS)
        assert len(arrived) == CAUTIOUS
        intake.settle(arrived[-1].tag, 0)
        await asyncio.to_thread(weir.wait_for, lambda: len(arrived) == 2 * CAUTIOUS)
        intake.settle(arrived[-1].tag, 0)
        for number in range(PREFETCH):
            await publish_group(channel, group_of(([row(1, NOON, float(number))], None)))
        intake.settle(arrived[-1].tag, 0)
        await asyncio.to_thread(weir.wait_for, lambda: len(arrived) >= 2 * CAUTIOUS + PREFETCH)
        await intake.cancel()
        count = len(arrived)
        intake.settle(arrived[-1].tag, 0)  # there is room for all that is left
        async with channel_to(weir.amqp_url) as another:
            await publish_group(another, group_of(([row(1, NOON, 0.0)], None)))
        await asyncio.to_thread(weir.wait_for, lambda: waiting() == 2 * PREFETCH + 1 - count)
        assert len(arrived) == count


async def test_fault_while_more_is_asked_for_loses_the_channel_and_does_not_hold_up_a_drain(
    weir: Weir, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*_: object) -> None:
        raise LookupError("ours")

    async with channel_to(weir.amqp_url) as channel, asyncio.timeout(20):
        intake = Intake(channel, PREFETCH, 1 << 30, lambda _: None)
        await intake.open(READINGS.queue)
        monkeypatch.setattr(channel, "consume", wrong)
        await publish_group(channel, group_of(([row(1, NOON, 0.0)], None)))
        assert isinstance(await channel.closing, BrokerUnavailable)
        await intake.cancel()
