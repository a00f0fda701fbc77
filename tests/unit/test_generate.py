"""Files that are made up can be imported, are the same for the same seed, and look like what they stand for."""

import csv
import gzip
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from cli import generated
from cli.importing.events_file import EventsFile
from cli.importing.readings_file import ReadingsFile
from cli.importing.sending import judged
from cli.importing.sources import Events, Readings
from cli.main import app
from shared.config import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(*arguments):
    done = CliRunner().invoke(app, ["generate", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(("kind", "of"), [("readings", "--devices"), ("events", "--users")])
def test_same_seed_makes_the_same_file_and_another_one_another(kind, of, tmp_path):
    files = [tmp_path / f"{name}.csv.gz" for name in ("one", "again", "other")]
    for file, seed in zip(files, (7, 7, 8), strict=True):
        assert run(kind, "--rows", 500, of, 9, "--seed", seed, "--out", file) == ""
    one, again, other = (file.read_bytes() for file in files)
    assert one == again
    assert one != other
    assert gzip.decompress(one).decode() == run(kind, "--rows", 500, of, 9, "--seed", 7)


@pytest.mark.parametrize("rows", [1, 2, 999, 5000])
@pytest.mark.parametrize("kind", ["readings", "events"])
def test_every_line_of_a_generated_file_is_accepted(kind, rows):
    lines = iter(run(kind, "--rows", rows).splitlines(keepends=True))
    if kind == "readings":
        source = Readings(ReadingsFile(lines), 1000, Settings(), "a@b.org", pytest.fail)
    else:
        source = Events(EventsFile(lines), 1000, Settings())
    outcomes = list(judged(source))
    assert sum(one.accepted for one in outcomes) == rows
    assert not any(one.rejects for one in outcomes)


def test_times_go_forward():
    for header, rows in (
        (generated.READINGS_HEADER, generated.readings(5000, 7, 1, START)),
        (generated.EVENTS_HEADER, generated.events(5000, 300, 1, START)),
    ):
        at = header.index("timestamp" if "timestamp" in header else "occurred_at")
        moments = [datetime.fromisoformat(row[at]) for row in rows]
        assert moments[0] >= START
        assert all(one <= other for one, other in pairwise(moments))


def test_readings_drift_slowly_have_the_resolution_of_a_sensor_and_gaps():
    by_device = defaultdict(list)
    for device, moment, *axes in generated.readings(60_000, 3, 1, START):
        by_device[device].append((datetime.fromisoformat(moment), axes))
    assert len(by_device) == 3
    for rows in by_device.values():
        steps = [after - before for (before, _), (after, _) in pairwise(rows)]
        assert Counter(steps).most_common(1)[0][0] == timedelta(seconds=1)
        assert max(steps) > timedelta(seconds=10)
        assert all(len(text.partition(".")[2]) == 2 for _, axes in rows for text in axes)
        values = [float(axes[0]) for _, axes in rows]
        jumps = [abs(after - before) for before, after in pairwise(values)]
        assert max(jumps) < (max(values) - min(values)) / 2


def test_events_go_down_a_funnel_in_the_country_of_their_user():
    rows = [dict(zip(generated.EVENTS_HEADER, row, strict=True)) for row in generated.events(20_000, 500, 1, START)]
    kinds = Counter(row["event_type"] for row in rows)
    assert kinds["view"] > kinds["add_to_cart"] > kinds["checkout"] > kinds["purchase"] > 0
    assert {bool(row["price"]) for row in rows if row["event_type"] == "purchase"} == {True}
    countries = defaultdict(set)
    for row in rows:
        countries[row["user_id"]].add(row["country"])
    assert all(len(found) == 1 for found in countries.values())
    assert len({row["event_id"] for row in rows}) == len(rows)


def test_users_come_back_less_the_longer_they_are_known():
    first, days = {}, defaultdict(set)
    for _, user, _, moment, *_ in generated.events(60_000, 3000, 1, START):
        day = (datetime.fromisoformat(moment) - START).days
        days[day].add(user)
        first.setdefault(user, day)
    cohort = {user for user, day in first.items() if day == 2}
    returned = [len(cohort & days[2 + later]) / len(cohort) for later in (1, 7, 20)]
    assert returned[0] > 2 * returned[1] > 2 * returned[2] > 0


def test_file_that_cannot_be_written_is_a_sentence(tmp_path):
    done = CliRunner().invoke(app, ["generate", "events", "--rows", "1", "--out", str(tmp_path / "no" / "file.csv")])
    assert done.exit_code == 2


def test_generated_text_is_plain_csv(tmp_path):
    file = tmp_path / "events.csv"
    run("events", "--rows", 10, "--out", file)
    with file.open(newline="") as text:
        assert len(list(csv.DictReader(text))) == 10
