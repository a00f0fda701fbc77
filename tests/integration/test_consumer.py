"""The consumer against a real broker and a real database: what it stores, and what it does not.

What is promised of every stream is in test_streams.py.
"""

import json
import signal
import struct
from uuid import uuid4

import pytest
from factories import Weir, channel_to, group_of, publish_group, row
from pamqp.commands import Basic

from shared.broker.frames import method
from shared.broker.messages import Group
from shared.streams import READINGS
from shared.streams.readings import ROW_BYTES
from shared.streams.stream import EXCHANGE, microseconds

NOON = 840_000_000_000_000
NAN = float("nan")


async def publish_group_beside(weir: Weir, group: Group) -> None:
    """Publish on a channel of its own: what another one wrote by hand has upset its count of confirms."""
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group)


def ledger(weir: Weir) -> tuple[int, ...]:
    *found, ever = weir.rows(
        "SELECT sum(stored), sum(duplicate), sum(dead), (SELECT sum(stored) FROM ledger_stored) FROM ledger"
    )[0]
    assert (ever or 0) == (found[0] or 0)
    return tuple(int(number or 0) for number in found)


def letters(weir: Weir, count: int) -> list[tuple[bytes, str, int | None, str]]:
    """Wait until so many dead letters are archived; return the body, receipt, index and code of each."""
    weir.wait_until_archived(count)
    rows = weir.rows("SELECT body, receipt::text, index, code FROM dead_letters ORDER BY index NULLS FIRST")
    return [(bytes(body), receipt, index, code) for body, receipt, index, code in rows]


async def test_another_body_under_a_key_is_a_dead_letter_of_its_own(weir: Weir) -> None:
    """Two API processes can accept both at the same time: each is kept, and one is stored."""
    key = uuid4()
    first, other, neighbour = [row(1, NOON, 1.0)], [row(1, NOON, 2.0), row(1, NOON, 3.0)], [row(2, NOON, 9.0)]
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of((first, key)))
        message = group_of((neighbour, None), (other, key), (first, key))
        for _ in range(2):  # a redelivery adds nothing
            await publish_group(channel, message)
        await publish_group(channel, group_of(([row(3, NOON, 4.0)], None)))
        weir.wait_for(lambda: ledger(weir) == (3, 1, 2))
    ((body, receipt, index, code),) = letters(weir, 1)
    assert (body, index, code) == (b"".join(other), None, "key_reused")
    assert receipt != str(key)
    assert weir.rows("SELECT x FROM readings ORDER BY x") == [(1.0,), (4.0,), (9.0,)]
    dead = weir.rows("SELECT stored FROM receipts WHERE id = %s AND dead IS NOT NULL", receipt)
    assert dead == [(0,)]
    assert weir.rows("SELECT stored FROM receipts WHERE id = %s AND dead IS NULL", str(key)) == [(1,)]
    weir.wait_for(lambda: weir.queue(READINGS.dead_queue).get("messages") == 0)


def garbled(**changes: object) -> tuple[bytes, Basic.Properties]:
    group = group_of(([row(1, NOON, 1.0)], None))
    properties = group.properties()
    for name, value in changes.items():
        setattr(properties, name, value)
    return group.body(), properties


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param((b"", garbled()[1]), "malformed", id="empty"),
        pytest.param((row(1, NOON, 1.0)[:-3], garbled()[1]), "malformed", id="cut"),
        pytest.param((b"x" * ROW_BYTES, garbled()[1]), "malformed", id="garbage of the right length"),
        pytest.param(garbled(headers={}), "malformed", id="no headers"),
        pytest.param(garbled(headers={"records": 1, "minute": 1, "keyed": bytearray(b"cut")}), "malformed", id="keys"),
        pytest.param(garbled(headers={"records": "1", "minute": 1}), "malformed", id="records as text"),
        pytest.param(
            garbled(headers={"records": 1, "minute": 1, "series": "s", "reached": 1}), "malformed", id="no series"
        ),
        pytest.param(
            garbled(headers={"records": 1, "minute": 1, "series": str(uuid4()), "reached": 0}),
            "malformed",
            id="reached",
        ),
        pytest.param(garbled(headers={"records": 1, "minute": 10**15}), "malformed", id="minute beyond time"),
        pytest.param(garbled(headers={"records": 1, "minute": 1, "keyed": 10**15}), "malformed", id="keys as a number"),
        pytest.param(garbled(message_type="readings/99"), "unknown_version", id="unknown version"),
        pytest.param((b"{nonsense", garbled(content_type="application/json")[1]), "malformed", id="broken json"),
        pytest.param((b"\xff\xfe", garbled(content_type="application/json")[1]), "malformed", id="not utf-8"),
    ],
)
async def test_message_nobody_can_read_is_dead_lettered_with_its_reason(
    weir: Weir, message: tuple[bytes, Basic.Properties], code: str
) -> None:
    body, properties = message
    fine = group_of(([row(1, NOON, 5.0)], None))
    async with channel_to(weir.amqp_url) as channel:
        await channel.publish(EXCHANGE, READINGS.name, body, properties)
        await publish_group(channel, fine)
        weir.start("consumer")
    weir.wait_until_stored(1)
    assert [(found, why) for found, _, _, why in letters(weir, 1)] == [(body, code)]


async def test_message_whose_properties_cannot_be_read_costs_only_itself(weir: Weir) -> None:
    not_utf8 = b"\xff\xfe"
    content_type = bytes([len(not_utf8)]) + not_utf8
    header = struct.pack(">HHQH", 60, 0, 4, 0x8000) + content_type
    body = b"body"
    async with channel_to(weir.amqp_url) as channel:
        publishing = method(Basic.Publish(exchange=EXCHANGE, routing_key=READINGS.name), channel.number)
        for kind, payload in ((2, header), (3, body)):
            publishing += struct.pack(">BHI", kind, channel.number, len(payload)) + payload + b"\xce"
        channel.line.write(publishing)
        await channel.ready_messages(READINGS.queue)  # so that it has come before the next
        fine = group_of(([row(1, NOON, 5.0)], None))
        weir.start("consumer")
        await publish_group_beside(weir, fine)
    weir.wait_until_stored(1)
    ((found, _, index, code),) = letters(weir, 1)
    assert (found, index, code) == (body, None, "malformed")


async def test_json_of_another_producer_is_stored_under_the_same_schema(weir: Weir) -> None:
    device = uuid4()
    weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    weir.rows("INSERT INTO devices (id, user_id) VALUES (%s, 1)", str(device))
    readings = [
        {"device_id": str(device), "x": 1, "y": 2, "z": 3, "timestamp": "2026-01-01T00:00:00Z"},
        {"device_id": str(uuid4()), "x": 1, "y": 2, "z": 3},
        {"device_id": str(device), "x": "1", "y": 2, "z": 3},
        {"device_id": str(device), "x": 4, "y": 5, "z": 6},
    ]
    properties = Basic.Properties(message_id="sensor-7/42", content_type="application/json", delivery_mode=2)
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        for _ in range(2):
            await channel.publish(EXCHANGE, READINGS.name, json.dumps(readings).encode(), properties)
    weir.wait_until_stored(2)
    found = letters(weir, 2)
    assert [code for *_, code in found] == ["unknown_device", "not_a_number"]
    assert [json.loads(body)["device_id"] for body, *_ in found] == [one["device_id"] for one in readings[1:3]]
    weir.wait_for(lambda: ledger(weir) == (2, 0, 2))


async def test_message_without_an_id_is_dead_lettered_because_it_could_be_stored_twice(weir: Weir) -> None:
    weir.start("consumer")
    weir.wait_for(lambda: "broker connected" in weir.log("consumer"))
    message = {"properties": {}, "routing_key": READINGS.name, "payload": "[]", "payload_encoding": "string"}
    assert weir.management("POST", f"exchanges/{{vhost}}/{EXCHANGE}/publish", json=message) == {"routed": True}
    assert [code for *_, code in letters(weir, 1)] == ["missing_id"]


async def test_record_dead_on_arrival_has_one_letter_however_often_its_message_comes(weir: Weir) -> None:
    properties = Basic.Properties(message_id="sensor-7/43", content_type="application/json", delivery_mode=2)
    body = json.dumps([{"device_id": str(uuid4()), "x": 1, "y": 2, "z": 3}]).encode()
    last = group_of(([row(1, NOON, 1.0)], None))
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        for _ in range(3):
            await channel.publish(EXCHANGE, READINGS.name, body, properties)
            weir.wait_for(lambda: ledger(weir) == (0, 0, 1))
        await publish_group(channel, last)
        weir.wait_until_stored(1)
    weir.wait_for(lambda: weir.queue(READINGS.dead_queue).get("messages") == 0)
    letters(weir, 1)
    assert weir.scalar("SELECT attempts FROM dead_letters") == 1
    assert ledger(weir) == (1, 0, 1)


async def test_consumer_that_dies_again_and_again_while_a_table_is_missing_dead_letters_nothing(weir: Weir) -> None:
    weir.rows("ALTER TABLE readings RENAME TO r")
    async with channel_to(weir.amqp_url) as channel:
        for number in range(50):
            await publish_group(channel, group_of(([row(1, NOON, float(number))], None)))
        for death in range(1, 23):  # more than RabbitMQ 4 allows a message by default
            weir.start("consumer")
            weir.wait_for(
                lambda death=death: (
                    weir.log("consumer").count("operator action required: nothing can be written") >= death
                )
            )
            weir.stop("consumer", signal.SIGKILL)
        weir.rows("ALTER TABLE r RENAME TO readings")
        weir.start("consumer")
        weir.wait_until_stored(50)
    letters(weir, 0)


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        pytest.param("ALTER TABLE readings RENAME TO r", "ALTER TABLE r RENAME TO readings", id="no table"),
        pytest.param("ALTER TABLE readings RENAME x TO w", "ALTER TABLE readings RENAME w TO x", id="no column"),
    ],
)
async def test_bad_migration_dead_letters_nothing(weir: Weir, break_it: str, mend_it: str) -> None:
    weir.start("consumer")
    weir.wait_for(lambda: "broker connected" in weir.log("consumer"))
    weir.rows(break_it)
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of(([row(1, NOON, 1.0)], None)))
        weir.wait_for(lambda: "operator action required: nothing can be written" in weir.log("consumer"))
        weir.rows(mend_it)
        weir.wait_until_stored(1)
    letters(weir, 0)


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        pytest.param("SET default_transaction_read_only = on", "RESET default_transaction_read_only", id="read-only"),
        pytest.param("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true", id="unreachable"),
    ],
)
async def test_database_away_dead_letters_nothing(weir: Weir, break_it: str, mend_it: str) -> None:
    weir.start("consumer")
    weir.wait_for(lambda: "broker connected" in weir.log("consumer"))
    weir.administer(f"ALTER DATABASE {weir.name} {break_it}")
    weir.administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{weir.name}'")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of(([row(1, NOON, 1.0)], None)))
        weir.wait_for(lambda: "waiting to write" in weir.log("consumer"))
        weir.administer(f"ALTER DATABASE {weir.name} {mend_it}")
        weir.wait_until_stored(1)
    letters(weir, 0)


async def test_stopped_consumer_drains_what_it_has_in_hand(weir: Weir) -> None:
    weir.start("consumer")
    weir.wait_for(lambda: "broker connected" in weir.log("consumer"))
    async with channel_to(weir.amqp_url) as channel:
        for number in range(300):
            await publish_group(channel, group_of(([row(1, NOON, float(number))], None)))
        assert weir.stop("consumer") == 0
        assert "drained" in weir.log("consumer")
        left = await channel.ready_messages(READINGS.queue)
    assert weir.stored() == 300 - left


async def test_partitions_exist_ahead_of_their_days(weir: Weir) -> None:
    weir.start("consumer")
    weir.wait_for(lambda: "partitions made" in weir.log("consumer"))
    names = [
        name
        for (name,) in weir.rows(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'readings'::regclass"
        )
    ]
    assert len(names) == 1 + 1 + 1 + weir.settings().partitions_ahead
    now = microseconds(weir.scalar("SELECT now()"))
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of(([row(1, now, 1.0), row(1, NOON, 2.0)], None)))
    weir.wait_until_stored(2)
    assert dict(weir.rows("SELECT x, tableoid::regclass::text = 'readings_default' FROM readings")) == {
        1.0: False,
        2.0: True,
    }
