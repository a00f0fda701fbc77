"""Events come out as they went in, in every format, hot and cold."""

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import ROOT, Weir
from sealed import seal_days

START = datetime(2025, 9, 1, tzinfo=UTC)
TEXTS = ["plain", 'with "quotes" and, commas', "two\nlines", "back\\slash", "кирилиця 🌊", "\x01\x1f"]


@pytest.fixture(scope="module")
def sent(running_weir: Weir) -> list[dict[str, Any]]:
    """Events of three days whose first is cold, the second both, the third hot; in the order of a download."""
    events = [
        {
            "event_id": str(UUID(int=number * 7919 % 1000)),
            "occurred_at": (START + timedelta(minutes=number * 43 // 2 * 2)).isoformat(),
            "user_id": TEXTS[number % len(TEXTS)],
            "event_type": TEXTS[number // 2 % len(TEXTS)],
            "properties": {"n": number, TEXTS[number % len(TEXTS)]: [1.5, None, {"deep": "\n"}]} if number % 3 else {},
        }
        for number in range(100)
    ]
    days = [(START + timedelta(days=number)).date() for number in range(2)]
    for part, sealed in ((events[:50], days), (events[50:], [])):
        answer = running_weir.http.post("/events", json=part)
        assert answer.json()["accepted"] == len(part), answer.text
        receipt = answer.headers["location"]
        running_weir.wait_for(lambda path=receipt: running_weir.http.get(path).json()["status"] == "stored")
        seal_days(running_weir, sealed)
    assert running_weir.scalar("SELECT count(*) FROM events") < len(events)
    return sorted(events, key=lambda event: (event["occurred_at"], event["event_id"]))


def compared(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    def properties(value: str | dict[str, Any]) -> dict[str, Any]:
        return json.loads(value) if isinstance(value, str) else value

    def moment(value: str | datetime) -> datetime:
        return datetime.fromisoformat(value) if isinstance(value, str) else value

    return [
        (one["event_id"], one["user_id"], one["event_type"], moment(one["occurred_at"]), properties(one["properties"]))
        for one in events
    ]


READERS = {
    "text/csv": lambda body: list(csv.DictReader(io.StringIO(body.decode(), newline=""))),
    "application/json": json.loads,
    "application/x-ndjson": lambda body: [json.loads(line) for line in body.split(b"\n")[:-1]],
    "application/vnd.apache.arrow.stream": lambda body: pa.ipc.open_stream(body).read_all().to_pylist(),
    "application/vnd.apache.parquet": lambda body: pq.read_table(io.BytesIO(body)).to_pylist(),
}


@pytest.mark.parametrize("media_type", READERS)
def test_events_come_out_as_they_went_in(running_weir: Weir, sent: list[dict[str, Any]], media_type: str) -> None:
    answer = running_weir.http.get("/events", headers={"accept": media_type})
    assert compared(READERS[media_type](answer.content)) == compared(sent)


def test_window_of_events_is_cut_to_the_microsecond(running_weir: Weir, sent: list[dict[str, Any]]) -> None:
    start, end = sent[10]["occurred_at"], sent[90]["occurred_at"]
    answer = running_weir.http.get(
        "/events", params={"start": start, "end": end}, headers={"accept": "application/json"}
    )
    assert compared(answer.json()) == compared([one for one in sent if start <= one["occurred_at"] < end])


def test_exported_lines_can_be_posted_again_and_store_nothing_twice(
    running_weir: Weir, sent: list[dict[str, Any]], tmp_path: Path
) -> None:
    for name in ("events.ndjson", "events.csv", "events.parquet"):
        command = [sys.executable, "-m", "cli", "export", "events", "--out", str(tmp_path / name)]
        done = subprocess.run(
            [*command, "--url", running_weir.url, "--json"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, json.loads(done.stdout)["rows"]) == (0, len(sent)), done.stderr
    lines = (tmp_path / "events.ndjson").read_bytes()
    answer = running_weir.http.post("/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert answer.json()["accepted"] == len(sent)
    running_weir.wait_for(lambda: running_weir.http.get(answer.headers["location"]).json()["status"] == "stored")
    assert running_weir.http.get(answer.headers["location"]).json()["duplicates"] == len(sent)
