"""A dry run judges lines by the API's own rules."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.importing.events_file import EventsFile
from cli.importing.lines import Reject
from cli.importing.readings_file import ReadingsFile
from cli.importing.sending import Outcome, judged
from cli.importing.sources import Events, Readings
from shared.config import Settings

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def verdict(source):
    """What becomes of a source that is one chunk, or one reject."""
    (found,) = judged(source)
    return found


def readings(*lines):
    return Readings(ReadingsFile(iter(["device,timestamp,x,y,z\n", *lines])), 100, Settings(), "a@b.org", pytest.fail)


def of_readings(*rows, device="a"):
    lines = [f"{device},{timestamp},{x},2,3\n" for timestamp, x in rows]
    return verdict(readings(*lines))


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
    found = of_readings(good, (timestamp, x), good)
    assert found.accepted == 2
    assert found.rejects == [Reject(3, field, code)]


@pytest.mark.parametrize(
    ("name", "code"),
    [(" ", "missing"), ("a\x00", "not_a_name"), ("caf\ufffd", "not_a_name"), ("a" * 201, "not_a_name")],
)
def test_device_without_a_proper_name_costs_its_lines(name, code):
    found = of_readings(("2026-01-01T00:00:00Z", "1"), device=name)
    assert (found.accepted, [(reject.field, reject.code) for reject in found.rejects]) == (0, [("device", code)])


def test_line_without_its_columns_is_passed_on():
    assert verdict(readings("a,1\n")).rejects == [Reject(2, None, "columns")]


@pytest.mark.parametrize(
    ("cells", "field", "code"),
    [
        (",u,view,2026-01-01T00:00:00Z,UA", "event_id", "not_a_uuid"),
        ("2,,view,2026-01-01T00:00:00Z,UA", "user_id", "empty"),
        ("2,u,,2026-01-01T00:00:00Z,UA", "event_type", "empty"),
        ("2,u,view,2026-01-01T00:00:00,UA", "occurred_at", "timestamp_without_offset"),
        ("2,u,view,,UA", "occurred_at", "not_a_timestamp"),
        (f"2,u,view,2026-01-01T00:00:00Z,{'x' * 100_000}", "properties", "too_many_bytes"),
    ],
)
def test_bad_event_costs_its_own_line(cells, field, code):
    good = "{},u,view,2026-01-01T00:00:00Z,UA\n"
    header = "event_id,user_id,event_type,occurred_at,country\n"
    found = verdict(Events(EventsFile(iter([header, good.format(1), cells + "\n", good.format(3)])), 100, Settings()))
    assert found.accepted == 2
    assert found.rejects == [Reject(3, field, code)]


def receipt(stored_at, records=10, **more):
    return {"status": "stored", "records": records, "stored_at": stored_at and stored_at.isoformat(), **more}


def test_what_was_stored_before_the_start_is_told_apart():
    outcome = Outcome(accepted=20)
    outcome.settle(receipt(STARTED - timedelta(seconds=1)), STARTED)
    outcome.settle(receipt(STARTED + timedelta(microseconds=1)), STARTED)
    assert (outcome.stored, outcome.already_stored, outcome.left_out) == (10, 10, 0)


def test_what_another_submission_had_stored_is_told_apart():
    outcome = Outcome(accepted=10)
    outcome.settle(receipt(STARTED + timedelta(seconds=1), records=3, duplicates=7), STARTED)
    assert (outcome.stored, outcome.already_stored, outcome.left_out) == (3, 7, 0)


def test_readings_accepted_under_a_key_spent_on_fewer_are_noticed():
    outcome = Outcome(accepted=10)
    outcome.settle(receipt(STARTED, records=7, dead=[{"code": "out_of_range"}]), STARTED)
    assert (outcome.stored, outcome.dead_lettered, outcome.left_out) == (7, 1, 2)
