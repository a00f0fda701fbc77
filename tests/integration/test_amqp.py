"""Our AMQP client against a real broker, and against one that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from factories import Weir, channel_to, group_of, row, take
from pamqp.commands import Basic

from shared.broker.amqp import Connection
from shared.broker.channel import Channel
from shared.broker.content import Message
from shared.errors import BrokerUnavailable, Misconfigured, PublishRefused
from shared.streams import READINGS
from shared.streams.stream import EXCHANGE

SECOND = timedelta(seconds=1)
DEADLINE = 20


def message(number: int) -> Basic.Properties:
    return Basic.Properties(message_id=f"message {number}", delivery_mode=2)


def publish(channel: Channel, number: int, body: bytes = b"", routing_key: str = READINGS.name) -> asyncio.Future[None]:
    return channel.publish(EXCHANGE, routing_key, body, message(number))


async def collect(channel: Channel, queue: str, count: int) -> list[Message]:
    """Have so many messages delivered; they stay unacked."""
    found: list[Message] = []
    whole = asyncio.Event()

    def deliver(one: Message) -> None:
        found.append(one)
        if len(found) == count:
            whole.set()

    async with asyncio.timeout(DEADLINE):
        await channel.consume(queue, count, deliver)
        await whole.wait()
    return found


async def test_what_is_published_is_delivered_in_order_whatever_its_size(weir: Weir) -> None:
    bodies = [b"", b"x", bytes(range(256)) * 512, b"y" * 131_064, b"z" * 131_065, b"w" * 1_000_000]
    async with channel_to(weir.amqp_url) as channel:
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*(publish(channel, number, body) for number, body in enumerate(bodies)))
        found = await collect(channel, READINGS.queue, len(bodies))
    assert [one.body for one in found] == bodies
    assert [one.properties.message_id for one in found] == [f"message {number}" for number in range(len(bodies))]
    assert not any(one.redelivered for one in found)


async def test_many_confirms_at_once_reach_everyone(weir: Weir) -> None:
    async with channel_to(weir.amqp_url) as channel, asyncio.timeout(DEADLINE):
        await asyncio.gather(*(publish(channel, number) for number in range(2_000)))


async def test_unacked_delivery_comes_again_and_says_so(weir: Weir) -> None:
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, 1)
        (first,) = await collect(channel, READINGS.queue, 1)
    async with channel_to(weir.amqp_url) as channel:
        again = await take(channel, READINGS.queue)
        assert (first.redelivered, again.redelivered) == (False, True)
        await publish(channel, 2)
        assert (await take(channel, READINGS.queue)).properties.message_id == "message 2"


async def test_message_nobody_takes_is_no_success_and_its_neighbours_are(weir: Weir) -> None:
    async with channel_to(weir.amqp_url) as channel:
        results = await asyncio.gather(
            publish(channel, 1), publish(channel, 2, b"body", "nowhere"), publish(channel, 3), return_exceptions=True
        )
    assert [type(result) for result in results] == [type(None), Misconfigured, type(None)]


async def test_full_queue_refuses_and_takes_again_once_there_is_room(weir: Weir) -> None:
    definition = {"max-length": 1, "overflow": "reject-publish"}
    policy = {"pattern": r"^weir\.readings$", "definition": definition, "priority": 9, "apply-to": "queues"}
    weir.management("PUT", "policies/{vhost}/tiny", json=policy)
    async with channel_to(weir.amqp_url) as channel, asyncio.timeout(DEADLINE):
        flood = (publish(channel, number) for number in range(1_000))  # it lets in a few more than its limit
        results = await asyncio.gather(*flood, return_exceptions=True)
        assert {type(result) for result in results} == {type(None), PublishRefused}
        weir.management("DELETE", f"queues/{{vhost}}/{READINGS.queue}/contents")
        while True:
            try:
                await publish(channel, 1_000)
            except PublishRefused:
                continue
            break


async def test_missing_exchange_fails_what_is_in_flight_and_leaves_other_channels_alone(weir: Weir) -> None:
    connection = await Connection.open(weir.amqp_url, SECOND * 10)
    broken, other = await connection.channel(), await connection.channel()
    async with channel_to(weir.amqp_url), asyncio.timeout(DEADLINE):
        with pytest.raises(Misconfigured, match="no exchange 'nothing'"):
            await broken.publish("nothing", "", b"", message(1))
        assert broken.is_closed
        with pytest.raises(Misconfigured):
            await publish(broken, 2)
        await publish(other, 3)
        assert (await connection.channel()).number == broken.number
        await connection.close()


async def test_cancelled_call_gives_up_its_channel_and_no_other(weir: Weir) -> None:
    connection = await Connection.open(weir.amqp_url, SECOND * 10)
    async with asyncio.timeout(DEADLINE):
        channel, other = await connection.channel(), await connection.channel()
        calling = asyncio.create_task(channel.declare_exchange("amq.direct", passive=True))
        await asyncio.sleep(0)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        assert isinstance(channel.closing.result(), BrokerUnavailable)
        await other.declare_exchange("amq.direct", passive=True)
        await connection.close()


async def test_deleted_queue_ends_its_consumer(weir: Weir) -> None:
    async with channel_to(weir.amqp_url) as channel, asyncio.timeout(DEADLINE):
        await channel.consume(READINGS.queue, 1, lambda _: None)
        weir.management("DELETE", f"queues/{{vhost}}/{READINGS.queue}")
        assert isinstance(await channel.closing, BrokerUnavailable)


async def test_cancelled_consumer_gets_nothing_more_and_may_still_ack(weir: Weir) -> None:
    async with channel_to(weir.amqp_url) as channel, asyncio.timeout(DEADLINE):
        await publish(channel, 1)
        (one,) = await collect(channel, READINGS.queue, 1)
        await channel.cancel()
        assert not channel.is_consuming
        await publish(channel, 2)
        channel.ack(one.tag)
        assert await channel.ready_messages(READINGS.queue) == 1


async def test_connection_closed_by_an_operator_tells_everyone(weir: Weir) -> None:
    connection = await Connection.open(weir.amqp_url, SECOND * 10)
    async with asyncio.timeout(DEADLINE):
        channel = await connection.channel()
        # The management API learns of a connection some seconds after it was made.
        weir.wait_for(lambda: bool(weir.management("GET", "vhosts/{vhost}/connections")))
        for one in weir.management("GET", "vhosts/{vhost}/connections"):
            weir.management("DELETE", f"connections/{one['name']}")
        assert isinstance(await channel.closing, BrokerUnavailable)
        assert connection.is_closed
        with pytest.raises(BrokerUnavailable):
            await connection.channel()


@pytest.mark.parametrize("part", ["password", "virtual host"])
async def test_who_is_not_let_in_is_told_that_a_person_must_help(weir: Weir, part: str) -> None:
    url = weir.amqp_url.replace(":weir@", ":wrong@") if part == "password" else f"{weir.amqp_url}-missing"
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(Misconfigured):
            await Connection.open(url, SECOND * 10)


async def test_alarm_is_known_as_soon_as_the_broker_tells(weir: Weir, rabbitmqctl: Callable[..., str]) -> None:
    connection = await Connection.open(weir.amqp_url, SECOND * 10)
    channel = await connection.channel()
    async with channel_to(weir.amqp_url), asyncio.timeout(DEADLINE):
        limit = rabbitmqctl("-q", "eval", "vm_memory_monitor:get_vm_memory_high_watermark().").strip()
        rabbitmqctl("set_vm_memory_high_watermark", "0")
        try:
            waiting = publish(channel, 1)
            while not connection.blocked:
                await asyncio.wait({waiting}, timeout=0.01)
        finally:
            rabbitmqctl("set_vm_memory_high_watermark", limit)
        await waiting
        while connection.blocked:
            await channel.ready_messages(READINGS.queue)
        await connection.close()


async def test_connection_that_is_not_read_for_a_while_is_kept_and_goes_on(weir: Weir) -> None:
    connection = await Connection.open(weir.amqp_url, SECOND)
    channel = await connection.channel()
    async with channel_to(weir.amqp_url) as other, asyncio.timeout(DEADLINE):
        found: list[Message] = []
        whole = asyncio.Event()

        def deliver(one: Message) -> None:
            found.append(one)
            if len(found) == 1:
                connection.pause_reading()
            if len(found) == 20:
                whole.set()

        await channel.consume(READINGS.queue, 100, deliver)
        for number in range(20):
            await publish(other, number, b"x" * 1_000_000)
        ended, _ = await asyncio.wait({channel.closing}, timeout=4)  # longer than a silence may be
        assert not ended
        assert 0 < len(found) < 20
        connection.resume_reading()
        await whole.wait()
        await connection.close()


@asynccontextmanager
async def pretender(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that is no broker; its address without a virtual host."""
    served: list[tuple[asyncio.StreamWriter, asyncio.Task[None] | None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append((writer, asyncio.current_task()))
        await answer(reader, writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"amqp://weir:weir@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer, task in served:
            writer.close()
            await asyncio.wait({task} if task else ())


async def test_server_that_is_no_broker_is_left_at_once() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with pretender(answer) as url, asyncio.timeout(DEADLINE):
        with pytest.raises(BrokerUnavailable):
            await Connection.open(f"{url}/weir", SECOND)


async def test_broker_that_falls_silent_is_given_up_after_three_heartbeats(weir: Weir) -> None:
    """Frozen, not gone: its side of the connection stays open, and says nothing."""
    silent = asyncio.Event()
    port = int(weir.amqp_url.rpartition(":")[2].partition("/")[0])

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, muted: bool) -> None:
        while data := await reader.read(1 << 16):
            if not (muted and silent.is_set()):
                writer.write(data)
        writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            relay(reader, broker_writer, muted=False),
            relay(broker_reader, writer, muted=True),
            return_exceptions=True,
        )

    async with pretender(answer) as url, asyncio.timeout(DEADLINE):
        connection = await Connection.open(f"{url}/{weir.name}", SECOND)
        channel = await connection.channel()
        silent.set()
        fault = await channel.closing
        assert "silent for 3 s" in str(fault)
        with pytest.raises(BrokerUnavailable):
            await publish(channel, 1)


async def test_goodbye_that_is_not_answered_still_ends_the_connection_for_everyone(weir: Weir) -> None:
    connection = await Connection.open(weir.amqp_url, SECOND * 10)
    channel = await connection.channel()
    async with channel_to(weir.amqp_url):
        connection.pause_reading()
        waiting = publish(channel, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connection.close()
        connection.abort()
        assert channel.is_closed
        with pytest.raises(BrokerUnavailable):
            await waiting
        with pytest.raises(BrokerUnavailable):
            await connection.channel()


async def test_group_published_by_us_is_one_the_consumer_reads(weir: Weir) -> None:
    group = group_of(([row(1, 840_000_000_000_000, 1.0)], None))
    async with channel_to(weir.amqp_url) as channel:
        await channel.publish(EXCHANGE, READINGS.name, group.body(), group.properties())
        one = await take(channel, READINGS.queue)
    assert one.body == group.body()
    assert one.properties == group.properties()
