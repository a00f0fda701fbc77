"""The archiver against a real broker and a real database: every letter is a row, once, whatever happens."""

import json
import signal
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from factories import Weir, channel_to, row
from pamqp.commands import Basic

from shared.broker.channel import Channel
from shared.broker.messages import replay_receipt
from shared.streams import READINGS
from shared.streams.stream import COPY, DEAD_EXCHANGE, JSON

NOON = 840_000_000_000_000
MADE = datetime(2026, 1, 1, tzinfo=UTC)


def letter(body: bytes = row(1, NOON, float("nan")), content_type: str = COPY, **changes: Any) -> dict[str, Any]:
    """A letter as the consumer publishes it; `changes` are properties, or headers."""
    headers = {"receipt": str(uuid4()), "index": 3, "code": "23514", "reason": "no", "at": MADE.isoformat()}
    message_id = changes.pop("message_id", str(uuid4()))
    properties = Basic.Properties(message_id=message_id, content_type=content_type, delivery_mode=2)
    properties.headers = changes.pop("headers", headers | changes)
    return {"body": body, "properties": properties}


async def publish(channel: Channel, *letters: dict[str, Any]) -> None:
    for one in letters:
        await channel.publish(DEAD_EXCHANGE, READINGS.name, **one)


def make_device(weir: Weir) -> tuple[UUID, int]:
    weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    device = uuid4()
    key = weir.scalar("INSERT INTO devices (id, user_id) VALUES (%s, 1) RETURNING key", str(device))
    return device, key


def in_queue(weir: Weir) -> int | None:
    """How many letters the broker still has, acked ones not counted; its figures come late."""
    found = weir.queue(READINGS.dead_queue).get("messages")
    return None if found is None else int(found)


async def test_letter_becomes_a_row_with_all_it_says(weir: Weir) -> None:
    device, key = make_device(weir)
    sent = letter(row(key, NOON, 1.0))
    body = json.dumps({"device_id": str(device), "x": "one"}).encode()
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, sent, letter(body, JSON, index=-1), letter(body, JSON, index=0))
        weir.start("consumer")
        weir.wait_until_archived(3)
    found = weir.rows("SELECT id::text, receipt::text, index, code, reason, headers, first_seen FROM dead_letters")[0]
    properties = sent["properties"]
    headers = properties.headers
    assert found == (properties.message_id, headers["receipt"], 3, "23514", "no", headers, MADE)
    columns = "SELECT index, device_id::text, body, content_type, state, attempts FROM dead_letters ORDER BY number"
    rows = [(index, of, bytes(content), *rest) for index, of, content, *rest in weir.rows(columns)]
    assert rows == [
        (3, str(device), row(key, NOON, 1.0), COPY, "open", 1),
        (None, None, body, JSON, "open", 1),
        (0, str(device), body, JSON, "open", 1),
    ]


async def test_letter_that_comes_twice_is_one_row_and_only_a_new_one_is_an_attempt(weir: Weir) -> None:
    weir.start("consumer")
    first, other = letter(message_id=str(uuid4())), letter()
    later = letter(message_id=first["properties"].message_id, at=(MADE + timedelta(hours=1)).isoformat())
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, first, first, later, later, first, other)
        weir.wait_until_archived(2)
    query = "SELECT attempts, first_seen, last_seen FROM dead_letters WHERE id = %s"
    assert weir.rows(query, first["properties"].message_id) == [(2, MADE, MADE + timedelta(hours=1))]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(letter(headers={}), id="no headers"),
        pytest.param(letter(headers=None), id="none at all"),
        pytest.param(letter(message_id=None), id="no id"),
        pytest.param(letter(message_id="number 5"), id="another's id"),
        pytest.param(letter(body=b""), id="empty"),
        pytest.param(letter(body=b"\x00\xff" * 99), id="garbage"),
        pytest.param(letter(body=b"\xff{", content_type=JSON), id="not utf-8"),
        pytest.param(letter(index=1 << 60), id="index beyond a number"),
        pytest.param(letter(index="first"), id="index as text"),
        pytest.param(letter(receipt="none"), id="receipt that is none"),
        pytest.param(letter(receipt=5, code=None, reason=bytearray(b"\xff"), at=7), id="types of every kind"),
        pytest.param(letter(code="\0", reason="a\0" * 5_000), id="nul and far too long"),
        pytest.param(letter(at="9999-12-31T23:59:59-23:59"), id="made beyond the calendar"),
        pytest.param(
            letter(headers={"code": "x", "n": 1.5, "deep": {"a": [MADE, {"b": bytearray(b"\0")}]}}), id="deep"
        ),
    ],
)
async def test_letter_nobody_can_read_is_archived_as_it_is_and_holds_nobody_up(
    weir: Weir, sent: dict[str, Any]
) -> None:
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, sent, letter(b"neighbour"))
        weir.wait_until_archived(2)
    assert bytes(weir.scalar("SELECT body FROM dead_letters ORDER BY number LIMIT 1")) == sent["body"]


async def test_archiver_killed_between_commit_and_ack_archives_once(weir: Weir) -> None:
    weir.run("consumer", "tests/crash_while_archiving.py")
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, *(letter() for _ in range(50)))
        assert weir.wait_for_end("consumer") == -signal.SIGKILL
        archived = weir.scalar("SELECT count(*) FROM dead_letters")
        assert archived
        weir.start("consumer")
        weir.wait_until_archived(50)
        weir.wait_for(lambda: in_queue(weir) == 0)
    assert weir.rows("SELECT DISTINCT attempts FROM dead_letters") == [(1,)]


async def test_archiver_killed_again_and_again_loses_no_letter_and_doubles_none(weir: Weir) -> None:
    count = 4_000
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, *(letter(row(1, NOON, float(number))) for number in range(count)))
    for goal in (1, 1_000, 2_500):
        weir.start("consumer")
        weir.wait_for(lambda goal=goal: weir.scalar("SELECT count(*) FROM dead_letters") >= goal)
        weir.stop("consumer", signal.SIGKILL)
    weir.start("consumer")
    weir.wait_until_archived(count)
    assert weir.scalar("SELECT count(DISTINCT body) FROM dead_letters") == count


async def test_database_that_is_away_is_waited_for(weir: Weir) -> None:
    weir.start("consumer")
    weir.wait_for(lambda: "broker connected" in weir.log("consumer"))
    weir.administer(f"ALTER DATABASE {weir.name} ALLOW_CONNECTIONS false")
    weir.administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{weir.name}'")
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, *(letter() for _ in range(10)))
        weir.wait_for(lambda: "dead letters wait" in weir.log("consumer"))
        weir.administer(f"ALTER DATABASE {weir.name} ALLOW_CONNECTIONS true")
        weir.wait_until_archived(10)


async def test_missing_table_loses_no_letter_and_does_not_stop_the_stream(weir: Weir) -> None:
    weir.rows("ALTER TABLE dead_letters RENAME TO d")
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, letter())
        weir.wait_for(lambda: "operator action required: dead letters cannot be archived" in weir.log("consumer"))
        weir.rows("ALTER TABLE d RENAME TO dead_letters")
        weir.wait_until_archived(1)


async def test_letters_larger_than_the_bound_all_come_through(weir: Weir) -> None:
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, *(letter(bytes([number]) * 6_000_000) for number in range(8)))
        weir.wait_until_archived(8, 60)


async def test_letter_that_came_back_from_a_replay_knows_it(weir: Weir) -> None:
    weir.start("consumer")
    first = letter()
    first_id = UUID(first["properties"].message_id)
    second = letter(receipt=str(replay_receipt(first_id)))
    third = letter(receipt=str(replay_receipt(UUID(second["properties"].message_id))))
    async with channel_to(weir.amqp_url) as channel:
        await publish(channel, first, second, third)
        weir.wait_until_archived(3)
    found = weir.rows("SELECT replay_of::text, replays FROM dead_letters ORDER BY number")
    assert found == [(None, 0), (str(first_id), 1), (second["properties"].message_id, 2)]
