"""What is in hand has a bound in bytes, whatever the size of a message."""

import asyncio
from datetime import UTC, datetime, timedelta

from factories import group_of, row
from pamqp.commands import Basic

from consumer.batch import Intake
from consumer.deliveries import Reader
from shared.broker.channel import Channel, Message
from shared.streams import READINGS

READER = Reader(READINGS, datetime(1990, 1, 1, tzinfo=UTC), timedelta(days=1), 1000)


class Line:
    """A connection that only remembers whether it is read from."""

    def __init__(self):
        self.reads = True
        self.written = []

    def write(self, data):
        self.written.append(data)

    def pause_reading(self):
        self.reads = False

    def resume_reading(self):
        self.reads = True


def message(tag):
    group = group_of(([row(1, 0, 1.0)] * 10, None))
    return Message(tag, redelivered=False, properties=group.properties(), body=group.body())


async def test_nothing_more_is_read_over_the_bound_until_half_of_it_is_settled():
    line = Line()
    channel = Channel(1, line, 4096, lambda: None)
    intake = Intake(channel, limit_bytes=4 * len(message(1).body))
    for tag in range(1, 5):
        intake.deliver(message(tag))
        assert line.reads
    intake.deliver(message(5))
    assert not line.reads
    first = await intake.gather(READER, 20, timedelta(0))
    assert [delivery.tag for delivery in first.deliveries] == [1, 2]
    assert not line.reads  # gathered is not yet settled
    intake.settled(first)
    assert not line.reads
    second = await intake.gather(READER, 10, timedelta(0))
    intake.settled(second)
    assert line.reads
    assert intake.size_bytes == 2 * len(message(1).body)


async def test_batch_is_full_or_due():
    channel = Channel(1, Line(), 4096, lambda: None)
    intake = Intake(channel, limit_bytes=1 << 20)
    channel.lose(RuntimeError("not used"))
    for tag in range(1, 4):
        intake.deliver(message(tag))
    full = await intake.gather(READER, 20, timedelta(days=1))
    assert len(full.deliveries) == 2
    async with asyncio.timeout(5):
        rest = await intake.gather(READER, 20, timedelta(days=1))  # the channel has ended, so it does not wait
        assert len(rest.deliveries) == 1
        assert await intake.gather(READER, 20, timedelta(days=1)) is None


def test_unreadable_message_counts_as_one_record():
    broken = Message(1, redelivered=False, properties=Basic.Properties(message_id="x"), body=b"")
    assert READER.read(broken).records == 1
