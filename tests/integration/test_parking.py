"""While nearly every message fails, those that fail are parked in the broker, and good ones go on for ever."""

import json
import signal
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from factories import Weir, bad_row, channel_to, good_row, group_of, publish_group, reading
from pamqp.commands import Basic

from shared.broker.channel import Channel
from shared.broker.messages import Group
from shared.streams import READINGS, STREAMS, Stream
from shared.streams.stream import EXCHANGE, JSON

IN_A_ROW, PREFETCH = 5, 20
#: Several times what the consumer takes in hand.
MANY = 3 * PREFETCH


@pytest.fixture(params=STREAMS, ids=lambda stream: stream.name)
def stream(request: pytest.FixtureRequest) -> Stream:
    found: Stream = request.param
    return found


@pytest.fixture
def weir(weir: Weir) -> Weir:
    weir.environment |= {"WEIR_DEAD_IN_A_ROW": str(IN_A_ROW), "WEIR_PREFETCH": str(PREFETCH), "WEIR_BATCH_LIMIT": "5"}
    return weir


def unreadable(stream: Stream) -> tuple[bytes, Basic.Properties]:
    group = group_of(([good_row(stream, 1)], None), stream=stream)
    properties = group.properties()
    properties.message_type = f"{stream.name}/99"
    return group.body(), properties


def refused(stream: Stream) -> tuple[bytes, Basic.Properties]:
    group = group_of(([bad_row(stream, 1), bad_row(stream, 2)], None), stream=stream)
    return group.body(), group.properties()


def invalid(stream: Stream) -> tuple[bytes, Basic.Properties]:
    """JSON that the schema of no stream takes; of readings it names a device that nobody knows."""
    body = json.dumps([reading(1, device_id=str(uuid4()))]).encode()
    return body, Basic.Properties(message_id=str(uuid4()), content_type=JSON, delivery_mode=2)


BAD = {"unreadable": unreadable, "refused by the database": refused, "invalid JSON": invalid}


async def publish_bad(channel: Channel, stream: Stream, count: int, make: Callable[..., Any] = refused) -> None:
    for _ in range(count):
        body, properties = make(stream)
        await channel.publish(EXCHANGE, stream.name, body, properties)


def parked(weir: Weir, stream: Stream) -> int:
    return int(weir.queue(stream.parked_queue).get("messages", 0))


def dead_messages(weir: Weir) -> int:
    return int(weir.scalar("SELECT count(*) FROM receipts WHERE dead IS NOT NULL"))


def good(stream: Stream, number: int) -> Group:
    return group_of(([good_row(stream, number)], None), stream=stream)


def settled(weir: Weir, stream: Stream) -> tuple[int, int]:
    """Records that were accepted, and of these those that were settled."""
    query = "SELECT sum(accepted), sum(stored + duplicate + dead) FROM ledger WHERE stream = %s"
    accepted, found = weir.rows(query, stream.name)[0]
    return int(accepted or 0), int(found or 0)


@pytest.mark.parametrize("make", BAD.values(), ids=list(BAD))
async def test_good_messages_go_on_behind_any_number_of_bad_ones(weir: Weir, stream: Stream, make: Any) -> None:
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        for number in range(3):
            await publish_bad(channel, stream, MANY, make)
            await publish_group(channel, good(stream, number))
        weir.wait_until_stored(3, stream=stream)
        weir.wait_for(lambda: weir.queue(stream.queue).get("messages") == 0)
    assert "operator action required: messages are parked" in weir.log("consumer")
    dead = dead_messages(weir)
    assert IN_A_ROW <= dead < MANY
    weir.wait_for(lambda: parked(weir, stream) == 3 * MANY - dead)


async def test_restart_lets_no_more_of_them_through(weir: Weir, stream: Stream) -> None:
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_bad(channel, stream, MANY)
        weir.wait_for(lambda: weir.queue(stream.queue).get("messages") == 0 and parked(weir, stream) > 0)
        before = dead_messages(weir)
        for number in (signal.SIGTERM, signal.SIGKILL):
            weir.stop("consumer", number)
            await publish_bad(channel, stream, MANY)
            weir.start("consumer")
            await publish_group(channel, good(stream, number))
            weir.wait_for(lambda: weir.queue(stream.queue).get("messages") == 0)
        weir.wait_until_stored(2, stream=stream)
    assert dead_messages(weir) == before
    weir.wait_for(lambda: parked(weir, stream) >= 3 * MANY - before)


async def test_released_messages_are_stored_once_when_their_cause_is_mended(weir: Weir) -> None:
    """The table takes what it refused; each message is parked twice, as after a crash before the ack."""
    weir.rows("ALTER TABLE readings ADD CONSTRAINT no_x CHECK (x < 1000)")
    weir.start("consumer", "api")
    groups = [group_of(([good_row(READINGS, 1000 + number)], None)) for number in range(MANY)]
    async with channel_to(weir.amqp_url) as channel:
        for group in groups * 2:
            await publish_group(channel, group)
        weir.wait_for(lambda: weir.queue(READINGS.queue).get("messages") == 0)
    dead = dead_messages(weir)
    weir.wait_for(lambda: parked(weir, READINGS) >= 2 * (MANY - dead))
    ready = weir.http.get("/readyz").json()
    assert (ready["ready"], ready["parked"]["readings"] > 0, ready["parked"]["events"]) == (True, True, 0)
    weir.rows("ALTER TABLE readings DROP CONSTRAINT no_x")
    answer = weir.http.post("/ops/parked/release", json={"stream": "readings"}).json()
    assert answer["released"] >= 2 * (MANY - dead)
    weir.wait_until_stored(MANY - dead)
    weir.wait_for(lambda: parked(weir, READINGS) == 0 and weir.queue(READINGS.queue).get("messages") == 0)
    assert weir.scalar("SELECT count(DISTINCT x) FROM readings") == MANY - dead
    assert settled(weir, READINGS) == (MANY, MANY)


async def test_released_messages_that_still_fail_are_dead_letters_and_not_parked_again(
    weir: Weir, stream: Stream
) -> None:
    weir.start("consumer", "api")
    async with channel_to(weir.amqp_url) as channel:
        await publish_bad(channel, stream, MANY)
        weir.wait_for(lambda: weir.queue(stream.queue).get("messages") == 0)
        weir.wait_for(lambda: parked(weir, stream) + dead_messages(weir) == MANY)
        part = weir.http.post("/ops/parked/release", json={"stream": stream.name, "limit": 7}).json()
        assert part["released"] == 7
        rest = weir.http.post("/ops/parked/release", json={"stream": stream.name}).json()
        assert rest["parked"] == 0
        weir.wait_for(lambda: dead_messages(weir) == MANY)
    weir.wait_for(lambda: parked(weir, stream) == 0)
    assert settled(weir, stream) == (2 * MANY, 2 * MANY)


async def test_records_of_parked_messages_are_in_flight(weir: Weir, stream: Stream) -> None:
    weir.start("consumer", "api")
    long_ago = 29_000_000  # minutes since 1970
    async with channel_to(weir.amqp_url) as channel:
        for _ in range(MANY):
            group = group_of(([bad_row(stream, 1)], None), stream=stream)
            group.minute, group.series, group.reached = long_ago, str(uuid4()), 1
            await publish_group(channel, group)
        weir.wait_for(lambda: parked(weir, stream) + dead_messages(weir) == MANY)
    weir.rows(
        "INSERT INTO ledger (stream, minute, series, accepted) VALUES (%s, to_timestamp(%s), gen_random_uuid(), %s)",
        stream.name,
        long_ago * 60,
        MANY - dead_messages(weir),
    )
    answer = weir.http.get("/ops/ledger", params={"since": "2024-01-01T00:00:00Z"}).json()
    (found,) = [one for one in answer["streams"] if one["stream"] == stream.name]
    assert found["in_flight"] == found["queue"]["parked"] == MANY - dead_messages(weir)
    assert found["balanced"]


async def test_full_parking_queue_stops_its_stream_and_loses_nothing(weir: Weir) -> None:
    policy = {
        "pattern": r"^weir\.readings\.parked$",
        "definition": {"max-length": 3, "overflow": "reject-publish"},
        "priority": 9,
        "apply-to": "queues",
    }
    weir.management("PUT", "policies/{vhost}/tiny", json=policy)
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_bad(channel, READINGS, MANY)
        await publish_group(channel, good(READINGS, 1))
        weir.wait_for(lambda: "nothing can be parked, the stream stands still" in weir.log("consumer"))
        assert weir.stored(READINGS) == 0
        weir.management("DELETE", "policies/{vhost}/tiny")
        weir.wait_until_stored(1)
        weir.wait_for(lambda: weir.queue(READINGS.queue).get("messages") == 0)
    weir.wait_for(lambda: parked(weir, READINGS) + dead_messages(weir) >= MANY)


async def test_producer_and_id_of_a_message_survive_parking_and_its_expiry_does_not(weir: Weir) -> None:
    weir.start("consumer", "api")
    message_id = str(uuid4())
    async with channel_to(weir.amqp_url) as channel:
        await publish_bad(channel, READINGS, MANY)
        properties = Basic.Properties(message_id=message_id, content_type=JSON, user_id="weir", expiration="60000")
        await channel.publish(EXCHANGE, READINGS.name, b"[{}]", properties)
        weir.wait_for(lambda: weir.queue(READINGS.queue).get("messages") == 0)
    path = "queues/{vhost}/weir.readings.parked/get"
    messages = weir.management("POST", path, json={"count": MANY, "ackmode": "ack_requeue_true", "encoding": "auto"})
    (found,) = [one["properties"] for one in messages if one["properties"].get("message_id") == message_id]
    assert (found["app_id"], found.get("user_id"), found.get("expiration")) == ("weir", None, None)
    weir.http.post("/ops/parked/release", json={"stream": "readings"}).raise_for_status()
    path = f"/receipts/{message_id}?stream=readings&producer=weir"
    weir.wait_for(lambda: weir.http.get(path).json()["status"] == "dead-lettered")


@pytest.mark.parametrize(
    ("body", "status"),
    [({"stream": "nothing"}, 404), ({"stream": "readings", "limit": 0}, 422), ({}, 422), ({"stream": 1}, 422)],
)
def test_release_of_what_there_is_not_is_refused(running_weir: Weir, body: dict[str, Any], status: int) -> None:
    assert running_weir.http.post("/ops/parked/release", json=body).status_code == status
