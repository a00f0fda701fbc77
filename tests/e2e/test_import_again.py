"""However often a file is imported, whole, grown, mended or cut in another way: each of its readings is stored once."""

import csv
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sealed import seal_days

from cli.client import Client
from cli.importing import sources
from cli.importing.readings_file import ReadingsFile
from cli.importing.sending import Importer
from cli.importing.sources import Readings
from cli.programs import wait_until
from shared.config import Settings
from shared.errors import WeirError

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def email():
    return f"{uuid4()}@example.org"


@pytest.fixture
def imported(running_weir, email, tmp_path):
    """Import rows as a file: exit code, outcome, complaints."""

    def run(rows, *arguments, header=("device", "timestamp", "x", "y", "z")):
        file = tmp_path / f"{uuid4()}.csv"
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([header, *rows])
        return finished(started(running_weir, file, "--user", email, *arguments))

    return run


def started(weir, file, *arguments):
    command = [sys.executable, "-m", "cli", "import", "readings", str(file), "--url", weir.url, "--json"]
    return subprocess.Popen(
        [*command, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process):
    out, complaints = process.communicate(timeout=120)
    return process.returncode, json.loads(out or "null"), complaints


def rows_of(count, device="a", x=1):
    return [(device, (START + timedelta(seconds=second)).isoformat(), x, second, 0) for second in range(count)]


def stored(weir, email):
    """The readings of the one device of a user."""
    (user,) = weir.http.get("/users/", params={"email": email}).json()
    (device,) = weir.http.get("/devices/", params={"user_id": user["id"]}).json()
    key = weir.scalar("SELECT key FROM devices WHERE id = %s", device["id"])
    return weir.rows("SELECT time, x, y, z FROM readings WHERE device_key = %s ORDER BY time, x, y, z", key)


def forget_receipts(weir):
    """As upkeep does with receipts of more than two weeks."""
    weir.rows("DELETE FROM receipts")


@pytest.mark.parametrize("chunk", [100, 700, 10_000])
def test_file_that_is_cut_in_another_way_is_stored_once(imported, running_weir, email, chunk):
    rows = rows_of(1500)
    code, first, complaints = imported(rows, "--chunk", 500)
    assert (code, first["stored"]) == (0, 1500), complaints
    forget_receipts(running_weir)
    code, again, complaints = imported(rows, "--chunk", chunk)
    assert (code, again["accepted"], again["stored"], again["already_stored"]) == (0, 1500, 0, 1500), complaints
    assert len(stored(running_weir, email)) == 1500


def test_file_that_grew_stores_what_is_new(imported, running_weir, email):
    rows = rows_of(5001)
    assert imported(rows[:5000])[1]["stored"] == 5000
    code, grown, complaints = imported(rows)
    assert (code, grown["stored"], grown["already_stored"]) == (0, 1, 5000), complaints
    forget_receipts(running_weir)
    code, again, complaints = imported(rows, "--chunk", 1234)
    assert (code, again["stored"], again["already_stored"]) == (0, 0, 5001), complaints
    assert len(stored(running_weir, email)) == 5001


def test_file_that_was_mended_in_the_middle_stores_the_mended_lines(imported, running_weir, email):
    rows = rows_of(300)
    spoilt = [list(row) for row in rows]
    spoilt[0][2], spoilt[150][1] = "nan", "yesterday"
    code, first, _ = imported(spoilt, "--chunk", 100)
    assert (code, first["stored"], first["rejected"]) == (1, 298, 2)
    code, again, _ = imported(spoilt, "--chunk", 100)
    assert (code, again["stored"], again["already_stored"], again["rejected"]) == (1, 0, 298, 2)
    code, mended, complaints = imported([*rows_of(1, x=7), *rows[1:]])
    assert (code, mended["stored"], mended["already_stored"]) == (0, 2, 298), complaints
    assert len(stored(running_weir, email)) == 300


def test_readings_that_are_equal_within_the_file_are_all_stored(imported, running_weir, email):
    twice = [row for row in rows_of(50) for _ in range(2)]
    assert imported(twice[:75], "--chunk", 25)[1]["stored"] == 75
    code, whole, complaints = imported(twice, "--chunk", 33)
    assert (code, whole["stored"], whole["already_stored"]) == (0, 25, 75), complaints
    assert len(stored(running_weir, email)) == 100


def test_other_readings_of_the_same_moments_are_stored(imported, running_weir, email):
    imported(rows_of(20))
    code, other, complaints = imported(rows_of(20, x=2))
    assert (code, other["stored"], other["already_stored"]) == (0, 20, 0), complaints
    assert len(stored(running_weir, email)) == 40


def test_other_header_and_options_for_the_same_readings_store_nothing(imported):
    rows = rows_of(30)
    imported(rows)
    moved = [(x, y, z, int(datetime.fromisoformat(time).timestamp())) for _, time, x, y, z in rows]
    options = ("--device", "a", "--map", "x=P1,y=P2,z=P3", "--time-column", "t", "--time-format", "s")
    code, again, complaints = imported(moved, *options, header=("P1", "P2", "P3", "t"))
    assert (code, again["stored"], again["already_stored"]) == (0, 0, 30), complaints


def test_same_file_imported_twice_at_one_time_is_stored_once(running_weir, email, tmp_path):
    file = tmp_path / "readings.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("device", "timestamp", "x", "y", "z"), *rows_of(3000)])
    running_weir.http.post("/users/", json={"name": "u", "email": email})
    both = [started(running_weir, file, "--user", email, "--chunk", 100) for _ in range(2)]
    outcomes = [finished(one) for one in both]
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert [outcome["stored"] + outcome["already_stored"] for _, outcome, _ in outcomes] == [3000, 3000]
    assert len(stored(running_weir, email)) == 3000


def test_interrupted_import_goes_on_also_when_it_is_cut_in_another_way(running_weir, email, tmp_path):
    file = tmp_path / "readings.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("device", "timestamp", "x", "y", "z"), *rows_of(40_000)])
    first = started(running_weir, file, "--user", email, "--chunk", 10)
    wait_until(lambda: has_readings(running_weir, email), 30, "the import has stored nothing")
    first.send_signal(signal.SIGINT)
    assert finished(first)[0] == 130
    code, again, complaints = finished(started(running_weir, file, "--user", email, "--chunk", 777))
    assert (code, again["stored"] + again["already_stored"]) == (0, 40_000), complaints
    assert again["already_stored"] > 0
    assert len(stored(running_weir, email)) == 40_000


def has_readings(weir, email):
    return weir.scalar(
        "SELECT EXISTS (SELECT FROM readings r JOIN devices d ON d.key = r.device_key "
        "JOIN users u ON u.id = d.user_id WHERE u.email = %s)",
        email,
    )


def test_sealed_readings_are_known_too(weir, tmp_path, email):
    weir.start("consumer", "api")
    file = tmp_path / "readings.csv"

    def run(rows):
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([("device", "timestamp", "x", "y", "z"), *rows])
        return finished(started(weir, file, "--user", email))

    assert run(rows_of(2000))[1]["stored"] == 2000
    seal_days(weir, [START.date()])
    forget_receipts(weir)
    assert stored(weir, email) == []
    code, again, complaints = run(rows_of(2010))
    assert (code, again["stored"], again["already_stored"]) == (0, 10, 2000), complaints


def test_person_is_asked_before_something_may_be_stored_twice(weir, email, monkeypatch):
    """Without a consumer, what was accepted before cannot be compared."""
    weir.start("api")
    monkeypatch.setattr(sources, "SETTLING", timedelta(seconds=0.1))
    asked = []

    def refuse(what):
        asked.append(what)
        raise WeirError(what)

    def source(confirm):
        lines = ["device,timestamp,x,y,z\n", *(",".join(map(str, row)) + "\n" for row in rows_of(10))]
        return Readings(ReadingsFile(iter(lines)), 7, Settings(), email, confirm)

    with Client(weir.url) as client:
        first = sum(one.accepted for one in Importer(client, source(pytest.fail)).send())
        assert (first, asked) == (10, [])
        with pytest.raises(WeirError, match="10 readings that were accepted before are not stored yet"):
            list(Importer(client, source(refuse)).send())
    assert len(asked) == 1
    with Client(weir.url) as client:
        again = sum(one.accepted for one in Importer(client, source(asked.append)).send())
        assert (again, len(asked)) == (10, 2)
    weir.start("consumer")
    weir.wait_until_stored(10)


def test_person_is_asked_where_a_damaged_file_cannot_be_compared(weir, tmp_path, email):
    weir.start("consumer", "api")
    file = tmp_path / "readings.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("device", "timestamp", "x", "y", "z"), *rows_of(20)])
    assert finished(started(weir, file, "--user", email))[1]["stored"] == 20
    seal_days(weir, [START.date()])
    forget_receipts(weir)
    (sealed,) = Path(weir.settings().cold_url).rglob("*.parquet")
    sealed.write_bytes(sealed.read_bytes()[:-100])
    code, _, complaints = finished(started(weir, file, "--user", email))
    assert (code, "cannot be known which readings are stored already" in complaints, "--yes" in complaints) == (
        2,
        True,
        True,
    )
    code, outcome, complaints = finished(started(weir, file, "--user", email, "--yes"))
    assert (code, outcome["stored"]) == (0, 20), complaints
