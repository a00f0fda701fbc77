"""From a dead letter back to records: what was sent, bit by bit, and never more of it."""

import json
import struct
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from factories import row
from hypothesis import given
from hypothesis import strategies as st

from shared.streams import READINGS
from shared.streams.decoding import NDJSON
from shared.streams.letters import dated, device_keys, device_of, joined, records_of, shown
from shared.streams.readings import ROW_BYTES
from shared.streams.stream import COPY, JSON, TimeBounds, microseconds

DEVICE = uuid4()
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BOUNDS = TimeBounds(microseconds(datetime(1, 1, 1, tzinfo=UTC)), microseconds(datetime(9999, 12, 31, tzinfo=UTC)))
AXIS = st.floats(allow_nan=False, allow_infinity=False)


def records(body: bytes, content_type: str = JSON, devices: dict[int, UUID] | None = None, *, whole: bool = False):
    return records_of(READINGS, body, content_type, devices or {7: DEVICE}, whole=whole)


@given(AXIS, AXIS, AXIS, st.datetimes(timezones=st.just(UTC), max_value=datetime(9999, 1, 1)))  # noqa: DTZ001 - the strategy adds the zone
def test_row_becomes_json_and_the_same_row_again(x: float, y: float, z: float, moment: datetime) -> None:
    sent = row(7, microseconds(moment), x, y, z)
    found = records(sent, COPY)
    submission = READINGS.decode(joined(found), JSON, 0, BOUNDS, 10)
    encoded = submission.encode({DEVICE: 7})
    assert (encoded.rows, encoded.rejected) == (sent, [])


def test_number_that_json_cannot_say_is_shown_as_text() -> None:
    (found,) = records(row(7, 0, float("nan"), float("inf"), float("-inf")), COPY)
    assert [shown(found)[axis] for axis in "xyz"] == ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(row(7, 0, 1.0)[:-1], id="cut"),
        pytest.param(b"x" * ROW_BYTES, id="garbage of the right length"),
        pytest.param(row(7, (1 << 63) - 1, 1.0), id="time that never ends"),
        pytest.param(row(8, 0, 1.0), id="device nobody knows"),
        pytest.param(row(7, 0, 1.0) + row(8, 0, 1.0), id="one device nobody knows"),
        pytest.param(struct.pack(">h", 4) + row(7, 0, 1.0)[2:], id="another number of fields"),
    ],
)
def test_rows_nobody_can_read_have_no_records(body: bytes) -> None:
    assert records(body, COPY, whole=True) is None


def test_rows_say_which_devices_they_need() -> None:
    assert device_keys(READINGS, row(7, 0, 1.0) + row(9, 0, 1.0), COPY) == {7, 9}
    assert device_keys(READINGS, b"garbage", COPY) == device_keys(READINGS, row(7, 0, 1.0), JSON) == set()


@pytest.mark.parametrize(
    "line",
    [b'{"x":1},{"x":2}', b'{"x":NaN}', b"\xff", b"", b'"text"', b"1,2", b"]", b'{"x":1}', b"[1,2]", b"null"],
)
def test_letter_of_one_record_is_replayed_as_one_record(line: bytes) -> None:
    assert len(json.loads(joined(records(line)))) == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'[{"x":1},{"x":2}]', JSON),
        (b'[{"x":1},{"x":2}]', ""),
        (b'{"x":[1,2]}', JSON),
        (b'{"x":1}\n\n{"x":2}\n', NDJSON),
    ],
)
def test_message_is_split_into_its_records_in_every_format(body: bytes, content_type: str) -> None:
    assert [shown(one) for one in records(body, content_type, whole=True)] == [{"x": 1}, {"x": 2}]


@pytest.mark.parametrize("body", [b"{nonsense", b"\xff\xfe", b"", b'{"x":[1],"y":[1,2]}', b"7"])
def test_message_that_is_no_batch_has_no_records(body: bytes) -> None:
    assert records(body, whole=True) is None


@pytest.mark.parametrize("record", [b'{"x":1}', b'{"x":1,"timestamp":null}'])
def test_record_without_a_time_is_given_one(record: bytes) -> None:
    assert shown(dated(READINGS, record, MOMENT)) == {"x": 1, "timestamp": "2026-01-02T03:04:05.678901Z"}


@pytest.mark.parametrize("record", [b'{ "timestamp": "when it rained" }', b'"text"', b"{nonsense", b"[]", b"5"])
def test_every_other_record_stays_as_it_is(record: bytes) -> None:
    assert dated(READINGS, record, MOMENT) == record


@pytest.mark.parametrize("device", [None, 5, "x", [], {}, "\ud800"])
def test_device_that_is_none_is_no_device(device: object) -> None:
    assert device_of(json.dumps({"device_id": device}).encode()) is None
    assert device_of(json.dumps(device).encode()) is None


def test_device_is_the_one_that_the_record_names() -> None:
    assert device_of(json.dumps({"device_id": str(DEVICE)}).encode()) == DEVICE
