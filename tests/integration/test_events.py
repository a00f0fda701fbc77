"""An event is stored once by its id, whatever it comes with, and comes back as it was sent."""

import io
import json
import random
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from factories import Weir, channel_to, event, event_row, group_of, partition, publish_group
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic

from shared.broker.messages import Group
from shared.cold import hot, manifest
from shared.cold.sealing import seal
from shared.cold.store import Store
from shared.database import connect
from shared.streams import EVENTS
from shared.streams.rejections import EXPLANATIONS
from shared.streams.stream import COPY_HEADER, COPY_TRAILER, EXCHANGE, JSON, TimeBounds

ANY_TIME = TimeBounds(-(1 << 62), 1 << 62)


def message(*numbers: int, key: UUID | None = None) -> Group:
    return group_of(([event_row(UUID(int=number)) for number in numbers], key), stream=EVENTS)


def ledger(weir: Weir) -> tuple[int, ...]:
    found = weir.rows("SELECT sum(accepted), sum(stored), sum(duplicate), sum(dead) FROM ledger")[0]
    return tuple(int(number or 0) for number in found)


def stored(weir: Weir) -> Counter[int]:
    return Counter(UUID(found).int for (found,) in weir.rows("SELECT event_id::text FROM events"))


def receipt(weir: Weir, group: Group) -> tuple[int, int] | None:
    """How many of a message are stored, and how many were before."""
    ids = [str(one) for one, *_ in group.keyed] or [group.receipt]
    return next(iter(weir.rows("SELECT stored, duplicate FROM receipts WHERE id = %s", ids[0])), None)


async def test_event_is_stored_once_in_a_message_and_across_messages(weir: Weir) -> None:
    first, again, mixed = message(1, 2, 1, 1), message(2, 1, key=uuid4()), message(2, 3, 3)
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        for group, settled in ((first, 4), (again, 6), (mixed, 9), (mixed, 9)):
            await publish_group(channel, group)
            weir.wait_for(lambda settled=settled: sum(ledger(weir)[1:]) == settled)
    assert stored(weir) == Counter({1: 1, 2: 1, 3: 1})
    assert [receipt(weir, one) for one in (first, again, mixed)] == [(2, 2), (0, 2), (1, 2)]
    assert ledger(weir) == (9, 3, 6, 0)


async def test_first_of_two_events_with_one_id_is_the_one_that_is_kept(weir: Weir) -> None:
    rows = [event_row(UUID(int=1), user_id=b"first"), event_row(UUID(int=1), user_id=b"second")]
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of((rows, None), stream=EVENTS))
        await publish_group(channel, group_of((rows[1:], None), stream=EVENTS))
        weir.wait_for(lambda: ledger(weir) == (3, 1, 2, 0))
    assert weir.rows("SELECT user_id FROM events") == [("first",)]


async def test_bad_event_leaves_its_id_to_a_good_one(weir: Weir) -> None:
    rows = [event_row(UUID(int=1), json=b"{"), event_row(UUID(int=2)), event_row(UUID(int=1)), event_row(UUID(int=2))]
    group = group_of((rows, None), stream=EVENTS)
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group)
        weir.wait_for(lambda: ledger(weir) == (4, 2, 1, 1))
    assert stored(weir) == Counter({1: 1, 2: 1})
    assert receipt(weir, group) == (2, 1)


@pytest.mark.parametrize("has_partition", [True, False], ids=["partition", "default"])
async def test_event_that_comes_again_after_its_day_was_sealed_is_known(weir: Weir, *, has_partition: bool) -> None:
    settings = weir.settings()
    engine = connect(settings.database_url, pool_size=3, statement_deadline=settings.statement_deadline)
    store = Store(settings.cold_url)
    if has_partition:
        partition(weir, EVENTS.table, date(2026, 8, 13))
    rows = [event_row(UUID(int=number), json=b'{"price": 1.50, "note": "\xc3\xa9"}') for number in (7, 8, 9)]
    weir.start("consumer")
    async with channel_to(weir.amqp_url) as channel:
        await publish_group(channel, group_of((rows[:2], None), stream=EVENTS))
        weir.wait_for(lambda: ledger(weir) == (2, 2, 0, 0))
        with engine.connect() as connection:
            (source,) = hot.sources(connection, EVENTS, date(2026, 8, 14))
        assert seal(engine, store, source).rows == 2
        assert weir.stored(EVENTS) == 0
        again = group_of((rows, None), stream=EVENTS)
        await publish_group(channel, again)
        weir.wait_for(lambda: ledger(weir) == (5, 3, 2, 0))
    assert stored(weir) == Counter({9: 1})
    assert receipt(weir, again) == (1, 2)
    with manifest.snapshot(engine) as connection:
        (file,) = manifest.files(connection, EVENTS.name)
    found = store.read(file, ["event_id", "user_id", "event_type", "properties"]).to_pylist()
    assert [UUID(one["event_id"]).int for one in found] == [7, 8]
    assert json.loads(found[0]["properties"]) == {"price": 1.5, "note": "é"}
    engine.dispose()


async def test_two_consumers_with_the_same_events_in_any_order_store_each_once(weir: Weir) -> None:
    chance = random.Random(5)
    numbers, sent = range(1, 1501), 0
    weir.environment |= {"WEIR_BATCH_LIMIT": "300", "WEIR_PREFETCH": "2"}
    async with channel_to(weir.amqp_url) as channel:
        for _ in range(40):
            some = chance.sample(numbers, 400)
            sent += len(some)
            await publish_group(channel, message(*some))
        await publish_group(channel, message(*numbers))
        sent += len(numbers)
        for name in ("one", "other"):
            weir.run(name, "-m", "consumer")
        weir.wait_for(lambda: sum(ledger(weir)[1:]) == sent, 60)
    assert stored(weir) == Counter(dict.fromkeys(numbers, 1))
    assert ledger(weir) == (sent, len(numbers), sent - len(numbers), 0)
    assert weir.rows("SELECT sum(stored), sum(duplicate) FROM receipts") == [(len(numbers), sent - len(numbers))]
    assert all("cannot write" not in weir.log(name) for name in ("one", "other"))


async def test_events_of_the_api_and_of_a_producer_of_json_are_one(weir: Weir) -> None:
    weir.start("consumer", "api")
    answer = weir.http.post("/events", json=[event(1), event(2), event(1), event(3, user_id=None)])
    assert answer.status_code == 202
    rejected = [{"index": 3, "code": "not_a_text_or_integer", "field": "user_id"}]
    assert answer.json() == {"status": "ok", "accepted": 3, "rejected": rejected}
    weir.wait_for(lambda: weir.http.get(answer.headers["location"]).json()["status"] == "stored")
    found = weir.http.get(answer.headers["location"]).json()
    assert (found["stream"], found["records"], found["duplicates"]) == ("events", 2, 1)
    properties = Basic.Properties(message_id="1", content_type=JSON, delivery_mode=2)
    async with channel_to(weir.amqp_url) as channel:
        body = json.dumps([event(2), event(4)]).encode()
        await channel.publish(EXCHANGE, EVENTS.name, body, properties)
        weir.wait_for(lambda: ledger(weir) == (5, 3, 2, 0))
    assert stored(weir) == Counter({1: 1, 2: 1, 4: 1})


async def test_key_means_one_submission_whoever_sends_it(weir: Weir) -> None:
    weir.start("consumer", "api")
    key = {"idempotency-key": "today"}
    first = weir.http.post("/events", json=[event(1)], headers=key)
    again = weir.http.post("/api/events", json=[event(1)], headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["location"] == again.headers["location"]
    other = weir.http.post("/events", json=[event(2)], headers=key)
    assert (other.status_code, other.json()["type"]) == (422, "urn:weir:problem:key-reused")
    device = weir.device()
    reading = weir.http.post(f"/devices/{device}/stats/", json={"x": 1, "y": 2, "z": 3}, headers=key)
    assert reading.status_code == 202
    weir.wait_for(lambda: stored(weir) == Counter({1: 1}))


any_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
#: What a user or a type may be called: more than white space.
some_text = any_text.filter(str.strip)
any_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            event,
            st.integers(1, 1 << 100),
            user_id=some_text | st.integers(-(1 << 63), (1 << 63) - 1),
            event_type=some_text,
            occurred_at=st.datetimes(datetime(1990, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat),  # noqa: DTZ001
            properties=st.dictionaries(any_text, any_value, max_size=5),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda one: one["event_id"],
    )
)
def test_every_event_comes_back_from_the_table_as_it_was_sent(weir: Weir, sent: list[dict[str, Any]]) -> None:
    encoded = EVENTS.decode(json.dumps(sent).encode(), JSON, 0, ANY_TIME, 100).encode({})
    assert encoded.rejected == []
    copy_into(weir, encoded.rows)
    found = {
        str(one): rest for one, *rest in weir.rows("SELECT event_id, time, user_id, event_type, properties FROM events")
    }
    weir.rows("TRUNCATE events")
    for one in sent:
        moment, user_id, event_type, properties = found[one["event_id"]]
        assert moment == datetime.fromisoformat(one["occurred_at"])
        assert (user_id, event_type) == (str(one["user_id"]), one["event_type"])
        assert numbers_as_floats(properties) == numbers_as_floats(one["properties"])


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["\0", "\ud800", "\\u0000", "\\", '"', 10**4000]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=4)
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*event(), "other"), anything)))
def test_what_is_taken_can_always_be_stored(weir: Weir, fields: dict[str, Any]) -> None:
    """Whatever a client sends is refused with a reason that we know, or PostgreSQL takes it."""
    body = json.dumps([event(1) | fields, event(2)]).encode()
    encoded = EVENTS.decode(body, JSON, 0, ANY_TIME, 100).encode({})
    assert encoded.records + len(encoded.rejected) == 2
    assert all(one.code in EXPLANATIONS for one in encoded.rejected)
    copy_into(weir, encoded.rows)
    assert weir.stored(EVENTS) == encoded.records
    weir.rows("TRUNCATE events")


def numbers_as_floats(value: Any) -> Any:
    """PostgreSQL writes 1e16 as an integer."""
    return json.loads(json.dumps(value), parse_int=float)


def copy_into(weir: Weir, rows: bytes) -> None:
    with weir.connection() as connection, connection.cursor() as cursor:
        into = f"COPY events ({', '.join(EVENTS.columns)}) FROM STDIN (FORMAT binary)"
        cursor.copy_expert(into, io.BytesIO(COPY_HEADER + rows + COPY_TRAILER))


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson", "text/plain", None])
def test_no_body_is_a_server_error(running_weir: Weir, media_type: str | None) -> None:
    headers = {"content-type": media_type} if media_type else {}

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()))
    def send(body: bytes) -> None:
        answer = running_weir.http.post("/events", content=body, headers=headers)
        assert answer.status_code in {202, 400, 413, 422}, answer.text

    send()
