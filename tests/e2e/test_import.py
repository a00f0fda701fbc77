"""A CSV file goes in by `weir import readings`, once, and comes out in `weir stats`."""

import csv
import json
import math
import random
import signal
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

ROOT = Path(__file__).parents[2]
WEIR = [sys.executable, "-m", "cli"]
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def weir(weir_url):
    """Run a command of `weir` against the API: exit code, parsed output, complaints."""

    def run(*arguments):
        command = [*WEIR, *map(str, arguments), "--url", weir_url, "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, json.loads(done.stdout or "null"), done.stderr

    return run


@pytest.fixture
def email():
    return f"{uuid4()}@example.org"


def rows_of(*devices, count=300, seed=1):
    """Readings of several devices in turn."""
    numbers = random.Random(seed)
    moments = [START + timedelta(milliseconds=20 * number) for number in range(count)]
    return [
        (device, moment.isoformat(), *(repr(numbers.uniform(-1e3, 1e3)) for _ in "xyz"))
        for moment in moments
        for device in devices
    ]


def written(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("device", "timestamp", "x", "y", "z"), *rows])
    return path


def brute_force(rows, device):
    found = {}
    for place, axis in enumerate("xyz", start=2):
        values = [float(row[place]) for row in rows if row[0] == device]
        found[axis] = {
            "min": min(values),
            "max": max(values),
            "count": len(values),
            "sum": math.fsum(values),
            "median": statistics.median(values),
        }
    return found


def test_imported_file_is_stored_once_and_its_statistics_are_exact(weir, email, tmp_path):
    rows = rows_of("left", "right")
    file = written(tmp_path / "readings.csv", rows)
    arguments = ("import", "readings", file, "--user", email, "--chunk", 64)

    code, first, complaints = weir(*arguments)
    assert code == 0, complaints
    assert (first["accepted"], first["rejected"], first["stored"], first["already_stored"]) == (600, 0, 600, 0)

    code, second, complaints = weir(*arguments)
    assert code == 0, complaints
    assert (second["accepted"], second["stored"], second["already_stored"]) == (600, 0, 600)

    for device in ("left", "right"):
        code, result, complaints = weir("stats", device, "--user", email)
        assert code == 0, complaints
        assert {axis: result[axis] for axis in "xyz"} == brute_force(rows, device)


def test_statistics_of_a_window_leave_out_the_rest(weir, email, tmp_path):
    rows = rows_of("a", count=100)
    weir("import", "readings", written(tmp_path / "readings.csv", rows), "--user", email)
    end = START + timedelta(milliseconds=20 * 49 + 10)
    code, result, complaints = weir(
        "stats", "a", "--user", email, "--start", "2026-01-01T00:00:00", "--end", end.isoformat()
    )
    assert code == 0, complaints
    assert {axis: result[axis] for axis in "xyz"} == brute_force(rows[:50], "a")


def test_statistics_are_asked_for_in_every_way(weir, weir_url, email, tmp_path):
    rows = [("a", (START + timedelta(seconds=number)).isoformat(), number, 0, 0) for number in range(121)]
    weir("import", "readings", written(tmp_path / "readings.csv", rows), "--user", email)
    asked = ["stats", "a", "--user", email, "--axes", "x", "--quantiles", "0.25", "--histogram", "2", "--bucket", "1m"]
    code, result, complaints = weir(*asked)
    assert code == 0, complaints
    assert result["x"]["quantiles"] == {"0.25": 30.0}
    assert result["x"]["histogram"] == {"edges": [0.0, 60.0, 120.0], "counts": [60, 61]}
    assert [bucket["x"]["count"] for bucket in result["buckets"]] == [60, 60, 1]
    shown = subprocess.run(
        [*WEIR, *asked, "--magnitude", "--url", weir_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "magnitude" in shown
    assert "2026-01-01T00:02:00+00:00" in shown
    code, _, complaints = weir("stats", "a", "--user", email, "--quantiles", "2")
    assert (code, "quantiles must be numbers between 0 and 1" in complaints) == (2, True)


def test_interrupted_import_goes_on_where_it_was(weir, weir_url, email, tmp_path):
    rows = rows_of("a", count=60_000)
    file = written(tmp_path / "readings.csv", rows)
    arguments = ["import", "readings", str(file), "--user", email, "--chunk", "10"]
    importing = subprocess.Popen([*WEIR, *arguments, "--url", weir_url], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_a_reading(weir_url, email)
        importing.send_signal(signal.SIGINT)
        _, complaints = importing.communicate(timeout=30)
    finally:
        importing.kill()
        importing.wait()
    assert importing.returncode == 130, complaints

    code, outcome, complaints = weir(*arguments)
    assert code == 0, complaints
    assert outcome["already_stored"] > 0
    assert outcome["stored"] + outcome["already_stored"] == len(rows)
    code, result, complaints = weir("stats", "a", "--user", email)
    assert code == 0, complaints
    assert {axis: result[axis] for axis in "xyz"} == brute_force(rows, "a")


def wait_for_a_reading(url, email, seconds=30):
    """Until the import is under way: the first readings of its device are stored."""
    deadline = time.monotonic() + seconds
    with httpx.Client(base_url=url) as http:
        while time.monotonic() < deadline:
            for user in http.get("/users/", params={"email": email}).json():
                for device in http.get("/devices/", params={"user_id": user["id"]}).json():
                    if http.get(f"/stats/{device['id']}/", params={"limit": 1}).json():
                        return
    pytest.fail("the import has stored nothing")


def test_rejected_lines_cost_nothing_but_themselves_and_can_be_mended(weir, email, tmp_path):
    rows = rows_of("a", count=100)
    spoilt = [list(row) for row in rows]
    spoilt[10][2] = "nan"
    spoilt[20][1] = "2026-01-01T00:00:00"
    spoilt[30][1] = "1970-01-01T00:00:00Z"
    spoilt[40] = spoilt[40][:4]
    file = written(tmp_path / "readings.csv", spoilt)
    rejects = tmp_path / "rejects.csv"

    code, outcome, complaints = weir("import", "readings", file, "--user", email, "--rejects", rejects)
    assert (code, outcome["accepted"], outcome["stored"], outcome["rejected"]) == (1, 96, 96, 4)
    assert "line 12: x must be a number" in complaints
    with rejects.open(newline="") as listed:
        found = list(csv.DictReader(listed))
    assert [(int(row["line"]), row["field"], row["code"]) for row in found] == [
        (12, "x", "not_a_number"),
        (22, "timestamp", "timestamp_without_offset"),
        (32, "timestamp", "timestamp_too_old"),
        (42, "", "columns"),
    ]

    mended = written(tmp_path / "mended.csv", [rows[number] for number in (10, 20, 30, 40)])
    code, _, complaints = weir("import", "readings", mended, "--user", email)
    assert code == 0, complaints
    _, result, _ = weir("stats", "a", "--user", email)
    assert {axis: result[axis] for axis in "xyz"} == brute_force(rows, "a")


def test_dry_run_says_the_same_and_leaves_nothing(weir, weir_url, email, tmp_path):
    rows = rows_of("a", count=100)
    rows[5] = ("a", "yesterday", "1", "2", "3")
    file = written(tmp_path / "readings.csv", rows)
    code, outcome, complaints = weir("import", "readings", file, "--user", email, "--dry-run")
    assert (code, outcome["accepted"], outcome["rejected"], outcome["stored"]) == (1, 99, 1, 0)
    assert "line 7: timestamp" in complaints
    assert httpx.get(f"{weir_url}/users/", params={"email": email}).json() == []


def written_events(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("event_id", "user_id", "event_type", "occurred_at", "country"), *rows])
    return path


def events(count, first=1, country="UA"):
    moments = [START + timedelta(seconds=number) for number in range(count)]
    return [
        (first + number, f"user {number % 7}", "view", moment.isoformat(), country)
        for number, moment in enumerate(moments)
    ]


def test_imported_events_are_stored_once_whatever_the_chunks(weir, running_weir, tmp_path):
    country = str(uuid4())  # of these events alone
    file = written_events(tmp_path / "events.csv", events(500, country=country))
    stored = "SELECT count(*), count(DISTINCT event_id) FROM events WHERE properties ->> 'country' = %s"

    code, first, complaints = weir("import", "events", file, "--chunk", 64)
    assert code == 0, complaints
    assert (first["accepted"], first["rejected"], first["stored"], first["already_stored"]) == (500, 0, 500, 0)
    assert running_weir.rows(stored, country) == [(500, 500)]

    for chunk in (64, 100):
        code, again, complaints = weir("import", "events", file, "--chunk", chunk)
        assert code == 0, complaints
        assert (again["accepted"], again["stored"], again["already_stored"]) == (500, 0, 500)
    grown = written_events(tmp_path / "grown.csv", events(600, country=country))
    code, more, complaints = weir("import", "events", grown)
    assert code == 0, complaints
    assert (more["stored"], more["already_stored"]) == (100, 500)
    assert running_weir.rows(stored, country) == [(600, 600)]


def test_rejected_events_cost_nothing_but_themselves_and_can_be_mended(weir, running_weir, tmp_path):
    country = str(uuid4())
    rows = [list(row) for row in events(20, country=country)]
    rows[3][1], rows[5][3], rows[7][0] = "", "yesterday", ""
    file, rejects = written_events(tmp_path / "events.csv", rows), tmp_path / "rejects.csv"
    code, judged, _ = weir("import", "events", file, "--dry-run")
    assert (code, judged["accepted"], judged["rejected"], judged["stored"]) == (1, 17, 3, 0)
    code, outcome, complaints = weir("import", "events", file, "--rejects", rejects)
    assert (code, outcome["accepted"], outcome["stored"], outcome["rejected"]) == (1, 17, 17, 3)
    assert "line 5: user_id must not be empty" in complaints
    with rejects.open(newline="") as listed:
        found = list(csv.DictReader(listed))
    assert [(row["line"], row["field"], row["code"]) for row in found] == [
        ("5", "user_id", "empty"),
        ("7", "occurred_at", "not_a_timestamp"),
        ("9", "event_id", "not_a_uuid"),
    ]
    mended = [(row["event_id"] or "8", "u", row["event_type"], START.isoformat(), row["country"]) for row in found]
    code, outcome, complaints = weir("import", "events", written_events(tmp_path / "mended.csv", mended))
    assert (code, outcome["stored"]) == (0, 3), complaints
    assert running_weir.scalar("SELECT count(*) FROM events WHERE properties ->> 'country' = %s", country) == 20


def test_unknown_device_is_a_sentence(weir):
    code, _, complaints = weir("stats", f"nobody {uuid4()}")
    assert (code, complaints.count("\n")) == (2, 1)
    assert "there is no device" in complaints
