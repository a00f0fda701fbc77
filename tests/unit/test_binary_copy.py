"""What PostgreSQL copies out is read as it is: any text, any number, NULL, however the rows are gathered."""

import struct
from datetime import UTC, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.binary_copy import BinaryCopy
from shared.streams.stream import COPY_HEADER, COPY_TRAILER, PG_EPOCH

SCHEMA = pa.schema(
    [
        ("key", pa.int32()),
        ("text", pa.string()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("other", pa.string()),
        ("number", pa.float64()),
    ]
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.sampled_from(
    ["", "\r\n", "\n", "\r", '"', '""', ",", "\ufeff", "a\r\n", "\\N", "\\.", "NULL"]
)
records = st.tuples(
    st.none() | st.integers(-(1 << 31), (1 << 31) - 1),
    st.none() | texts,
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.none() | texts,
    st.none() | st.floats(allow_nan=False),
)


def field(data):
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def copied(record):
    """A row as PostgreSQL sends it."""
    key, text, time, other, number = record
    microseconds = None if time is None else (time - PG_EPOCH) // timedelta(microseconds=1)
    fields = [
        None if key is None else struct.pack(">i", key),
        None if text is None else text.encode(),
        None if time is None else struct.pack(">q", microseconds),
        None if other is None else other.encode(),
        None if number is None else struct.pack(">d", number),
    ]
    return struct.pack(">h", len(fields)) + b"".join(map(field, fields))


def read(messages, most_rows=1000, most_bytes=1 << 20):
    batches = []
    rows = BinaryCopy(SCHEMA, batches.append, most_rows=most_rows, most_bytes=most_bytes)
    for message in messages:
        assert rows.write(message) == len(message)
    rows.flush()
    return batches


def sent(rows):
    """The messages of a COPY: the header comes with the first row."""
    messages = [*rows, COPY_TRAILER]
    return [COPY_HEADER + messages[0], *messages[1:]]


@settings(max_examples=300)
@given(st.lists(records, max_size=30), st.integers(1, 7), st.integers(1, 300))
def test_rows_are_what_they_were(wanted, most_rows, most_bytes):
    batches = read(sent([copied(one) for one in wanted]), most_rows, most_bytes)
    found = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    assert found == wanted
    assert all(batch.num_rows <= most_rows for batch in batches)
    for batch in batches:
        batch.validate(full=True)


def test_nothing_is_no_batch():
    assert read(sent([])) == []


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([b"PGCOPY"], id="no header"),
        pytest.param(sent([struct.pack(">h", 4) + bytes(20)]), id="another number of columns"),
        pytest.param(sent([copied((1, "a", None, "b", 1.0))[:-1]]), id="cut"),
        pytest.param(sent([copied((1, "a", None, "b", 1.0)) + b"x"]), id="more than its columns"),
        pytest.param(sent([b"\0\5"]), id="too short"),
        pytest.param(
            sent([struct.pack(">h", 5) + field(bytes(8)) + field(b"") + field(None) + field(b"") + field(None)]),
            id="a number of another width",
        ),
        pytest.param(sent([struct.pack(">hi", 5, 1 << 30) + bytes(40)]), id="longer than its row"),
    ],
)
def test_what_is_no_row_of_these_columns_is_refused(messages):
    with pytest.raises(ValueError, match=r"columns|format|cut|is no"):
        read(messages)
