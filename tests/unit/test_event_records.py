"""Events from JSON to rows and back: what is taken, what is not, and why."""

import gzip
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from factories import event, event_row
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRecord, TooLarge
from shared.streams import EVENTS
from shared.streams.decoding import NDJSON
from shared.streams.letters import dated, device_keys, records_of, shown
from shared.streams.rejections import EXPLANATIONS, Rejected
from shared.streams.stream import COPY, JSON, TimeBounds, microseconds, split_rows

NOW = datetime(2026, 8, 13, 12, tzinfo=UTC)
BOUNDS = TimeBounds(microseconds(datetime(1990, 1, 1, tzinfo=UTC)), microseconds(NOW) + 86_400_000_000)


def encode(body, media_type=JSON, limit=100):
    return EVENTS.decode(body, media_type, 0, BOUNDS, limit).encode({})


def verdict(body):
    """The code and field of the one event in a body, or None when it is taken."""
    encoded = encode(body)
    assert encoded.records + len(encoded.rejected) == 1
    return next(((one.code, one.field) for one in encoded.rejected), None)


def nested(levels):
    return "[" * (levels - 1) + "]" * (levels - 1)


TAKEN = [
    event(user_id=7),
    event(user_id=-(1 << 63)),
    event(user_id="x" * 200),
    event(user_id="Ünïcødé \U0001f600"),
    event(occurred_at="1990-01-01T01:00:00+01:00"),
    event(occurred_at="2026-08-14T12:00:00Z"),
    event(properties={}),
    event(properties=None),
    {name: value for name, value in event().items() if name != "properties"},
    event(properties={"": {"deep": [1, 2.5, None, True, "text", 10**30]}}),
    event(properties={"a": "\\u0000", "b": "\\\\", "c": "\\\\u0000"}),
    event(properties={"a": json.loads(nested(32))}),
    event(properties={"a": [[]] * 100}),
    event(properties={"a": "x" * (16 * 1024 - 8)}),
]


@pytest.mark.parametrize("sent", TAKEN, ids=range(len(TAKEN)))
def test_event_is_taken_as_it_is(sent):
    encoded = encode(json.dumps(sent).encode())
    ((key, found),) = EVENTS.unpack(encoded.rows)
    assert key is None
    moment = datetime.fromisoformat(sent["occurred_at"])
    expected = sent | {"event_id": UUID(sent["event_id"]), "occurred_at": moment, "user_id": str(sent["user_id"])}
    assert found == expected | {"properties": sent.get("properties") or {}}


REFUSED = [
    ({"event_id": "17"}, "not_a_uuid", "event_id"),
    ({"event_id": 17}, "not_a_uuid", "event_id"),
    ({"event_id": None}, "not_a_uuid", "event_id"),
    ({"occurred_at": "2026-08-13T12:00:00"}, "timestamp_without_offset", "occurred_at"),
    ({"occurred_at": "yesterday"}, "not_a_timestamp", "occurred_at"),
    ({"occurred_at": 1_786_622_400}, "not_a_timestamp", "occurred_at"),
    ({"occurred_at": None}, "not_a_timestamp", "occurred_at"),
    ({"occurred_at": "1989-12-31T23:59:59Z"}, "timestamp_too_old", "occurred_at"),
    ({"occurred_at": "2026-08-14T12:00:00.000001Z"}, "timestamp_too_far_ahead", "occurred_at"),
    ({"user_id": ""}, "empty", "user_id"),
    ({"user_id": "x" * 201}, "too_long", "user_id"),
    ({"user_id": 1 << 63}, "out_of_range", "user_id"),
    ({"user_id": 1.5}, "not_a_text_or_integer", "user_id"),
    ({"user_id": True}, "not_a_text_or_integer", "user_id"),
    ({"user_id": None}, "not_a_text_or_integer", "user_id"),
    ({"user_id": "a\0"}, "unstorable_text", "user_id"),
    ({"user_id": "\ud800"}, "unstorable_text", "user_id"),
    ({"event_type": ""}, "empty", "event_type"),
    ({"event_type": "x" * 201}, "too_long", "event_type"),
    ({"event_type": 3}, "not_a_text", "event_type"),
    ({"event_type": "a\0"}, "unstorable_text", "event_type"),
    ({"properties": []}, "not_an_object", "properties"),
    ({"properties": "text"}, "not_an_object", "properties"),
    ({"properties": {"a": "\0"}}, "unstorable_text", "properties"),
    ({"properties": {"a\0": 1}}, "unstorable_text", "properties"),
    ({"properties": {"a": ["\\\\\0"]}}, "unstorable_text", "properties"),
    ({"properties": {"a": "\udc00"}}, "unstorable_text", "properties"),
    ({"properties": {"a": float("nan")}}, "not_finite", "properties"),
    ({"properties": {"a": float("inf")}}, "not_finite", "properties"),
    ({"properties": {"a": json.loads(nested(33))}}, "too_deep", "properties"),
    ({"properties": {"a": "x" * (16 * 1024 - 7)}}, "too_many_bytes", "properties"),
    ({"colour": "red"}, "unknown_field", "colour"),
]


@pytest.mark.parametrize(("fields", "code", "field"), REFUSED, ids=range(len(REFUSED)))
def test_event_is_refused_for_a_stable_reason(fields, code, field):
    assert verdict(json.dumps(event(**fields)).encode()) == (code, field)
    assert code in EXPLANATIONS


@pytest.mark.parametrize("name", ["event_id", "occurred_at", "user_id", "event_type"])
def test_event_must_have_everything_but_properties(name):
    sent = event()
    del sent[name]
    assert verdict(json.dumps(sent).encode()) == ("missing", name)


def test_number_beyond_a_float_is_refused():
    assert verdict(json.dumps(event(properties={"a": 5})).replace("5}", "1e400}").encode()) == (
        "not_finite",
        "properties",
    )


def test_deep_nesting_costs_no_neighbour():
    deep = json.dumps(event(2)).replace('"number": 2', '"number": ' + nested(500))
    encoded = encode(f"[{json.dumps(event(1))}, {deep}, {json.dumps(event(3))}]".encode())
    assert (encoded.records, encoded.rejected) == (2, [Rejected(1, "too_deep", "properties")])


def test_nesting_without_an_end_is_no_json():
    with pytest.raises(InvalidRecord, match="JSON"):
        encode(json.dumps([event(1)]).replace('"number": 1', '"number": ' + nested(100_000)).encode())


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (json.dumps([event(1), {}, event(2)]).encode(), JSON),
        (b"\n".join(json.dumps(one).encode() for one in (event(1), {}, event(2))), NDJSON),
    ],
)
def test_bad_event_costs_no_neighbour(body, media_type):
    encoded = encode(body, media_type)
    assert [record["event_id"].int for _, record in EVENTS.unpack(encoded.rows)] == [1, 2]
    assert [(one.index, one.code) for one in encoded.rejected] == [(1, "missing")]
    submission = EVENTS.decode(body, media_type, 0, BOUNDS, 100)
    assert [shown(one) for one in submission.items()] == [event(1), {}, event(2)]


def test_single_event_is_an_event_and_not_columns():
    body = json.dumps(event(5)).encode()
    assert encode(body).records == 1
    assert EVENTS.decode(body, JSON, 0, BOUNDS, 1).items() == [body]


@pytest.mark.parametrize("body", [b"", b"{", b"[{]", b"\xff", b'{"event_type": "\xff"}', gzip.compress(b"[]"), b"[1"])
def test_body_that_is_no_json_is_said_to_be_malformed(body):
    with pytest.raises(InvalidRecord) as raised:
        encode(body)
    assert raised.value.code == "malformed"


@pytest.mark.parametrize("body", [json.dumps([event(n) for n in range(4)]), "[1,2,3,4]"])
def test_submission_over_the_limit_is_too_large(body):
    with pytest.raises(TooLarge):
        encode(body.encode(), limit=3)


@given(st.lists(st.integers(1, 1000), max_size=20), st.data())
def test_rows_are_counted_and_split(numbers, data):
    rows = encode(json.dumps([event(n, user_id="u" * (n % 7 + 1)) for n in numbers]).encode()).rows
    assert EVENTS.count(rows) == len(numbers) == len(split_rows(rows))
    assert b"".join(split_rows(rows)) == rows
    if rows:
        cut = data.draw(st.integers(1, len(rows) - 1))
        if cut not in {sum(map(len, split_rows(rows)[:n])) for n in range(len(numbers))}:
            with pytest.raises(ValueError, match="rows"):
                EVENTS.count(rows[:cut])
            with pytest.raises(ValueError, match="rows"):
                EVENTS.unpack(rows[:cut])


@given(st.binary(max_size=120), st.integers(0, 60))
def test_garbled_rows_are_noticed_or_read_whatever_they_are(garbage, at):
    row = event_row(UUID(int=1), json=b'{"a":1}')
    for rows in (garbage, row[:at] + garbage, row[:at] + garbage[:1] + row[at + 1 :]):
        try:
            EVENTS.unpack(rows)
        except ValueError:
            continue


def test_letter_of_an_event_shows_it_and_needs_no_device():
    row = event_row(UUID(int=1), user_id=b"7", kind=b"view", json=b'{"number":1}')
    assert device_keys(EVENTS, row, COPY) == set()
    (record,) = records_of(EVENTS, row, COPY, {}, whole=False)
    assert shown(record) == event(1, user_id="7")
    assert records_of(EVENTS, event_row(UUID(int=1), json=b"{"), COPY, {}, whole=False) is None


def test_letter_without_a_time_is_given_none():
    """Nobody can know when it happened."""
    assert dated(EVENTS, b'{"event_id": 1}', NOW) == b'{"event_id": 1}'
