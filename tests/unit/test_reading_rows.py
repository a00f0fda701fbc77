"""Readings become rows that say bit for bit what was sent."""

import json
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.streams.readings import ROW_BYTES, decode, decode_of_device, encode_one
from shared.streams.stream import TimeBounds, microseconds, split_rows

JSON = "application/json"
NOW = 800_000_000_000_000
BOUNDS = TimeBounds(-(10**18), 10**18)

#: A row as PostgreSQL's documentation has it: number of fields, then each field after its length.
ROW = struct.Struct(">h" + "i4s" + "i8s" * 4)

numbers = st.floats(allow_nan=False, allow_infinity=False)
keys = st.integers(1, 2**31 - 1)
moments = st.datetimes(timezones=st.timezones() | st.just(UTC), allow_imaginary=False)


def unpack(row):
    """Key, microseconds and the bytes of x, y, z, after a look at the lengths."""
    fields, *pairs = ROW.unpack(row)
    lengths, values = pairs[::2], pairs[1::2]
    assert (fields, lengths) == (5, [4, 8, 8, 8, 8])
    key, time, *axes = values
    return int.from_bytes(key, "big", signed=True), int.from_bytes(time, "big", signed=True), axes


def packed(*values):
    return [struct.pack(">d", value) for value in values]


@given(numbers, numbers, numbers, keys, st.integers(0, 10**15))
def test_row_holds_the_very_bits_that_were_sent(x, y, z, key, now):
    body = json.dumps({"x": x, "y": y, "z": z}).encode()
    expected = (key, now, packed(x, y, z))
    assert unpack(encode_one(body, key, now, BOUNDS)) == expected
    (row,) = split_rows(decode_of_device(b"[" + body + b"]", JSON, now, BOUNDS, key).rows)
    assert unpack(row) == expected


@given(moments)
def test_row_holds_the_moment_that_was_meant(moment):
    # PostgreSQL counts from its own epoch; Python's arithmetic on aware datetimes is the reference.
    body = json.dumps({"x": 0, "y": 0, "z": 0, "timestamp": moment.replace(microsecond=7).isoformat()}).encode()
    if moment.utcoffset() % timedelta(minutes=1):
        return  # RFC 3339 has no seconds in an offset
    _, time, _ = unpack(encode_one(body, 1, NOW, BOUNDS))
    since = moment.replace(microsecond=7) - datetime(2000, 1, 1, tzinfo=UTC)
    assert timedelta(microseconds=time) == since


def test_epoch_is_zero_and_a_microsecond_is_one():
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    assert [microseconds(epoch + timedelta(microseconds=step)) for step in (-1, 0, 1)] == [-1, 0, 1]


def test_reading_without_a_timestamp_counts_as_taken_now():
    bodies = [b'{"x": 1, "y": 2, "z": 3}', b'{"x": 1, "y": 2, "z": 3, "timestamp": null}']
    assert [unpack(encode_one(body, 1, NOW, BOUNDS))[1] for body in bodies] == [NOW, NOW]
    rows = split_rows(decode_of_device(b"[" + b",".join(bodies) + b"]", JSON, NOW, BOUNDS, 1).rows)
    assert [unpack(row)[1] for row in rows] == [NOW, NOW]


@given(st.lists(st.tuples(st.sampled_from([UUID(int=1), UUID(int=2), UUID(int=3)]), numbers), min_size=1, max_size=9))
def test_gateway_rows_belong_to_the_devices_they_name(sent):
    known = {UUID(int=1): 11, UUID(int=2): 22}
    batch = [{"x": x, "y": 0, "z": 0, "device_id": str(device)} for device, x in sent]
    table = {name: [one[name] for one in batch] for name in ("x", "y", "z", "device_id")}
    for body in (batch, table):
        submission = decode(json.dumps(body).encode(), JSON, NOW, BOUNDS)
        assert submission.device_ids == {device for device, _ in sent}
        encoded = submission.encode(known)
        found = [(key, axes[0]) for key, _, axes in map(unpack, split_rows(encoded.rows))]
        assert found == [(known[device], *packed(x)) for device, x in sent if device in known]
        strangers = [index for index, (device, _) in enumerate(sent) if device not in known]
        assert [(one.index, one.code, one.field) for one in encoded.rejected] == [
            (index, "unknown_device", "device_id") for index in strangers
        ]


@pytest.mark.parametrize("device", [None, 5, True, "", "device", f"urn:uuid:{uuid4()}", f"{{{uuid4()}}}", [], {}])
def test_device_that_is_no_uuid_costs_its_record(device):
    good = {"x": 1, "y": 2, "z": 3, "device_id": str(UUID(int=1))}
    for body in ([good, good | {"device_id": device}], _columns([good, good | {"device_id": device}])):
        encoded = decode(json.dumps(body).encode(), JSON, NOW, BOUNDS).encode({UUID(int=1): 1})
        assert encoded.records == 1
        assert [(one.index, one.code, one.field) for one in encoded.rejected] == [(1, "not_a_uuid", "device_id")]


def test_reading_of_a_device_must_not_name_one():
    encoded = decode_of_device(
        b'[{"x": 1, "y": 2, "z": 3, "device_id": "00000000-0000-0000-0000-000000000001"}]', JSON, NOW, BOUNDS, 1
    )
    assert [(one.code, one.field) for one in encoded.rejected] == [("unknown_field", "device_id")]


def test_rejected_records_are_listed_in_the_order_they_were_sent():
    bounds = TimeBounds(NOW - 10, NOW + 10)
    faults = ['"timestamp": "1999-01-01T00:00:00Z"', '"speed": 1', '"timestamp": "2100-01-01T00:00:00Z"', '"x": NaN']
    batch = "[" + ", ".join(f'{{"x": 1, "y": 2, "z": 3, {fault}}}' for fault in faults) + "]"
    rejected = decode_of_device(batch.encode(), JSON, NOW, bounds, 1).rejected
    codes = ["timestamp_too_old", "unknown_field", "timestamp_too_far_ahead", "not_finite"]
    assert [(one.index, one.code) for one in rejected] == list(enumerate(codes))


@given(st.lists(st.lists(st.none() | st.binary(max_size=20), min_size=1, max_size=6), max_size=8))
def test_split_rows_undoes_their_joining(table):
    def pack(field):
        return struct.pack(">i", -1) if field is None else struct.pack(">i", len(field)) + field

    rows = [struct.pack(">h", len(row)) + b"".join(map(pack, row)) for row in table]
    assert split_rows(b"".join(rows)) == rows


@given(st.integers(1, 5), st.data())
def test_rows_that_are_cut_are_noticed(count, data):
    rows = encode_one(b'{"x": 1, "y": 2, "z": 3}', 1, NOW, BOUNDS) * count
    cut = data.draw(st.integers(1, len(rows) - 1).filter(lambda at: at % ROW_BYTES))
    with pytest.raises(ValueError, match=r"cut|garbled"):
        split_rows(rows[:cut])


@pytest.mark.parametrize("rows", [b"\0\0", b"\xff\xff", b"\0", b"\0\1\0\0\0\5abc", b"\0\1\x7f\xff\xff\xff"])
def test_garbled_rows_are_noticed(rows):
    with pytest.raises(ValueError, match=r"cut|garbled"):
        split_rows(rows)


def test_row_is_as_long_as_the_stream_says():
    assert len(encode_one(b'{"x": 1, "y": 2, "z": 3}', 1, NOW, BOUNDS)) == ROW_BYTES


def _columns(records):
    return {name: [one[name] for one in records] for name in records[0]}
