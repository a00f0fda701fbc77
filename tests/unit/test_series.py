"""A series goes on as long as each of its messages is certainly kept, or certainly not."""

import asyncio
from datetime import timedelta

import pytest

from shared.broker.publisher import Publisher
from shared.errors import BrokerUnavailable, Misconfigured, PublishRefused, WeirError
from shared.streams import READINGS
from shared.streams.readings import ROW_BYTES

SIZE = ROW_BYTES
KEPT, DOUBT = None, BrokerUnavailable("no confirm came")
FULL, NOWHERE = PublishRefused("the queue is full"), Misconfigured("no queue takes it")


class Broker:
    """Connection and channel in one: answers each publish as it is told, and remembers what its message said."""

    blocked = False
    fault = None
    frame_bytes = 131_072

    def __init__(self, *answers: WeirError | None):
        self._answers = list(answers)
        self.messages = []

    async def channel(self):
        return self

    def reset(self):
        pass

    def publish(self, exchange, routing_key, body, properties):
        headers = properties.headers
        self.messages.append((headers["series"], headers["minute"], headers["records"], headers["reached"]))
        answer = asyncio.get_running_loop().create_future()
        fault = self._answers.pop(0)
        if fault is None:
            answer.set_result(None)
        else:
            answer.set_exception(fault)
        return answer


async def submit_all(broker, *sizes):
    """Submit one message of each size; return what was told to whoever counts."""
    told = []
    publisher = Publisher(
        READINGS,
        broker,
        deadline=timedelta(seconds=5),
        message_limit=1000,
        waiting_limit=1000,
        waiting_limit_bytes=64 * 1024 * 1024,
        on_confirm=lambda group: told.append((group.series, group.reached)),
    )
    running = asyncio.create_task(publisher.run())
    for size in sizes:
        try:
            await publisher.submit(bytes(size * SIZE), size)
        except WeirError:
            told.append(None)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return told


@pytest.fixture(autouse=True)
def _one_minute(monkeypatch):
    monkeypatch.setattr("shared.broker.messages.time.time", lambda: 60.0)


async def test_messages_that_are_confirmed_add_up():
    broker = Broker(KEPT, KEPT, KEPT)
    told = await submit_all(broker, 3, 2, 4)
    (series,) = {one for one, *_ in broker.messages}
    assert [reached for *_, reached in broker.messages] == [3, 5, 9]
    assert told == [(series, 3), (series, 5), (series, 9)]


@pytest.mark.parametrize("fault", [FULL, NOWHERE])
async def test_message_that_is_certainly_not_kept_is_not_counted_and_ends_nothing(fault):
    broker = Broker(KEPT, fault, KEPT)
    told = await submit_all(broker, 3, 2, 4)
    (series,) = {one for one, *_ in broker.messages}
    assert told == [(series, 3), None, (series, 7)]


async def test_message_that_may_be_kept_ends_its_series():
    """Whether it is refused at last says nothing of the first time."""
    broker = Broker(KEPT, DOUBT, FULL, KEPT)
    told = await submit_all(broker, 3, 2, 4)
    first, doubtful, again, last = (one for one, *_ in broker.messages)
    assert first == doubtful == again != last
    assert told == [(first, 3), None, (last, 4)]


async def test_message_confirmed_the_second_time_counts_once():
    broker = Broker(KEPT, DOUBT, KEPT, KEPT)
    told = await submit_all(broker, 3, 2, 4)
    series, last = broker.messages[0][0], broker.messages[-1][0]
    assert told == [(series, 3), (series, 5), (last, 4)]


async def test_series_ends_with_its_minute(monkeypatch):
    minutes = iter((60.0, 120.0))
    monkeypatch.setattr("shared.broker.messages.time.time", lambda: next(minutes))
    broker = Broker(KEPT, KEPT)
    await submit_all(broker, 3, 4)
    assert [(minute, reached) for _, minute, _, reached in broker.messages] == [(1, 3), (2, 4)]
    assert broker.messages[0][0] != broker.messages[1][0]
