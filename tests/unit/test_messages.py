"""A message carries each submission whole, and each under its own receipt."""

import time
from uuid import UUID, uuid4

import pytest
from factories import row
from hypothesis import given
from hypothesis import strategies as st

from shared.broker.messages import (
    DIGEST_BYTES,
    DIGESTS,
    KEYED,
    RECORDS,
    Group,
    Series,
    digest_of,
    foreign_receipt,
    keyed_receipt,
    made_at,
    new_receipt,
    segments,
)
from shared.streams import READINGS

SIZE, COUNT = len(row(1, 0, 1.0)), READINGS.count

#: What one request brings: how many records, and whether under an Idempotency-Key.
submissions = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=12)


def gather(sent):
    """A group of submissions, and what must be found under each receipt."""
    group = Group(READINGS, opened=0.0)
    expected = {UUID(group.receipt): b""}
    for number, (records, keyed) in enumerate(sent):
        rows = bytes([number + 1]) * records * SIZE
        kept_under = group.add(rows, records, uuid4() if keyed else None)
        kept_under, _, place = kept_under.partition("?")
        assert (kept_under == group.receipt) is not keyed
        assert bool(place) is not keyed
        expected[UUID(kept_under)] = expected.get(UUID(kept_under), b"") + rows
    return group, expected


def read(group):
    body, headers = group.body(), group.properties().headers
    return body, segments(UUID(group.receipt), headers[RECORDS], body, bytes(headers.get(KEYED, b"")), COUNT)


@given(submissions)
def test_segments_give_back_every_submission(sent):
    group, expected = gather(sent)
    body, found = read(group)
    assert {one.receipt: body[one.start : one.end] for one in found} == expected
    assert all(one.records * SIZE == one.end - one.start for one in found)


@given(submissions)
def test_segments_cover_the_body_without_a_gap(sent):
    group, _ = gather(sent)
    body, found = read(group)
    assert found[0].receipt == UUID(group.receipt)
    assert [one.start for one in found] == [0, *(one.end for one in found[:-1])]
    assert found[-1].end == len(body) == group.size
    assert sum(one.records for one in found) == group.records


def test_digest_of_each_keyed_submission_comes_along():
    group, first, second = Group(READINGS, opened=0.0), uuid4(), uuid4()
    group.add(bytes(SIZE), 1)
    group.add(bytes(SIZE), 1, first, digest_of(b"first"))
    group.add(bytes(SIZE), 1, second)  # by one who knows of no digests
    headers, body = group.properties().headers, group.body()
    found = segments(UUID(group.receipt), 3, body, bytes(headers[KEYED]), COUNT, bytes(headers[DIGESTS]))
    assert [one.digest for one in found] == [None, digest_of(b"first"), None]
    found = segments(UUID(group.receipt), 3, body, bytes(headers[KEYED]), COUNT)  # and by one of a version before
    assert [one.digest for one in found] == [None] * 3
    with pytest.raises(ValueError, match="header of digests"):
        segments(UUID(group.receipt), 3, body, bytes(headers[KEYED]), COUNT, bytes(DIGEST_BYTES))


def test_two_submissions_under_one_key_stay_two():
    """Which of them is a duplicate is for the database to say."""
    receipt, group = uuid4(), Group(READINGS, opened=0.0)
    for byte in (b"a", b"b"):
        group.add(byte * SIZE, 1, receipt)
    body, found = read(group)
    assert [(one.receipt, body[one.start : one.end]) for one in found[1:]] == [
        (receipt, b"a" * SIZE),
        (receipt, b"b" * SIZE),
    ]


@given(submissions, st.binary(max_size=80), st.integers(0, 70), st.integers(0, 5000))
def test_header_that_does_not_fit_the_body_is_noticed(sent, keyed, records, size):
    """Whatever another producer writes there: a ValueError, or segments inside the body."""
    try:
        found = segments(uuid4(), records, bytes(size), keyed, COUNT)
    except ValueError:
        return
    assert all(0 <= one.start <= one.end <= size for one in found)
    assert all(one.end - one.start == one.records * SIZE for one in found)
    assert sum(one.records for one in found) == records


@pytest.mark.parametrize(
    ("records", "size", "keyed"),
    [
        (2, 2 * SIZE - 1, b""),
        (2, 2 * SIZE, b"cut"),
        (2, 2 * SIZE, bytes(16) + (3).to_bytes(4, "big") + (SIZE).to_bytes(4, "big")),
        (2, 2 * SIZE, bytes(16) + (1).to_bytes(4, "big") + (3 * SIZE).to_bytes(4, "big")),
        (2, 2 * SIZE, bytes(16) + (2).to_bytes(4, "big") + (SIZE).to_bytes(4, "big")),
    ],
    ids=["cut body", "cut header", "too many records", "too many bytes", "records and bytes disagree"],
)
def test_message_that_contradicts_itself_is_refused(records, size, keyed):
    with pytest.raises(ValueError, match=r"body|message|header|rows"):
        segments(uuid4(), records, bytes(size), keyed, COUNT)


def test_message_survives_the_broker_and_says_what_it_is():
    group, _ = gather([(1, False), (2, True)])
    properties = group.properties()
    assert properties.delivery_mode == 2
    assert (properties.message_id, properties.message_type) == (group.receipt, "readings/1")
    properties.marshal()  # every header has a form that AMQP knows


def test_receipt_is_a_uuid_of_version_7():
    receipt = new_receipt()
    assert (receipt.version, receipt.variant) == (7, uuid4().variant)


def test_receipts_are_in_the_order_of_their_milliseconds(monkeypatch):
    moments = [0, 1, 999_999, 1_700_000_000_000_000_000, 1_700_000_000_001_000_000, (2**48 - 1) * 1_000_000]
    receipts = []
    for moment in moments:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        receipts.append(new_receipt())
    assert [receipt.int >> 80 for receipt in receipts] == [moment // 1_000_000 for moment in moments]
    assert {(receipt.version, receipt.variant) for receipt in receipts} == {(7, uuid4().variant)}


def test_receipt_tells_when_it_was_made_unless_it_was_derived():
    before = time.time()
    made = made_at(new_receipt())
    assert made is not None
    assert before - 0.001 <= made.timestamp() <= time.time()
    assert made_at(keyed_receipt(READINGS, "device", "key")) is None
    assert made_at(UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")) is not None


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_every_message_of_a_series_tells_of_all_before_it(sizes):
    series = Series(minute=1)
    for number, size in enumerate(sizes):
        group = Group(READINGS, opened=0.0)
        group.add(bytes(size * SIZE), size)
        group.join(series)
        headers = group.properties().headers
        assert (headers["series"], headers["reached"]) == (series.id, sum(sizes[: number + 1]))
        series.confirmed = group.reached


def test_receipts_of_one_moment_differ():
    assert len({new_receipt() for _ in range(10_000)}) == 10_000


@given(st.text(), st.text(), st.text(), st.text())
def test_receipt_of_a_key_is_the_same_for_the_same_sender_only(scope, key, other_scope, other_key):
    receipt = keyed_receipt(READINGS, scope, key)
    assert receipt == keyed_receipt(READINGS, scope, key)
    if ":" not in scope + other_scope and (scope, key) != (other_scope, other_key):
        assert receipt != keyed_receipt(READINGS, other_scope, other_key)


def test_foreign_ids_become_receipts_and_stay_apart():
    own = uuid4()
    assert foreign_receipt(READINGS, "", str(own)) == own
    assert len({own, *(foreign_receipt(READINGS, producer, str(own)) for producer in "pq")}) == 3
    assert foreign_receipt(READINGS, "p", str(own).upper()) == foreign_receipt(READINGS, "p", str(own))
    first = foreign_receipt(READINGS, "p", "1")
    assert first == foreign_receipt(READINGS, "p", "1")
    assert len({first, foreign_receipt(READINGS, "p", "2"), foreign_receipt(READINGS, "q", "1")}) == 3
