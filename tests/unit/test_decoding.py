"""Whatever comes in as bytes becomes records or a named fault, and the same one in every format."""

import json
import math
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRecord, TooLarge
from shared.streams import readings
from shared.streams.decoding import NDJSON, Decoder, items
from shared.streams.readings import Reading, decode_of_device, encode_one
from shared.streams.rejections import EXPLANATIONS
from shared.streams.stream import TimeBounds, microseconds, split_rows

JSON = "application/json"
NOW = 800_000_000_000_000
BOUNDS = TimeBounds(microseconds(datetime(1990, 1, 1, tzinfo=UTC)), NOW + 86_400_000_000)
KEY = 7
FIELDS = frozenset({"x", "y", "z", "timestamp"})

GOOD = {"x": b"1", "y": b"2", "z": b"3", "timestamp": b"null"}

#: One value in place of a good one, as raw JSON; the field and the code that must be named.
BAD_VALUES = [
    ("x", b"NaN", "not_finite"),
    ("y", b"Infinity", "not_finite"),
    ("z", b"-Infinity", "not_finite"),
    ("x", b"1e400", "not_finite"),
    ("x", b"-1e400", "not_finite"),
    ("x", b"9" * 400, "not_finite"),
    ("x", b"-" + b"9" * 5000, "not_finite"),
    ("x", b'"1.5"', "not_a_number"),
    ("x", b'"NaN"', "not_a_number"),
    ("x", b'"Infinity \\" NaN"', "not_a_number"),
    ("y", b"true", "not_a_number"),
    ("z", b"null", "not_a_number"),
    ("x", b"[1]", "not_a_number"),
    ("x", b'{"x": 1}', "not_a_number"),
    ("x", b"[" * 900 + b"]" * 900, "not_a_number"),
    ("x", rb'"\ud800"', "not_a_number"),
    ("x", rb'"\udc00\ud800 \ud83d\ude00"', "not_a_number"),
    ("x", b'"\xed\xa0\x80"', "not_a_number"),
    ("x", b'"\xff\xfe"', "not_a_number"),
    ("x", rb'"a\u0000b"', "not_a_number"),
    ("timestamp", b'"2026-01-01T00:00:00"', "timestamp_without_offset"),
    ("timestamp", b"1767225600", "not_a_timestamp"),
    ("timestamp", b"1767225600000.5", "not_a_timestamp"),
    ("timestamp", b"true", "not_a_timestamp"),
    ("timestamp", b'"2026-01-01"', "not_a_timestamp"),
    ("timestamp", b'"2025-02-29T00:00:00Z"', "not_a_timestamp"),
    ("timestamp", b'"2016-12-31T22:59:60Z"', "not_a_timestamp"),
    ("timestamp", b'"2016-12-31T23:59:61Z"', "not_a_timestamp"),
    *(
        ("x", number, "not_finite")
        for number in (
            b"nan",
            b"-nan",
            b"NAN",
            b"inf",
            b"-inf",
            b"INF",
            b"Inf",
            b"+Infinity",
            b"ovf",
            b"1.#QNAN",
            b"-1.#IND",
            b"-nan(ind)",
            b"None",
            b"True",
            b".5",
            b"-.5",
            b"5.",
            b"07",
            b"-01",
            b"+5",
            b"1e",
            b"0x10",
            b"1_000",
        )
    ),
    ("timestamp", b'"2026-01-01T00:00:00+24:00"', "not_a_timestamp"),
    ("timestamp", b'"0000-01-01T00:00:00Z"', "not_a_timestamp"),
    ("timestamp", b'""', "not_a_timestamp"),
    ("timestamp", rb'"2025-01-01T00:00:00Z\u0000"', "not_a_timestamp"),
    ("timestamp", rb'"\ud800"', "not_a_timestamp"),
    ("timestamp", b'"0001-01-01T00:00:00+14:00"', "timestamp_too_old"),
    ("timestamp", b'"1970-01-01T00:00:00Z"', "timestamp_too_old"),
    ("timestamp", b'"1989-12-31T23:59:59.999999Z"', "timestamp_too_old"),
    ("timestamp", b'"1990-01-01T00:59:59+01:00"', "timestamp_too_old"),
    ("timestamp", b'"2025-05-09T06:13:20.000001Z"', "timestamp_too_far_ahead"),
    ("timestamp", b'"9999-12-31T23:59:59-12:00"', "timestamp_too_far_ahead"),
]

#: Whole records with something wrong, as raw JSON; the code and the field that must be named.
BAD_RECORDS = [
    (b"{}", "missing", "x"),
    (b'{"x": 1, "y": 2}', "missing", "z"),
    (b'{"x": 1, "y": 2, "z": 3, "speed": 4}', "unknown_field", "speed"),
    (b'{"x": 1, "y": 2, "z": 3, "speed": NaN}', "unknown_field", "speed"),
    (b'{"x": 1, "y": 2, "z": 3, "no plain name": 4}', "unknown_field", None),
    (b'{"x": 1, "y": 2, "z": 3, "missing required field `y`": 4}', "unknown_field", None),
    (b'{"x": 1, "y": 2, "z": 3, "out of range - at `$.y`": 4}', "unknown_field", None),
    (b'{"x": 1, "y": 2, "z": 3, "' + b"a" * 33 + b'": 4}', "unknown_field", None),
    (rb'{"x": 1, "y": 2, "z": 3, "\ud800": 4}', "unknown_field", None),
    (b'{"x": 1, "y": 2, "z": 3, "\xff": 4}', "malformed", None),
    (b'{"x": "first", "x": 1, "y": 2, "z": 3}', "not_a_number", "x"),
    (b'{"x": 1, "x": "last", "y": 2, "z": 3}', "not_a_number", "x"),
    (b"[1, 2, 3]", "not_an_object", None),
    (b'"x"', "not_an_object", None),
    (b"null", "not_an_object", None),
]

#: Bodies that are no JSON in UTF-8.
NOT_JSON = {
    "nothing": b"",
    "blank": b" \n\t",
    "cut": b'{"x": 1, "y": 2',
    "trailing comma": b'{"x": 1, "y": 2, "z": 3,}',
    "trailing garbage": b'{"x": 1, "y": 2, "z": 3} x',
    "two of them": b'{"x": 1, "y": 2, "z": 3} {"x": 1, "y": 2, "z": 3}',
    "unquoted name": b'{x: 1, "y": 2, "z": 3}',
    "word where a name belongs": b'{nan: 1, "y": 2, "z": 3}',
    "single quotes": b"{'x': 1, 'y': 2, 'z': 3}",
    "raw NUL": b'{"\x00x": 1, "y": 2, "z": 3}',
    "byte order mark behind the start": b' \xef\xbb\xbf{"x": 1, "y": 2, "z": 3}',
    "UTF-16": '{"x": 1, "y": 2, "z": 3}'.encode("utf-16"),
    "open quote": b'"' + b'\\"' * 100_000,
    "only a backslash": b'{"x": 1, "y": "\\',
    "half an escape": rb'{"x": 1, "y": "\ud8',
}

coordinates = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(
    datetime(1990, 1, 2),  # noqa: DTZ001 - the time zones come next
    datetime(2025, 5, 8),  # noqa: DTZ001
    timezones=st.timezones() | st.just(UTC),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(lambda value: json.dumps(value).encode())
some_readings = st.lists(
    st.fixed_dictionaries(
        {"x": coordinates, "y": coordinates | st.integers(-(10**300), 10**300), "z": coordinates},
        optional={"timestamp": moments.map(str) | st.none()},
    ),
    min_size=1,
    max_size=12,
)


def record(**fields):
    """A record as raw JSON; `fields` change it."""
    return b"{" + b", ".join(b'"%s": %s' % (name.encode(), raw) for name, raw in (GOOD | fields).items()) + b"}"


def columns(records):
    """Records, each as a mapping of raw JSON, as columns."""
    names = records[0].keys()
    column = {name: b"[" + b", ".join(one[name] for one in records) + b"]" for name in names}
    return b"{" + b", ".join(b'"%s": %s' % (name.encode(), raw) for name, raw in column.items()) + b"}"


def in_each_format(records):
    """The same records as bodies of a batch, with their media types."""
    yield b"[" + b", ".join(records) + b"]", JSON
    yield b"\r\n\n".join(records) + b"\n", NDJSON


def encode(body, media_type=JSON, **options):
    return decode_of_device(body, media_type, NOW, BOUNDS, KEY, **options)


def gateway(body, media_type=JSON, keys=()):
    return readings.decode(body, media_type, NOW, BOUNDS).encode(dict(keys))


def attempt(decode, *arguments, **options):
    """What a decoder gives, or the fault it finds; any other error fails the test."""
    try:
        return decode(*arguments, **options)
    except (InvalidRecord, TooLarge) as fault:
        return fault


def verdict(body):
    """What becomes of a single reading: its row, or code and field."""
    found = attempt(encode_one, body, KEY, NOW, BOUNDS)
    return (found.code, found.field) if isinstance(found, InvalidRecord) else found


@given(some_readings)
def test_every_format_gives_the_same_rows(records):
    rows = [encode_one(json.dumps(one).encode(), KEY, NOW, BOUNDS) for one in records]
    lines = [json.dumps(one).encode() for one in records]
    names = ("x", "y", "z", "timestamp")
    table = json.dumps({name: [one.get(name) for one in records] for name in names}).encode()
    for body, media_type in [*in_each_format(lines), (table, JSON)]:
        encoded = encode(body, media_type)
        assert (split_rows(encoded.rows), encoded.records, encoded.rejected) == (rows, len(records), [])


@given(st.data(), st.integers(1, 9), st.sampled_from(BAD_VALUES))
def test_bad_value_costs_its_record_and_no_other_in_any_format(data, size, bad):
    field, raw, code = bad
    at = data.draw(st.integers(0, size - 1))
    table = [GOOD | {"x": b"%d" % row} | ({field: raw} if row == at else {}) for row in range(size)]
    kept = [encode_one(record(x=b"%d" % row), KEY, NOW, BOUNDS) for row in range(size) if row != at]
    for body, media_type in [*in_each_format([record(**one) for one in table]), (columns(table), JSON)]:
        encoded = encode(body, media_type)
        assert split_rows(encoded.rows) == kept
        assert [(one.index, one.code, one.field) for one in encoded.rejected] == [(at, code, field)]


@given(st.data(), st.lists(st.sampled_from([*BAD_RECORDS, None]), min_size=1, max_size=9))
def test_bad_records_cost_their_own_places_only(data, faults):
    """Every mixture, so that a fault never changes what becomes of another."""
    bodies = [record() if fault is None else fault[0] for fault in faults]
    expected = [(index, fault[1], fault[2]) for index, fault in enumerate(faults) if fault is not None]
    for body, media_type in in_each_format(bodies):
        encoded = encode(body, media_type)
        assert encoded.records == faults.count(None)
        assert [(one.index, one.code, one.field) for one in encoded.rejected] == expected


@pytest.mark.parametrize(("field", "raw", "code"), BAD_VALUES)
def test_single_reading_names_the_bad_field(field, raw, code):
    assert verdict(record(**{field: raw})) == (code, field)


@pytest.mark.parametrize(("body", "code", "field"), BAD_RECORDS)
def test_single_reading_names_what_is_wrong_with_it(body, code, field):
    assert verdict(body) == (code, field)


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_is_malformed(body):
    assert verdict(body) == ("malformed", None)


@pytest.mark.parametrize("body", [NOT_JSON["cut"], NOT_JSON["trailing comma"], NOT_JSON["UTF-16"]])
def test_broken_line_costs_that_line(body):
    encoded = encode(record() + b"\n" + body.replace(b"\n", b"") + b"\n" + record(), NDJSON)
    assert encoded.records == 2
    assert [(one.index, one.code) for one in encoded.rejected] == [(1, "malformed")]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "malformed", None),
        (b"[" + record(), "malformed", None),
        (b"[" + record() + b",]", "malformed", None),
        (b"[" + record() + b"] x", "malformed", None),
        (b"[NaN" + b'"' * 9, "malformed", None),
        (b"5", "not_an_array", None),
        (b'"text"', "not_an_array", None),
        (b"null", "not_an_array", None),
        (record(), "not_an_array", "x"),
        (b'{"x": [NaN], "y": 5, "z": [1]}', "not_an_array", "y"),
        (b'{"x": [1], "no plain name": 5}', "not_an_array", None),
        (b'{"x": [1], "y": [1], "z": [1, 2]}', "unequal_columns", "z"),
        (b'{"x": [1], "y": [1], "z": [1], "timestamp": []}', "unequal_columns", "timestamp"),
        (b'{"x": [1], "y": [1], "z": [1], "no plain name": []}', "unequal_columns", None),
        (b'{"x": [1], "y": [1], "z": [1]', "malformed", None),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(body, code, field):
    with pytest.raises(InvalidRecord) as caught:
        encode(body)
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{}", "missing", "x"),
        (b'{"x": null, "y": null, "z": null}', "not_a_number", "x"),
        (b'{"x": [1], "y": [1]}', "missing", "z"),
        (b'{"x": [1], "y": [1], "z": [1], "speed": [1]}', "unknown_field", "speed"),
        (b'{"x": [1], "y": [1], "z": [1], "speed": null}', "unknown_field", "speed"),
        (rb'{"x": [1], "y": [1], "z": [1], "\ud800": [1]}', "unknown_field", None),
    ],
)
def test_column_that_should_not_be_there_costs_every_row(body, code, field):
    encoded = encode(body)
    assert encoded.records == 0
    assert [(one.index, one.code, one.field) for one in encoded.rejected] == [(0, code, field)]


@pytest.mark.parametrize(
    "body", [b"[" * 200_000 + b"]" * 200_000, b'{"x":' * 200_000, b'[{"x": ' + b"[" * 200_000, b"[" * 200_000]
)
def test_deep_nesting_is_refused_without_harm(body):
    for media_type in (JSON, NDJSON):
        found = attempt(encode, body, media_type)
        refused = found.code == "malformed" if isinstance(found, InvalidRecord) else found.records == 0
        assert refused, found
    assert verdict(body)[0] in {"not_an_object", "not_a_number", "malformed"}


@pytest.mark.parametrize(
    ("raw", "value"), [(b"-0.0", -0.0), (b"1e-400", 0.0), (b"1e308", 1e308), (b"5e-324", 5e-324), (b"7", 7.0)]
)
def test_number_at_the_edge_is_kept_as_the_nearest_float(raw, value):
    reading = Decoder(Reading, "timestamp").one(record(x=raw))
    assert (reading.x, math.copysign(1, reading.x)) == (value, math.copysign(1, value))


@pytest.mark.parametrize(
    "raw",
    [
        b'"1990-01-01T00:00:00Z"',
        b'"1989-12-31T10:00:00-14:00"',
        b'"2025-05-09T06:13:20Z"',
        b'"2025-05-01T00:00:00+14:00"',
    ],
)
def test_timestamp_at_the_edge_is_kept(raw):
    assert len(verdict(record(timestamp=raw))) == len(verdict(record()))


def test_last_of_two_valid_values_wins():
    """As in every JSON parser that does not refuse it; what matters is that both formats agree."""
    twice = b'{"x": 1, "x": 2, "y": 2, "z": 3}'
    assert verdict(twice) == verdict(record(x=b"2"))
    assert encode(b"[" + twice + b", NaN]").rows == verdict(twice)


@given(st.binary() | st.text().map(str.encode) | json_values, st.sampled_from([JSON, NDJSON, "", "text/plain"]))
def test_random_bytes_raise_nothing_but_invalid_record(body, media_type):
    for decode in (encode, gateway, lambda body, _: encode_one(body, KEY, NOW, BOUNDS)):
        found = attempt(decode, body, media_type)
        assert not isinstance(found, InvalidRecord) or found.code in EXPLANATIONS


@given(st.data())
def test_mangled_batch_raises_nothing_but_invalid_record(data):
    """Nearly valid bodies reach deeper than random ones."""
    whole = [columns([GOOD] * 2), *(body for body, _ in in_each_format([record()] * 2))]
    body = bytearray(data.draw(st.sampled_from(whole)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"NaN", rb"\ud800", b"\xff", b'"', b"\\", b"{", b"]", b"1e999", b"null", b"\x00"])
        )
    for media_type in (JSON, NDJSON):
        found = attempt(encode, bytes(body), media_type)
        if isinstance(found, InvalidRecord):
            assert found.code in EXPLANATIONS
        else:
            assert len(split_rows(found.rows)) == found.records


@pytest.mark.parametrize("size", [3, 4])
def test_limit_counts_good_and_bad_records_alike(size):
    table = [GOOD | {"x": b"1" if row else b"NaN"} for row in range(size)]
    good = [GOOD] * size
    for rows in (table, good):
        for body, media_type in [*in_each_format([record(**one) for one in rows]), (columns(rows), JSON)]:
            if size <= 3:
                encoded = encode(body, media_type, limit=3)
                assert encoded.records + len(encoded.rejected) == size
            else:
                with pytest.raises(TooLarge):
                    encode(body, media_type, limit=3)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"{}"] * 1_000_000) + b"]",
        b"[" + b",".join([b"NaN"] * 500_000) + b"]",
        b"[" + b'""' * 1_000_000 + b"NaN",
        b'["' + b'\\"' * 1_000_000,
        b'["' + rb"\ud800" * 300_000 + b'"]',
        b'["' + rb"\ud8zz" * 300_000 + b'"]',
        b'{"x": [NaN' + b",1" * 500_000 + b'], "y": [1], "z": [1]}',
    ],
    ids=["empty objects", "NaNs", "texts", "open text", "half pairs", "broken escapes", "columns"],
)
def test_hostile_body_gets_its_verdict(body):
    """While it is decoded nobody else is answered; one that took quadratic time would not end in this test's life."""
    found = attempt(encode, body, limit=10_000)
    assert isinstance(found, InvalidRecord | TooLarge) or found.records == 0


@pytest.mark.parametrize("media_type", [JSON, NDJSON])
def test_dead_record_can_be_shown_as_it_was_sent(media_type):
    sent = [record(), b'{"x": "9", "y": 2, "z": 3}', record(x=b"12345678901234567890")]
    body = next(body for body, kind in in_each_format(sent) if kind == media_type)
    assert [one.strip() for one in items(body, media_type, FIELDS)] == sent


@pytest.mark.parametrize("broken", [b"NaN", b"Infinity", b"-Infinity", rb'"\ud800"'])
@pytest.mark.parametrize("form", [0, 1], ids=["array", "columns"])
def test_largest_batch_without_a_good_value_gets_a_verdict_for_each_record(broken, form):
    table = [dict.fromkeys(GOOD, broken)] * 10_000
    body = columns(table) if form else b"[" + b", ".join([record(**one) for one in table]) + b"]"
    encoded = encode(body, limit=10_000)
    assert (encoded.records, len(encoded.rejected)) == (0, 10_000)
    assert {(one.code, one.field) for one in encoded.rejected} <= {("not_finite", "x"), ("not_a_number", "x")}


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"NaN," * 1_000_000,
        b"[" + b",".join([b"NaN"] * 1_000_000) + b"]",
        b"[" + b",".join([rb'"\ud800"'] * 400_000) + b"]",
        b'["' + rb"\ud800" * 600_000 + b'"]',
    ],
    ids=["NaNs that never end", "NaNs", "half pairs", "one text of half pairs"],
)
def test_body_of_nothing_but_what_json_lacks_is_malformed_and_not_worked_through(body):
    found = attempt(encode, body, limit=10_000)
    assert isinstance(found, InvalidRecord)
    assert found.code == "malformed"


def test_unknown_column_hides_no_fault_before_it():
    encoded = encode(b'{"x": ["one", 1], "speed": null, "y": [true, 2], "more": [1, 2], "z": [3, 3]}')
    assert [(one.index, one.code, one.field) for one in encoded.rejected] == [
        (0, "not_a_number", "x"),
        (1, "unknown_field", "speed"),
    ]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ([f"k{number}" for number in range(5_000)], "k0"),
        (["a" * 1_000_000], None),
        (["\0" * 100_000], None),
    ],
    ids=["many", "long", "escaped"],
)
def test_columns_take_no_more_than_was_sent_warrants(more, field):
    """A row of each of these names it: 10,000 rows would be half a gigabyte, ten, and six."""
    table = {axis: [1] * 10_000 for axis in "xyz"}
    body = json.dumps(dict.fromkeys(more) | table).encode()
    tracemalloc.start()
    try:
        encoded = encode(body, limit=10_000)
        sent = items(body, JSON, FIELDS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000
    assert encoded.records == 0
    assert {(one.code, one.field) for one in encoded.rejected} == {("unknown_field", field)}
    assert len(encoded.rejected) == len(sent) == 10_000
    assert {"x": 1, "y": 1, "z": 1}.items() <= json.loads(sent[-1]).items()


def test_dead_row_of_columns_is_shown_as_a_record():
    body = columns([GOOD, GOOD | {"x": b'"nine"'}])
    assert json.loads(items(body, JSON, FIELDS)[1]) == {"x": "nine", "y": 2, "z": 3, "timestamp": None}
