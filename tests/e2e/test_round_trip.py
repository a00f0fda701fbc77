"""What is exported as CSV and imported again is the same to the last bit."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from factories import ROOT, Weir

START = datetime(2026, 1, 1, 23, 59, tzinfo=UTC)
FLOATS = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, -2.5, 123456789.123456789]
TEXTS = ["plain", 'with "quotes" and, commas', " spaces ", "кирилиця 🌊", "back\\slash"]
PROPERTIES: list[dict[str, Any]] = [
    {},
    {"country": "UA", "price": 12.5, "n": 20, "is_new": True, "nothing": None},
    {"text": '"a", \\ \n\r\t\u2028 🌊', "deep": {"list": [1, [2.0, {"x": "y"}], []], "big": 2**70}},
    {"": 1, "with space": 1e-7, "user_id": "not the column", "properties": {"a": 1}, "number as text": "20"},
]


def run(weir: Weir, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "cli", *map(str, arguments), "--url", weir.url, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def send(weir: Weir, path: str, records: list[dict[str, Any]]) -> None:
    answer = weir.http.post(path, json=records)
    assert answer.json()["accepted"] == len(records), answer.text
    weir.wait_for(lambda: weir.http.get(answer.headers["location"]).json()["status"] == "stored")


def assert_comes_back(weir: Weir, noun: str, folder: Path, count: int, order: str, *choice: str) -> None:
    """Export, empty the tables, import: the rows are as before, and so is another export."""
    before, after = folder / "before.csv", folder / "after.csv"
    rows = f"SELECT t::text FROM {noun} t ORDER BY {order}"
    was = weir.rows(rows)
    assert len(was) == count
    run(weir, "export", noun, *choice, "--out", before)
    weir.rows(f"TRUNCATE {noun}, event_ids")
    assert run(weir, "import", noun, before)["stored"] == count
    assert weir.rows(rows) == was
    run(weir, "export", noun, *choice, "--out", after)
    assert after.read_bytes() == before.read_bytes()


def test_events_come_back_as_they_were(running_weir: Weir, tmp_path: Path) -> None:
    events = [
        {
            "event_id": str(UUID(int=number + 1)),
            "occurred_at": (START + timedelta(microseconds=number * 7_654_321)).isoformat(),
            "user_id": TEXTS[number % len(TEXTS)],
            "event_type": TEXTS[number // 2 % len(TEXTS)],
            "properties": PROPERTIES[number % len(PROPERTIES)],
        }
        for number in range(60)
    ]
    send(running_weir, "/events", events)
    assert_comes_back(running_weir, "events", tmp_path, len(events), "event_id")


def test_readings_come_back_as_they_were(running_weir: Weir, tmp_path: Path) -> None:
    devices = [running_weir.device(name) for name in ("left", "right")]
    for device in devices:
        readings = [
            {
                "timestamp": (START + timedelta(microseconds=number * 7_654_321)).isoformat(),
                **{axis: FLOATS[(number + place) % len(FLOATS)] for place, axis in enumerate("xyz")},
            }
            for number in range(50)
        ]
        send(running_weir, f"/devices/{device}/stats/batch", readings)
    assert_comes_back(running_weir, "readings", tmp_path, 100, "device_key, time", "--all")
    assert running_weir.scalar("SELECT count(*) FROM devices") == len(devices)
