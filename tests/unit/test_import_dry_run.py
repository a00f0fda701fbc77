"""A dry run judges lines by the API's own rules."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.importing import Outcome, judge
from cli.readings_file import Chunk, Reject
from shared.config import Settings

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def judged(*rows, device="a"):
    chunk = Chunk(device)
    for number, (timestamp, x) in enumerate(rows, start=2):
        chunk.add(number, timestamp, x, "2", "3")
    return judge(chunk, Settings())


@pytest.mark.parametrize(
    ("timestamp", "x", "field", "code"),
    [
        ("2026-01-01T00:00:00Z", "one", "x", "not_a_number"),
        ("2026-01-01T00:00:00Z", "inf", "x", "not_a_number"),
        ("2026-01-01T00:00:00Z", "", "x", "not_a_number"),
        ("2026-01-01T00:00:00", "1", "timestamp", "timestamp_without_offset"),
        ("yesterday", "1", "timestamp", "not_a_timestamp"),
        ("", "1", "timestamp", "not_a_timestamp"),
        ("1970-01-01T00:00:00Z", "1", "timestamp", "timestamp_too_old"),
        ("2999-01-01T00:00:00Z", "1", "timestamp", "timestamp_too_far_ahead"),
    ],
)
def test_bad_line_costs_one_line(timestamp, x, field, code):
    good = ("2026-01-01T00:00:00+02:00", "1.5")
    found = judged(good, (timestamp, x), good)
    assert found.accepted == 2
    assert found.rejects == [Reject(3, field, code, ("a", timestamp, x, "2", "3"))]


@pytest.mark.parametrize(
    ("name", "code"),
    [(" ", "missing"), ("a\x00", "not_a_name"), ("caf\ufffd", "not_a_name"), ("a" * 201, "not_a_name")],
)
def test_device_without_a_proper_name_costs_its_lines(name, code):
    found = judged(("2026-01-01T00:00:00Z", "1"), device=name)
    assert (found.accepted, [(reject.field, reject.code) for reject in found.rejects]) == (0, [("device", code)])


def test_line_without_its_columns_is_passed_on():
    reject = Reject(2, None, "columns", ("a",))
    assert judge(reject, Settings()).rejects == [reject]


def receipt(stored_at, records=10, **more):
    return {"status": "stored", "records": records, "stored_at": stored_at and stored_at.isoformat(), **more}


def test_what_was_stored_before_the_start_is_told_apart():
    outcome = Outcome(accepted=20)
    outcome.settle(receipt(STARTED - timedelta(seconds=1)), STARTED)
    outcome.settle(receipt(STARTED + timedelta(microseconds=1)), STARTED)
    assert (outcome.stored, outcome.already_stored, outcome.left_out) == (10, 10, 0)


def test_readings_accepted_under_a_key_spent_on_fewer_are_noticed():
    outcome = Outcome(accepted=10)
    outcome.settle(receipt(STARTED, records=7, dead=[{"code": "out_of_range"}]), STARTED)
    assert (outcome.stored, outcome.dead_lettered, outcome.left_out) == (7, 1, 2)
