"""A timestamp is one moment, whoever writes it and wherever it is read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.window import in_words
from shared.streams import events, readings
from shared.streams.decoding import NDJSON
from shared.streams.stream import JSON, TimeBounds, microseconds
from shared.streams.timestamps import has_long_fraction, normalized

BOUNDS = TimeBounds(microseconds(datetime(1990, 1, 1, tzinfo=UTC)), microseconds(datetime(2030, 1, 1, tzinfo=UTC)))
#: As it is written, and as it is meant.
MOMENTS = [
    ("2026-11-20T23:59:59.9999999Z", "2026-11-20T23:59:59.999999+00:00"),
    ("2026-11-20T23:59:59.9999995Z", "2026-11-20T23:59:59.999999+00:00"),
    ("2026-11-20T12:00:00.123456789123456Z", "2026-11-20T12:00:00.123456+00:00"),
    ("2026-11-20T12:00:00.0000009+01:00", "2026-11-20T11:00:00+00:00"),
    ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999+00:00"),
    ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.999999+00:00"),
    ("2017-01-01T05:29:60+05:30", "2016-12-31T23:59:59.999999+00:00"),
    ("2026-11-20 12:00:00+00", "2026-11-20T12:00:00+00:00"),
    ("2026-11-20T12:00:00+0530", "2026-11-20T06:30:00+00:00"),
    ("2026-11-20 12:00:00.5-03", "2026-11-20T15:00:00.500000+00:00"),
    ("2026-11-20t12:00:00z", "2026-11-20T12:00:00+00:00"),
]


@pytest.mark.parametrize(("text", "meant"), MOMENTS)
def test_every_form_is_read_as_it_is_meant_in_every_way_in(text, meant):
    moment = microseconds(datetime.fromisoformat(meant))
    reading = f'{{"x": 1, "y": 2, "z": 3, "timestamp": "{text}"}}'.encode()
    good = b'{"x": 1, "y": 2, "z": 3, "timestamp": "2026-01-01T00:00:00Z"}'
    other = microseconds(datetime(2026, 1, 1, tzinfo=UTC))
    columns = f'{{"x": [1, 1], "y": [2, 2], "z": [3, 3], "timestamp": ["2026-01-01T00:00:00Z", "{text}"]}}'.encode()
    one = readings.encode_one(reading, 7, 0, BOUNDS)
    assert readings.table_of(one)["time"].tolist() == [moment]
    bodies = ((b"[" + good + b"," + reading + b"]", JSON), (good + b"\n" + reading, NDJSON), (columns, JSON))
    for body, media_type in bodies:
        encoded = readings.decode_of_device(body, media_type, 0, BOUNDS, 7)
        assert readings.table_of(encoded.rows)["time"].tolist() == [other, moment]
    event = f'{{"event_id": "{"0" * 8}-0000-4000-8000-000000000001", "occurred_at": "{text}", "user_id": "u",'
    event += f' "event_type": "t", "properties": {{"occurred_at": "{text}"}}}}'
    for body, media_type in ((event, JSON), (f"[{event}]", JSON), (f"{event}\n", NDJSON)):
        encoded = events.decode(body.encode(), media_type, 0, BOUNDS).encode({})
        ((_, found),) = events.unpack(encoded.rows)
        assert microseconds(found["occurred_at"]) == moment
        assert found["properties"] == {"occurred_at": text}, "what a client keeps in properties is not ours to change"
    assert microseconds(datetime.fromisoformat(str(in_words(text)))) == moment


@pytest.mark.parametrize(
    "text",
    ["2016-12-31T22:59:60Z", "2016-12-31T23:59:61Z", "2016-12-31T23:58:60Z", "9999-12-31T23:59:60Z", "", "now",
     "2026-13-01T00:00:00+00", "2026-01-01", "2026-01-01T00:00:00+5", "２026-01-01T00:00:00+00"],
)  # fmt: skip
def test_what_is_no_timestamp_or_no_leap_second_comes_back_as_it_is_or_as_bad(text):
    found = normalized(text)
    assert found == text or found.startswith("2026-13-01")


@given(st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()))
def test_what_is_normal_already_keeps_its_moment(text):
    try:
        before = datetime.fromisoformat(text)
        assert datetime.fromisoformat(normalized(text)) == before
    except (ValueError, OverflowError):
        return


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(
    ("record", "found"),
    [
        (b'{"x":1.123456789,"y":12.3456789,"z": 12.3456789,"timestamp":"2026-01-01T00:00:00.123456Z"}', False),
        (b'{"x":1,"y":2,"z":3,"timestamp":"2026-01-01T00:00:00.1234567Z"}', True),
        (b'{"x":[1.12345678,23.12345678],"timestamp":["2026-01-01T00:00:00Z"]}', False),
        (b'{"x":1}', False),
        (b".1234567", False),
    ],
)
def test_long_fractions_are_found_and_long_numbers_are_not(record, found, size):
    assert has_long_fraction(record * size) is found
    assert has_long_fraction(record * size + b" " * 3000) is found
    assert has_long_fraction(b" " * 3000 + record * size) is found


def test_bounds_hold_for_what_was_cut():
    """One microsecond before the bound, and finer."""
    latest = datetime(2030, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)
    text = latest.isoformat().replace("+00:00", "9999Z")
    body = f'{{"x": 1, "y": 2, "z": 3, "timestamp": "{text}"}}'.encode()
    assert readings.table_of(readings.encode_one(body, 7, 0, BOUNDS))["time"].tolist() == [microseconds(latest)]
