"""What is promised of every stream: the same tests for each."""

import json
import signal
from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import pytest
from factories import Weir, bad_row, channel_to, event, good_row, group_of, publish_group, reading
from pamqp.commands import Basic

from consumer.deliveries import SUSPECT_AFTER
from shared.streams import READINGS, STREAMS, Stream
from shared.streams.stream import COPY, EXCHANGE, JSON

LETTERS = "SELECT body, receipt::text, index FROM dead_letters"


@pytest.fixture(params=STREAMS, ids=lambda stream: stream.name)
def stream(request: pytest.FixtureRequest) -> Stream:
    found: Stream = request.param
    return found


def rows(stream: Stream, numbers: Iterable[int]) -> list[bytes]:
    return [good_row(stream, number) for number in numbers]


def ledger(weir: Weir, stream: Stream) -> dict[str, int]:
    query = """
        SELECT sum(accepted), sum(stored), sum(duplicate), sum(dead),
               (SELECT sum(stored) FROM ledger_stored WHERE stream = %s)
        FROM ledger WHERE stream = %s
    """
    *counts, ever = weir.rows(query, stream.name, stream.name)[0]
    assert (ever or 0) == (counts[1] or 0)
    return dict(zip(("accepted", "stored", "duplicate", "dead"), (int(one or 0) for one in counts), strict=True))


def balanced(**settled: int) -> dict[str, int]:
    counts = {"stored": 0, "duplicate": 0, "dead": 0} | settled
    return {"accepted": sum(counts.values()), **counts}


def letters(weir: Weir, stream: Stream) -> Counter[tuple[int | None, str]]:
    """Index and code of each dead letter."""
    return Counter(weir.rows("SELECT index, code FROM dead_letters WHERE stream = %s", stream.name))


async def test_redelivered_message_is_stored_once(weir: Weir, stream: Stream) -> None:
    group = group_of((rows(stream, range(3)), None), (rows(stream, range(3, 5)), uuid4()), stream=stream)
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        for _ in range(3):
            await publish_group(channel, group)
        await publish_group(channel, group_of((rows(stream, [5]), None), stream=stream))
        weir.wait_until_stored(6, stream=stream)
    weir.wait_for(lambda: ledger(weir, stream) == balanced(stored=6))
    weir.wait_for(lambda: weir.queue(stream.queue).get("messages") == 0)


async def test_keyed_submission_sent_twice_is_stored_once_and_counted_as_duplicate(weir: Weir, stream: Stream) -> None:
    key, sent = uuid4(), rows(stream, range(2))
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of((sent, key), stream=stream))
        await publish_group(channel, group_of((rows(stream, [7]), None), (sent, key), stream=stream))
        weir.wait_for(lambda: ledger(weir, stream) == balanced(stored=3, duplicate=2))
    assert weir.stored(stream) == 3


async def test_crash_between_commit_and_ack_stores_once(weir: Weir, stream: Stream) -> None:
    weir.run("consumer", "tests/crash_before_ack.py")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of((rows(stream, range(50)), None), stream=stream))
        assert weir.wait_for_end("consumer") == -signal.SIGKILL
        assert weir.stored(stream) == 50
        weir.start("consumer")
        await publish_group(channel, group_of((rows(stream, [50]), None), stream=stream))
        weir.wait_until_stored(51, stream=stream)
    weir.wait_for(lambda: ledger(weir, stream) == balanced(stored=51))


async def test_bad_record_does_not_hold_back_its_batch(weir: Weir, stream: Stream) -> None:
    """Whichever of the message's submissions it is in, and whatever it shares the batch with."""
    own = [*rows(stream, range(5)), bad_row(stream, 5), *rows(stream, range(6, 9))]
    keyed = [bad_row(stream, 9), *rows(stream, range(10, 12)), bad_row(stream, 12)]
    key = str(uuid4())
    group = group_of((own, None), (keyed, UUID(key)), stream=stream)
    async with channel_to(weir.amqp_url) as channel:
        for first in (100, 200):
            await publish_group(channel, group_of((rows(stream, range(first, first + 20)), None), stream=stream))
        await publish_group(channel, group)
        weir.start("consumer")
        weir.wait_until_stored(50, stream=stream)
    weir.wait_until_archived(3)
    found = {bytes(body): (receipt, index) for body, receipt, index in weir.rows(LETTERS)}
    assert found == {
        bad_row(stream, 5): (group.receipt, 5),
        bad_row(stream, 9): (key, 0),
        bad_row(stream, 12): (key, 3),
    }
    weir.wait_for(lambda: ledger(weir, stream) == balanced(stored=50, dead=3))
    receipts = weir.rows("SELECT id::text, stored, duplicate, dead FROM receipts WHERE dead IS NOT NULL")
    places = {
        receipt: (stored, duplicate, [one["index"] for one in dead]) for receipt, stored, duplicate, dead in receipts
    }
    assert places == {group.receipt: (8, 0, [5]), key: (2, 0, [0, 3])}


async def test_batch_of_nothing_but_bad_records_is_dead_lettered_whole(weir: Weir, stream: Stream) -> None:
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of(([bad_row(stream, n) for n in range(7)], None), stream=stream))
        weir.wait_until_archived(7)
    assert {index for index, _ in letters(weir, stream)} == set(range(7))
    weir.wait_for(lambda: ledger(weir, stream) == balanced(dead=7))


async def test_message_that_kills_the_consumer_is_quarantined_without_its_neighbours(
    weir: Weir, stream: Stream
) -> None:
    poison = group_of(([b"kills whoever reads it"], None), stream=stream)
    async with channel_to(weir.amqp_url) as channel:
        for number in range(20):
            await publish_group(channel, group_of((rows(stream, [number]), None), stream=stream))
            if number == 10:
                await publish_group(channel, poison)
        deaths = 0

        def is_quarantined() -> bool:
            nonlocal deaths
            if not weir.is_running("consumer"):
                deaths += 1
                weir.run("consumer", "tests/crash_on_marker.py")
            return bool(weir.scalar("SELECT count(*) FROM receipts WHERE id = %s", poison.receipt))

        weir.wait_for(is_quarantined, 60)
        weir.wait_until_stored(20, stream=stream)
        weir.wait_for(lambda: weir.queue(stream.queue).get("messages") == 0)
    (dead,) = weir.scalar("SELECT dead FROM receipts WHERE id = %s", poison.receipt)
    assert (dead["index"], dead["code"]) == (None, "kills_consumer")
    assert weir.rows("SELECT * FROM receipts WHERE dead IS NOT NULL AND id <> %s", poison.receipt) == []
    assert weir.rows("SELECT * FROM suspects") == []
    assert 3 <= deaths <= 10


async def test_suspect_of_another_stream_is_not_blamed_for_what_a_message_does(weir: Weir, stream: Stream) -> None:
    """It takes long to write, so that it is in hand at each death, and at work whenever the other could be tried."""
    (other,) = (one for one in STREAMS if one is not stream)
    poison = group_of(([b"kills whoever reads it"], None), stream=stream)
    innocent = group_of((rows(other, [1]), None), stream=other)
    weir.environment["WEIR_WRITE_DEADLINE"] = "2"
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"

    def is_quarantined() -> bool:
        if not weir.is_running("consumer"):
            weir.run("consumer", "tests/crash_beside_suspect.py")
        return bool(weir.scalar("SELECT count(*) FROM receipts WHERE id = %s", poison.receipt))

    with weir.connection() as connection, connection.cursor() as cursor:
        connection.autocommit = False
        cursor.execute("INSERT INTO receipts (id, stream, stored) VALUES (%s, %s, 0)", (innocent.receipt, other.name))
        async with channel_to(weir.amqp_url) as channel:
            await publish_group(channel, innocent)
            for _ in range(SUSPECT_AFTER):
                weir.start("consumer")
                weir.wait_for(lambda: weir.scalar(waiting, weir.name) > 0)
                weir.stop("consumer", signal.SIGKILL)
            await publish_group(channel, poison)
            weir.wait_for(is_quarantined, 60)
        connection.rollback()
    weir.wait_until_stored(1, stream=other)
    assert weir.rows("SELECT id::text FROM receipts WHERE dead IS NOT NULL") == [(poison.receipt,)]


def message(stream: Stream, body: bytes, records: int = 2, **properties: Any) -> tuple[bytes, Basic.Properties]:
    headers = {"records": records, "minute": 29_000_000}
    known = {"content_type": COPY, "message_type": stream.message_type, "delivery_mode": 2, "headers": headers}
    return body, Basic.Properties(message_id=str(uuid4()), **(known | properties))


FAULTS: dict[str, tuple[Any, str]] = {
    "another version": (
        lambda stream, good: message(stream, good, message_type=f"{stream.name}/99"),
        "unknown_version",
    ),
    "cut": (lambda stream, good: message(stream, good[:-1]), "malformed"),
    "more than it says": (lambda stream, good: message(stream, good, records=1), "malformed"),
    "less than it says": (lambda stream, good: message(stream, good, records=3), "malformed"),
    "garbage": (lambda stream, good: message(stream, bytes(len(good)), records=2), "malformed"),
    "no headers": (lambda stream, good: message(stream, good, headers={}), "malformed"),
    "JSON that is none": (lambda stream, _: message(stream, b"{nonsense", content_type=JSON), "malformed"),
    "JSON of something else": (lambda stream, _: message(stream, b"7", content_type=JSON), "not_an_array"),
}


@pytest.mark.parametrize(("make", "code"), FAULTS.values(), ids=FAULTS)
async def test_message_that_makes_no_sense_is_a_dead_letter_and_its_neighbours_are_stored(
    weir: Weir, stream: Stream, make: Any, code: str
) -> None:
    body, properties = make(stream, b"".join(rows(stream, [1, 2])))
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        for number in (10, 11):
            await publish_group(channel, group_of((rows(stream, [number]), None), stream=stream))
            await channel.publish(EXCHANGE, stream.name, body, properties)  # the second is a redelivery
        await publish_group(channel, group_of((rows(stream, [12]), None), stream=stream))
        weir.wait_until_stored(3, stream=stream)
        weir.wait_until_archived(1)
    assert letters(weir, stream) in (Counter({(None, code): 1}), Counter({(0, "22P03"): 1}))
    assert bytes(weir.scalar("SELECT body FROM dead_letters")) == body


async def test_json_of_another_producer_is_judged_record_by_record(weir: Weir, stream: Stream) -> None:
    weir.start("consumer", "api")
    device = {"device_id": str(weir.device())}
    make = (lambda number: reading(number, **device)) if stream is READINGS else event
    sent = [make(1), {"nothing": "known"}, make(2), make(3)]
    properties = Basic.Properties(message_id="order 66", content_type=JSON, app_id="elsewhere", delivery_mode=2)
    async with channel_to(weir.amqp_url) as channel:
        for _ in range(2):
            await channel.publish(EXCHANGE, stream.name, json.dumps(sent).encode(), properties)
        weir.wait_until_stored(3, stream=stream)
        weir.wait_until_archived(1)
    assert letters(weir, stream) == Counter({(1, "unknown_field"): 1})
    weir.wait_for(lambda: ledger(weir, stream) == balanced(stored=3, dead=1))


async def test_mended_letter_is_replayed_and_stored_once(weir: Weir, stream: Stream) -> None:
    weir.start("consumer", "api")
    device = {"device_id": str(weir.device())}
    make = (lambda number: reading(number, **device)) if stream is READINGS else event
    properties = Basic.Properties(message_id="one", content_type=JSON, delivery_mode=2)
    async with channel_to(weir.amqp_url) as channel:
        body = json.dumps([make(1), make(2) | {stream.time_field: "when it rained"}]).encode()
        await channel.publish(EXCHANGE, stream.name, body, properties)
        weir.wait_until_archived(1)
    (letter,) = weir.http.get("/ops/dead-letters", params={"stream": stream.name}).json()
    assert (letter["stream"], letter["code"], letter["index"]) == (stream.name, "not_a_timestamp", 1)
    path = f"/ops/dead-letters/{letter['id']}"
    (shown,) = weir.http.get(path).json()["records"]
    assert shown == make(2) | {stream.time_field: "when it rained"}
    refused = weir.http.patch(path, json={"records": [shown]})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, stream.time_field)
    mended = shown | {stream.time_field: "2026-08-13T12:00:00Z"}
    assert weir.http.patch(path, json={"records": [mended]}).status_code == 200
    for _ in range(3):
        answer = weir.http.post("/ops/dead-letters/replay", json={"ids": [letter["id"]], "dry_run": False})
        assert answer.json()["replayed"] == 1
    weir.wait_until_stored(2, stream=stream)
    weir.wait_for(lambda: weir.queue(stream.queue).get("messages") == 0)
    assert weir.stored(stream) == 2
    weir.wait_for(lambda: ledger(weir, stream) == balanced(stored=2, dead=1))
