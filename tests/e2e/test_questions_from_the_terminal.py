"""`weir devices`, `weir stats`, `weir dau`, `weir top-events`, `weir user-retention` against a running Weir."""

import json

import pytest
from factories import Weir, event, reading
from typer.testing import CliRunner

from cli.main import app


@pytest.fixture(scope="module")
def filled(running_weir: Weir) -> Weir:
    user = running_weir.http.post("/users/", json={"name": "Ada", "email": "ada@example.org"}).json()["id"]
    for name in ("pump", "valve"):
        device = running_weir.http.post("/devices/", json={"user_id": user, "name": name}).json()["id"]
        running_weir.http.post(f"/devices/{device}/stats/batch", json=[reading(1), reading(3)]).raise_for_status()
    events = [
        event(1, user_id="a", occurred_at="2026-01-05T10:00:00Z", event_type="view"),
        event(2, user_id="b", occurred_at="2026-01-05T11:00:00Z", event_type="view"),
        event(3, user_id="a", occurred_at="2026-01-06T10:00:00Z", event_type="buy"),
    ]
    running_weir.http.post("/events", json=events).raise_for_status()
    running_weir.wait_for(
        lambda: running_weir.scalar("SELECT (SELECT count(*) FROM readings) + count(*) FROM events") == 7
    )
    return running_weir


def run(weir: Weir, *arguments: str) -> object:
    done = CliRunner().invoke(app, [*arguments, "--url", weir.url, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_devices_are_listed(filled: Weir) -> None:
    found = run(filled, "devices", "--user", "ADA@example.org")
    assert isinstance(found, list)
    assert [one["name"] for one in found] == ["pump", "valve"]
    assert run(filled, "devices", "--name", "pump") == found[:1]
    assert run(filled, "devices", "--limit", "1") == found[:1]


def test_statistics_of_one_device_and_of_all_of_a_user(filled: Weir) -> None:
    one = run(filled, "stats", "pump", "--user", "ada@example.org")
    every = run(filled, "stats", "--user", "ada@example.org")
    assert isinstance(one, dict)
    assert isinstance(every, dict)
    assert (one["x"]["count"], every["x"]["count"], every["x"]["sum"]) == (2, 4, 8.0)
    assert CliRunner().invoke(app, ["stats", "--url", filled.url]).exit_code == 2


def test_questions_about_users(filled: Weir) -> None:
    window = ("--from", "2026-01-05", "--to", "2026-01-06")
    assert run(filled, "dau", *window) == [
        {"date": "2026-01-05", "unique_users": 2},
        {"date": "2026-01-06", "unique_users": 1},
    ]
    assert run(filled, "dau", *window, "--segment", "event_type:buy", "--tz", "Europe/Kyiv") == [
        {"date": "2026-01-05", "unique_users": 0},
        {"date": "2026-01-06", "unique_users": 1},
    ]
    assert run(filled, "top-events", *window) == [{"event_type": "view", "count": 2}, {"event_type": "buy", "count": 1}]
    found = run(filled, "user-retention", "2026-01-05", "--windows", "1")
    assert found == {"cohort_size": 2, "windows": [{"day": 1, "count": 1, "rate": 0.5}]}
    wrong = CliRunner().invoke(app, ["dau", "--to", "soon", "--url", filled.url])
    assert wrong.exit_code == 2
