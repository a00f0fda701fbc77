"""A receipt belongs to one stream and producer, and what it says to one submission."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from factories import (
    NOON,
    Weir,
    bad_row,
    channel_to,
    event,
    event_row,
    good_row,
    group_of,
    publish_group,
    reading,
    row,
)
from pamqp.commands import Basic

from consumer.deliveries import Delivery, Part
from consumer.writer import KeyReused, Writer
from shared.streams import EVENTS, READINGS, STREAMS, Stream
from shared.streams.stream import EXCHANGE, JSON

of_every_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)


async def publish(weir: Weir, stream: Stream, records: list[Any], message_id: str, producer: str | None = None) -> None:
    """Publish records as another producer would."""
    properties = Basic.Properties(message_id=message_id, content_type=JSON, delivery_mode=2, app_id=producer)
    async with channel_to(weir.amqp_url) as channel:
        await channel.publish(EXCHANGE, stream.name, json.dumps(records).encode(), properties)


def settled(weir: Weir, stream: Stream) -> tuple[int, int, int]:
    """Records of the stream that are stored, duplicate and dead by the ledger."""
    query = "SELECT sum(stored), sum(duplicate), sum(dead) FROM ledger WHERE stream = %s"
    stored, duplicate, dead = weir.rows(query, stream.name)[0]
    return int(stored or 0), int(duplicate or 0), int(dead or 0)


def told(weir: Weir, path: str) -> tuple[str, int, int, list[int | None]]:
    """Status, stored and duplicate records, and the dead ones' indices, as the receipt tells them."""
    answer = weir.http.get(path)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["status"], found["records"], found["duplicates"], [one["index"] for one in found["dead"]]


@pytest.mark.parametrize(
    "message_id", ["8e6a3a1e-5a3c-4b7e-9a43-2f1f6f1f0a01", "8E6A3A1E-5A3C-4B7E-9A43-2F1F6F1F0A01", "7"]
)
async def test_one_message_id_on_two_streams_is_two_messages(weir: Weir, message_id: str) -> None:
    weir.start("consumer", "api")
    device = str(weir.device())
    for _ in range(2):  # a second time it is a redelivery
        await publish(weir, READINGS, [reading(1, device_id=device), reading(2, device_id=device)], message_id)
        await publish(weir, EVENTS, [event(1)], message_id)
    await publish(weir, READINGS, [reading(3, device_id=device)], "after")
    await publish(weir, EVENTS, [event(3)], "after")
    weir.wait_for(lambda: (settled(weir, READINGS), settled(weir, EVENTS)) == ((3, 0, 0), (2, 0, 0)))
    assert (weir.stored(READINGS), weir.stored(EVENTS)) == (3, 2)
    if len(message_id) > 1:
        unclear = weir.http.get(f"/receipts/{message_id}")
        assert (unclear.status_code, unclear.json()["type"]) == (409, "urn:weir:problem:ambiguous")
        assert told(weir, f"/receipts/{message_id}?stream=readings") == ("stored", 2, 0, [])
        assert told(weir, f"/receipts/{message_id}?stream=events") == ("stored", 1, 0, [])


async def test_one_message_id_of_two_producers_is_two_messages(weir: Weir) -> None:
    weir.start("consumer", "api")
    device, message_id = str(weir.device()), str(uuid4())
    for producer in ("bridge", "gateway", "bridge", None):
        await publish(weir, READINGS, [reading(1, device_id=device)], message_id, producer)
    weir.wait_for(lambda: settled(weir, READINGS) == (3, 0, 0))
    for query in ("", "?stream=readings", "?stream=readings&producer=bridge", "?stream=readings&producer=gateway"):
        assert told(weir, f"/receipts/{message_id}{query}") == ("stored", 1, 0, [])
    unknown = weir.http.get(f"/receipts/{message_id}?stream=readings&producer=other").json()
    assert unknown["status"] == "pending"
    wrong = weir.http.get(f"/receipts/{message_id}?stream=nothing&producer=bridge")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "stream")


async def test_dead_letters_of_one_message_id_on_two_streams_are_two(weir: Weir) -> None:
    weir.start("consumer")
    message_id = str(uuid4())
    await publish(weir, READINGS, [{"x": 1}], message_id)
    await publish(weir, EVENTS, [{"x": 1}], message_id)
    weir.wait_until_archived(2)
    assert sorted(weir.rows("SELECT stream, receipt::text FROM dead_letters")) == [
        ("events", message_id),
        ("readings", message_id),
    ]
    assert weir.scalar("SELECT count(DISTINCT replay) FROM dead_letters") == 2


@of_every_stream
async def test_receipt_speaks_of_its_own_submission_only(weir: Weir, stream: Stream) -> None:
    """Four submissions without a key and one with, in one message: the second and the fifth have a record that fails."""
    weir.start("consumer", "api")
    rows = [good_row(stream, number) for number in range(9)]
    group = group_of(stream=stream)
    unkeyed = (rows[:1], [rows[1], bad_row(stream, 101), rows[2]], rows[3:5], rows[5:6])
    locations = [f"/receipts/{group.add(b''.join(records), len(records))}" for records in unkeyed]
    key = uuid4()
    keyed = [rows[6], bad_row(stream, 102)]
    locations.append(f"/receipts/{group.add(b''.join(keyed), 2, key, bytes(range(16)))}")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group)
    weir.wait_for(lambda: settled(weir, stream) == (7, 0, 2))
    assert [told(weir, location) for location in locations] == [
        ("stored", 1, 0, []),
        ("dead-lettered", 2, 0, [1]),
        ("stored", 2, 0, []),
        ("stored", 1, 0, []),
        ("dead-lettered", 1, 0, [1]),
    ]
    assert told(weir, f"/receipts/{group.receipt}") == ("dead-lettered", 6, 0, [2])
    weir.wait_until_archived(2)
    letters = weir.rows("SELECT receipt::text, index FROM dead_letters")
    assert sorted(letters) == sorted([(group.receipt, 2), (str(key), 1)])


async def test_receipt_counts_the_duplicates_of_its_own_submission(weir: Weir) -> None:
    weir.start("consumer", "api")
    ids = [UUID(int=number) for number in range(1, 9)]
    group, locations = group_of(stream=EVENTS), []
    refused = event_row(UUID(int=77), json=b"{")
    for some in ([ids[0], ids[1]], [ids[1], ids[2]], [ids[3]], [ids[2], ids[0], ids[4]]):
        records = [event_row(one) for one in some]
        records = [refused, *records] if some == [ids[1], ids[2]] else records
        locations.append(f"/receipts/{group.add(b''.join(records), len(records))}")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group)
    weir.wait_for(lambda: settled(weir, EVENTS) == (5, 3, 1))
    assert [told(weir, location) for location in locations] == [
        ("stored", 2, 0, []),
        ("dead-lettered", 1, 1, [0]),
        ("stored", 1, 0, []),
        ("stored", 1, 2, []),
    ]
    assert told(weir, f"/receipts/{group.receipt}") == ("dead-lettered", 5, 3, [2])


async def test_message_that_is_dead_as_a_whole_is_so_for_each_submission(weir: Weir) -> None:
    weir.start("consumer", "api")
    group = group_of()
    locations = [f"/receipts/{group.add(row(1, NOON, 1.0), 1)}" for _ in range(2)]
    properties = group.properties()
    async with channel_to(weir.amqp_url) as channel:
        await channel.publish(EXCHANGE, READINGS.name, b"cut", properties)
    weir.wait_for(lambda: settled(weir, READINGS) == (0, 0, 2))
    assert {told(weir, location)[:3] for location in locations} == {("dead-lettered", 0, 0)}


async def test_index_counts_in_what_was_sent_whoever_refused_the_record(weir: Weir) -> None:
    """The schema refuses the first record, the table the fourth and the sixth."""
    weir.start("consumer", "api")
    device, message_id = str(weir.device()), str(uuid4())
    weir.rows("ALTER TABLE readings ADD CONSTRAINT no_42 CHECK (x <> 42)")
    sent = [reading(number, device_id=device) for number in (0, 1, 2, 42, 4, 42, 6)]
    sent[0]["x"] = "bad"
    await publish(weir, READINGS, sent, message_id)
    weir.wait_for(lambda: settled(weir, READINGS) == (4, 0, 3))
    assert told(weir, f"/receipts/{message_id}") == ("dead-lettered", 4, 0, [0, 3, 5])
    weir.wait_until_archived(3)
    assert sorted(weir.rows("SELECT index FROM dead_letters")) == [(0,), (3,), (5,)]


def test_location_of_each_submission_that_shares_a_message_has_its_own_place(running_weir: Weir) -> None:
    device = running_weir.device()
    path = f"/devices/{device}/stats/"
    single = running_weir.http.post(path, json=reading(1)).headers["location"]
    batch = running_weir.http.post(f"{path}batch", json=[reading(1), reading(2)]).headers["location"]
    keyed = running_weir.http.post(path, json=reading(1), headers={"idempotency-key": "k"}).headers["location"]
    assert single.endswith("&records=1")
    assert batch.endswith("&records=2")
    assert "?" not in keyed
    for location, records in ((single, 1), (batch, 2), (keyed, 1)):
        running_weir.wait_for(lambda location=location: told_status(running_weir, location) == "stored")
        assert told(running_weir, location) == ("stored", records, 0, [])


def told_status(weir: Weir, path: str) -> str:
    return str(weir.http.get(path).json()["status"])


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("first=0", 422, "records"),
        ("records=1", 422, "first"),
        ("first=-1&records=1", 422, "first"),
        ("first=0&records=0", 422, "records"),
        ("first=a&records=1", 422, "first"),
        ("first=9999999999&records=1", 422, "first"),
        ("first=1000&records=1", 404, None),
        ("first=2147483647&records=2147483647", 404, None),
    ],
)
def test_place_that_makes_no_sense_is_refused(running_weir: Weir, query: str, status: int, field: str | None) -> None:
    device = running_weir.device()
    location = running_weir.http.post(f"/devices/{device}/stats/", json=reading(1)).headers["location"]
    running_weir.wait_for(lambda: told_status(running_weir, location) == "stored")
    answer = running_weir.http.get(f"{location.partition('?')[0]}?{query}")
    assert answer.status_code == status, answer.text
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field


@of_every_stream
async def test_writers_whose_batches_cross_never_wait_in_a_circle(weir: Weir, stream: Stream) -> None:
    """Each raises what PostgreSQL says, a deadlock too: it is the consumer that tries again."""
    writers = [Writer(weir.database_url, stream, timedelta(seconds=20)) for _ in range(2)]
    try:
        for number in range(20):
            ids = [uuid4() for _ in range(300)]
            rows = {one: good_row(stream, 1_000 * number + place) for place, one in enumerate(ids)}

            def batch(order: list[UUID], rows: dict[UUID, bytes] = rows) -> list[Delivery]:
                return [Delivery(0, 0, 29_000_000, [Part(one, 1, rows[one])]) for one in order]

            await asyncio.gather(writers[0].write(batch(ids)), writers[1].write(batch(ids[::-1])))
    finally:
        for one in writers:
            one.close()
    assert weir.stored(stream) == 20 * 300


async def test_first_body_under_a_key_counts_whatever_the_order_of_receipts(weir: Weir) -> None:
    """One batch in which a hundred keys come with two bodies each: the second of each is refused, and no first."""
    keys = [uuid4() for _ in range(100)]
    first, second = bytes([1] * 16), bytes([2] * 16)
    parts = [Part(key, 1, good_row(READINGS, 1), digest=digest) for digest in (first, second) for key in keys]
    writer = Writer(weir.database_url, READINGS, timedelta(seconds=20))
    try:
        with pytest.raises(KeyReused) as refused:
            await writer.write([Delivery(0, 0, 29_000_000, parts)])
    finally:
        writer.close()
    assert [part.digest for part in refused.value.parts] == [second] * len(keys)
