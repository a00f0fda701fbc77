"""What went in by `weir import readings` comes out by `weir export readings`, bit for bit."""

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import ROOT, Weir
from sealed import seal_days

START = datetime(2026, 1, 1, tzinfo=UTC)
ODD = ["0.1", "1", "-0.0", "5e-324", "1e22", "0.3333333333333333", "1.7976931348623157e+308", "-123456789.125"]

Row = tuple[str, datetime, str, str, str]
Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture(scope="module")
def run(running_weir: Weir) -> Run:
    """Run a command of `weir` against the API: exit code, parsed output, complaints."""

    def run(*arguments: object) -> tuple[int, Any, str]:
        command = [sys.executable, "-m", "cli", *map(str, arguments), "--url", running_weir.url, "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, json.loads(done.stdout or "null"), done.stderr

    return run


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Readings of two devices over three days."""
    return [
        (
            f"device {number % 2}",
            START + timedelta(microseconds=number * 1_234_567_891),
            *(ODD[(number + place) % len(ODD)] for place in range(3)),
        )
        for number in range(200)
    ]


@pytest.fixture(scope="module")
def imported(run: Run, running_weir: Weir, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Import them, and seal a day; the answer is whose they are."""
    path = tmp_path_factory.mktemp("import") / "readings.csv"
    with path.open("w", newline="") as file:
        lines = [(device, time.isoformat(), *axes) for device, time, *axes in rows]
        csv.writer(file).writerows([("device", "timestamp", "x", "y", "z"), *lines])
    email = f"{uuid4()}@example.org"
    code, outcome, complaints = run("import", "readings", path, "--user", email)
    assert (code, outcome["stored"]) == (0, len(rows)), complaints
    seal_days(running_weir, [START.date()])
    return email


def names_of(weir: Weir, email: str) -> dict[str, str]:
    """The names of a user's devices by their ids."""
    user = weir.http.get("/users/", params={"email": email}).json()[0]["id"]
    return {device["id"]: device["name"] for device in weir.http.get("/devices/", params={"user_id": user}).json()}


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".arrow":
        return pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    if path.suffix == ".ndjson":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))


def content(rows: list[dict[str, Any]], names: dict[str, str]) -> list[tuple[object, ...]]:
    """Rows in a form in which they can be compared bit by bit."""
    return sorted(
        (
            names[row["device_id"]],
            row["timestamp"] if isinstance(row["timestamp"], datetime) else datetime.fromisoformat(row["timestamp"]),
            *(float(row[axis]).hex() for axis in "xyz"),
        )
        for row in rows
    )


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.json", "r.ndjson", "r.arrow", "r.parquet"])
def test_import_comes_out_as_it_went_in(
    run: Run, running_weir: Weir, imported: str, rows: list[Row], tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    code, summary, complaints = run("export", "readings", "--all", "--user", imported, "--out", out)
    assert (code, summary["rows"], summary["bytes"]) == (0, len(rows), out.stat().st_size), complaints
    wanted = sorted((device, time, *(float(axis).hex() for axis in axes)) for device, time, *axes in rows)
    assert content(read(out), names_of(running_weir, imported)) == wanted
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_export_of_a_device_and_a_window_leaves_out_the_rest(
    run: Run, running_weir: Weir, imported: str, rows: list[Row], tmp_path: Path
) -> None:
    out, end = tmp_path / "r.csv", START + timedelta(days=1, hours=1)
    window = ("--device", "device 1", "--user", imported, "--end", end.isoformat())
    code, summary, complaints = run("export", "readings", *window, "--out", out)
    wanted = [row for row in rows if row[0] == "device 1" and row[1] < end]
    assert (code, summary["rows"]) == (0, len(wanted)), complaints
    assert {row[0] for row in content(read(out), names_of(running_weir, imported))} == {"device 1"}


def test_exported_csv_can_be_imported(run: Run, running_weir: Weir, imported: str, tmp_path: Path) -> None:
    """Its ids are of devices that are here: their readings are stored already, and no device is made."""
    out = tmp_path / "again.csv.gz"
    window = ("--device", "device 0", "--user", imported)
    code, first, _ = run("export", "readings", *window, "--out", out)
    assert code == 0
    code, outcome, complaints = run("import", "readings", out, "--user", imported)
    assert (code, outcome["stored"], outcome["already_stored"]) == (0, 0, first["rows"]), complaints
    assert len(names_of(running_weir, imported)) == 2
    code, second, _ = run("export", "readings", *window, "--out", out)
    assert (code, second["rows"]) == (0, first["rows"])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--all", "--out", "r.xlsx"), "no format"),
        (("--all", "--out", "r.parquet.gz"), "leave out .gz"),
        (("--out", "r.csv"), "--device"),
        (("--all", "--device", "a", "--out", "r.csv"), "--device"),
        (("--device", "nobody at all", "--out", "r.csv"), "there is no device"),
        (("--all", "--start", "2026-01-02", "--end", "2026-01-01", "--out", "r.csv"), "end must be later than start"),
        (("--all", "--out", "no/such/folder/r.csv"), "cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence_and_leaves_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    *rest, name = arguments
    code, summary, complaints = run("export", "readings", *rest, tmp_path / name)
    assert (code, summary, complaints.count("\n")) == (2, None, 1)
    assert complaint in complaints
    assert not list(tmp_path.iterdir())
