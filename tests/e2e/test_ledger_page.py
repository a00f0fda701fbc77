"""`GET /ops/ledger` says whether everything that was accepted comes to an end, and never takes silence for proof."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from factories import Weir, event, reading
from typer.testing import CliRunner

from cli.main import app
from shared.streams import EVENTS, READINGS, STREAMS, Stream

PAGE = "/ops/ledger"


def of(weir: Weir, stream: Stream, **query: str) -> dict[str, Any]:
    answer = weir.http.get(PAGE, params=query)
    assert answer.status_code == 200, answer.text
    streams = answer.json()["streams"]
    assert [one["stream"] for one in streams] == [one.name for one in STREAMS]
    assert answer.json()["balanced"] == all(one["balanced"] for one in streams)
    return next(one for one in streams if one["stream"] == stream.name)


def of_readings(weir: Weir, **query: str) -> dict[str, Any]:
    return of(weir, READINGS, **query)


def send(weir: Weir, stream: Stream, count: int, **headers: str) -> str:
    """Submit so many records, the same ones each time, as one device or client; return where the receipt is."""
    path, records = "/events", [event(number) for number in range(1, count + 1)]
    if stream is READINGS:
        devices = weir.http.get("/devices/").json()
        path, records = f"/devices/{devices[0]['id'] if devices else weir.device()}/stats/batch", [reading()] * count
    answer = weir.http.post(path, json=records, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


of_every_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)


@of_every_stream
def test_what_waits_is_in_flight_and_then_it_is_stored(weir: Weir, stream: Stream) -> None:
    weir.start("api")
    send(weir, stream, 7, **{"Idempotency-Key": "k"})
    found = of(weir, stream)
    assert (found["in_flight"], found["balanced"]) == (7, True)
    assert found["queue"]["name"] == stream.queue
    weir.wait_for(lambda: of(weir, stream)["queue"]["ready"] == 1)
    weir.start("consumer")
    weir.wait_until_stored(7, stream=stream)
    send(weir, stream, 7, **{"Idempotency-Key": "k"})
    weir.wait_for(lambda: of(weir, stream)["in_flight"] == 0)
    minutes = of(weir, stream)["minutes"]
    totals = {name: sum(one[name] for one in minutes) for name in ("accepted", "stored", "duplicate", "dead")}
    assert totals == {"accepted": 14, "stored": 7, "duplicate": 7, "dead": 0}
    assert all(one["balanced"] and one["why"] is None for one in minutes)


def lose_a_message(weir: Weir) -> None:
    """Accept readings, and have the broker forget them; some time ago."""
    assert weir.http.post(f"/devices/{weir.device()}/stats/", json=reading()).status_code == 202
    weir.wait_for(lambda: of_readings(weir)["queue"]["ready"] == 1)
    weir.management("DELETE", f"queues/{{vhost}}/{READINGS.queue}/contents")
    weir.wait_for(lambda: weir.scalar("SELECT sum(accepted) FROM ledger") == 1)
    weir.rows("UPDATE ledger SET minute = minute - interval '15 minutes'")


def test_what_the_broker_lost_is_missed(weir: Weir) -> None:
    weir.environment["WEIR_MANAGEMENT_URL"] = weir.management_url
    weir.start("api")
    lose_a_message(weir)
    weir.wait_for(lambda: not of_readings(weir)["balanced"])
    found = of_readings(weir)
    assert (found["queue"]["empty"], found["queue"]["unacked"]) == (True, 0)
    (why,) = [one["why"] for one in found["minutes"] if not one["balanced"]]
    assert why == "records are neither settled nor in the queue"
    since = datetime.now(UTC).isoformat()
    assert not of_readings(weir, since=since)["balanced"], "what is open is told whatever `since` says"


def test_no_message_ready_proves_nothing_by_itself(weir: Weir) -> None:
    weir.start("api")
    lose_a_message(weir)
    found = of_readings(weir)
    assert (found["balanced"], found["in_flight"]) == (True, 1)
    assert found["queue"]["empty"] is None
    weir.start("consumer")
    assert weir.http.post(f"/devices/{weir.device('b')}/stats/", json=reading()).status_code == 202
    weir.wait_until_stored(1)
    weir.wait_for(lambda: not of_readings(weir)["balanced"])
    assert "later ones were settled long ago" in str(of_readings(weir)["minutes"])


def test_more_settled_than_accepted_does_not_balance(weir: Weir) -> None:
    weir.start("api")
    weir.rows("INSERT INTO ledger (stream, minute, series, stored) VALUES ('readings', now(), gen_random_uuid(), 2)")
    (minute,) = of_readings(weir)["minutes"]
    assert (minute["in_flight"], minute["why"]) == (-2, "more records were settled than accepted")


@pytest.mark.parametrize("since", ["yesterday", "0001-01-01T00:00:00+14:00"])
def test_since_that_is_no_time_is_refused(running_weir: Weir, since: str) -> None:
    assert running_weir.http.get(PAGE, params={"since": since}).status_code == 422


def trace(weir: Weir, receipt: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["trace", receipt, "--url", weir.url])
    return done.exit_code, done.output


@of_every_stream
def test_trace_follows_a_submission_from_the_queue_to_its_table(weir: Weir, stream: Stream) -> None:
    weir.start("api")
    where = send(weir, stream, 3)
    weir.wait_for(lambda: of(weir, stream)["queue"]["ready"] == 1)
    code, said = trace(weir, where)
    assert code == 0
    assert "pending" in said
    assert "3 records of its time are in flight" in said
    assert f"weir.{stream.name} holds 1 messages" in said
    weir.start("consumer")
    weir.wait_until_stored(3, stream=stream)
    code, said = trace(weir, where.rpartition("/")[2])
    assert code == 0
    assert "stored" in said
    assert f"3 records of it are in the table {stream.table} since" in said


def test_trace_says_which_events_were_there_before(weir: Weir) -> None:
    weir.start("api", "consumer")
    send(weir, EVENTS, 3)
    weir.wait_until_stored(3, stream=EVENTS)
    where = send(weir, EVENTS, 5)
    weir.wait_until_stored(5, stream=EVENTS)
    said = trace(weir, where)[1]
    assert "2 records of it are in the table events" in said
    assert "3 more were stored before it came" in said


def test_trace_names_the_dead_letters(running_weir: Weir) -> None:
    receipt = str(uuid4())
    message = {
        "routing_key": READINGS.name,
        "properties": {"message_id": receipt, "content_type": "application/json", "delivery_mode": 2},
        "payload": json.dumps([reading(device_id=str(running_weir.device())), reading(x="bad")]),
        "payload_encoding": "string",
    }
    running_weir.management("POST", "exchanges/{vhost}/weir/publish", json=message)
    running_weir.wait_for(lambda: "dead-lettered" in trace(running_weir, receipt)[1])
    code, said = trace(running_weir, receipt)
    assert code == 0
    assert "1 records of it are in the table readings" in said
    assert "record 1: " in said


def test_trace_says_what_nobody_knows(running_weir: Weir) -> None:
    never = "019a0000-0000-7000-8000-000000000000"
    code, said = trace(running_weir, never)
    assert (code, "unknown" in said or "expired" in said) == (1, True)
    assert trace(running_weir, "nonsense")[0] != 0
