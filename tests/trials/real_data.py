"""Real readings and events, whose right answers others have computed: `make trial data=FOLDER`, not part of `make test`.

Each test imports the files into a Weir of its own, so no answer is one that was remembered.
"""

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import ROOT, Weir

from cli.programs import inherited_environment
from shared.streams import EVENTS

Tier = Callable[[Weir, Path, Path], None]

READINGS_FILE = "chest_accelerometer"
EVENTS_FILE = "bpi2012_events"
TIME_COLUMNS = {READINGS_FILE: "timestamp", EVENTS_FILE: "occurred_at"}
#: Moments in the middle of a file: what is earlier is sealed, and what is later comes when it was. So the day itself is
#: cold and hot, as are readings of every device.
MIDDLE = {READINGS_FILE: "2026-01-01T00:20:00", EVENTS_FILE: "2012-01-02T12:00:00"}


def command(weir: Weir, *arguments: object) -> Any:
    """Run a command of `weir`; the answer is the JSON that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *map(str, arguments), "--json"],
        cwd=ROOT, env=inherited_environment() | weir.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def bring_in(weir: Weir, readings: Path, events: Path) -> None:
    command(weir, "import", "readings", readings)
    command(weir, "import", "events", events)


def halves(data: Path, name: str, folder: Path) -> tuple[Path, Path]:
    """Two files of one: its lines before MIDDLE, and the others."""
    parts = folder / f"{name}-earlier.csv", folder / f"{name}-later.csv"
    with (
        gzip.open(data / f"{name}.csv.gz", "rt", newline="") as whole,
        parts[0].open("w", newline="") as earlier,
        parts[1].open("w", newline="") as later,
    ):
        lines = csv.DictReader(whole)
        writers = [csv.DictWriter(part, lines.fieldnames or ()) for part in (earlier, later)]
        for writer in writers:
            writer.writeheader()
        for line in lines:
            writers[line[TIME_COLUMNS[name]] >= MIDDLE[name]].writerow(line)
    return parts


def hot(weir: Weir, data: Path, folder: Path) -> None:
    bring_in(weir, data / f"{READINGS_FILE}.csv.gz", data / f"{EVENTS_FILE}.csv.gz")


def across(weir: Weir, data: Path, folder: Path) -> None:
    readings, events = halves(data, READINGS_FILE, folder), halves(data, EVENTS_FILE, folder)
    bring_in(weir, readings[0], events[0])
    command(weir, "seal")
    bring_in(weir, readings[1], events[1])


def cold(weir: Weir, data: Path, folder: Path) -> None:
    hot(weir, data, folder)
    command(weir, "seal")


@pytest.mark.parametrize("tier", [hot, across, cold])
def test_answers_are_the_expected_ones_to_the_digit(weir: Weir, tier: Tier, data: Path, tmp_path: Path) -> None:
    weir.start("consumer", "worker", "api")
    tier(weir, data, tmp_path)
    check_statistics(weir, tier, json.loads((data / f"{READINGS_FILE}.expected.json").read_text()))
    check_users(weir, tier, json.loads((data / f"{EVENTS_FILE}.expected.json").read_text()))


def check_statistics(weir: Weir, tier: Tier, expected: dict[str, Any]) -> None:
    answers = {device: command(weir, "stats", device) for device in expected}
    assert len(answers) == len(weir.http.get("/devices/").json())
    assert {device: {axis: answer[axis] for axis in "xyz"} for device, answer in answers.items()} == expected
    assert sum(len(axis) for device in expected.values() for axis in device.values()) == 150
    for answer in answers.values():
        assert (bool(answer["hot"]), bool(answer["cold"])) == (tier is not cold, tier is not hot)
        assert answer["hot"] + answer["cold"] == answer["x"]["count"]


def check_users(weir: Weir, tier: Tier, expected: dict[str, Any]) -> None:
    stored = weir.stored(EVENTS)
    assert (stored == 0) == (tier is cold)
    assert (stored == expected["events"]) == (tier is hot)
    window = {"from": min(expected["dau"]), "to": max(expected["dau"])}
    days = ask(weir, "dau", window)
    assert {one["date"]: one["unique_users"] for one in days} == expected["dau"]
    # Of types with as many events the file has another order than by name.
    top = sorted(expected["top_events"], key=lambda one: (-one[1], one[0]))
    assert [[one["event_type"], one["count"]] for one in ask(weir, "top-events", window | {"limit": 1000})] == top


def ask(weir: Weir, question: str, parameters: dict[str, Any]) -> Any:
    answer = weir.http.get(f"/stats/{question}", params=parameters, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()
