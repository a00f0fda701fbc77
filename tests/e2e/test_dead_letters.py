"""Dead letters from the terminal and over HTTP: found, mended, replayed once, given up; every act leaves a trace."""

import json
import signal
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from factories import Weir, channel_to, group_of, publish_group, row
from pamqp.commands import Basic
from typer.testing import CliRunner, Result

from cli.main import app
from consumer import forgetting
from shared.database import connect
from shared.streams import READINGS
from shared.streams.stream import EXCHANGE, microseconds

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NOON = microseconds(MOMENT)
BAD = float("nan")
PATH = "/ops/dead-letters"


def command(weir: Weir, *arguments: object) -> Result:
    words = [str(one) for one in arguments]
    return CliRunner().invoke(app, ["dead-letters", *words, "--url", weir.url])


def printed(result: Result, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def letters(weir: Weir, **filters: object) -> list[dict[str, Any]]:
    answer = weir.http.get(PATH, params={name: str(value) for name, value in filters.items()})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def shown(weir: Weir, letter_id: str) -> dict[str, Any]:
    answer = weir.http.get(f"{PATH}/{letter_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def key_of(weir: Weir, device: UUID) -> int:
    return int(weir.scalar("SELECT key FROM devices WHERE id = %s", str(device)))


def stored(weir: Weir) -> list[tuple[float, datetime]]:
    return weir.rows("SELECT x, time FROM readings ORDER BY x")


async def published_rows(weir: Weir, *rows: bytes) -> None:
    """Have rows arrive as the API sends them."""
    async with channel_to(weir.amqp_url) as channel:
        for one in rows:
            await publish_group(channel, group_of(([one], None)))


async def published_json(weir: Weir, body: bytes, message_id: str = "sensor-7/1") -> None:
    properties = Basic.Properties(message_id=message_id, content_type="application/json", delivery_mode=2)
    async with channel_to(weir.amqp_url) as channel:
        await channel.publish(EXCHANGE, READINGS.name, body, properties)


def balanced(weir: Weir) -> bool:
    """Whether the ledger accounts for every record; those that were published past the API's count are not accepted."""
    open_letters = weir.scalar("SELECT count(*) FROM dead_letters WHERE state = 'open'")
    dead, replays = weir.rows(
        "SELECT (SELECT coalesce(sum(dead), 0) FROM ledger),"
        " (SELECT count(*) FROM dead_letters WHERE state = 'replayed')"
    )[0]
    return bool(dead == open_letters + replays)


@pytest.fixture
def ready(weir: Weir) -> Weir:
    weir.start("consumer", "api")
    return weir


async def test_bad_record_is_found_mended_and_replayed_with_its_own_time(ready: Weir) -> None:
    device = ready.device()
    await published_rows(ready, row(key_of(ready, device), NOON, BAD, 2.0, 3.0))
    ready.wait_until_archived(1)
    (found,) = printed(command(ready, "list", "--device", device, "--code", "23514", "--json"))
    letter = found["id"]
    assert (found["state"], found["device_id"], found["index"]) == ("open", str(device), 0)
    before = printed(command(ready, "show", letter, "--json"))
    assert before["records"] == [
        {"device_id": str(device), "timestamp": "2026-01-02T03:04:05.678901Z", "x": "NaN", "y": 2.0, "z": 3.0}
    ]
    assert command(ready, "edit", letter, "--set", "x=1.5", "--why", "loose wire").exit_code == 0
    assert shown(ready, letter)["body"] == before["body"]
    dry = printed(command(ready, "replay", letter, "--json"))
    assert (dry["dry_run"], dry["matching"], ready.stored()) == (True, 1, 0)
    assert printed(command(ready, "replay", letter, "--send", "--json"))["replayed"] == 1
    ready.wait_until_stored(1)
    assert stored(ready) == [(1.5, MOMENT)]
    after = shown(ready, letter)
    assert [(act["act"], act["why"]) for act in after["acts"]] == [("edit", "loose wire"), ("replay", None)]
    assert all(act["by"] for act in after["acts"])
    assert after["state"] == "replayed"
    assert ready.http.get(f"/receipts/{after['replay']}").json()["status"] == "stored"
    assert letters(ready, state="open") == []
    assert balanced(ready)


async def test_replaying_twice_stores_once(ready: Weir) -> None:
    device = uuid4()
    await published_json(
        ready, json.dumps([{"device_id": str(device), "x": n, "y": 0, "z": 0} for n in (1, 2)]).encode()
    )
    ready.wait_until_archived(2)
    ids = [one["id"] for one in letters(ready, device=device)]
    ready.device()
    ready.rows("INSERT INTO devices (id, user_id) SELECT %s, id FROM users", str(device))
    for _ in range(3):
        assert printed(command(ready, "replay", *ids, "--send", "--json"))["replayed"] == 2
    ready.wait_until_stored(2)
    ready.wait_for(lambda: ready.queue(READINGS.queue).get("messages") == 0)
    assert [x for x, _ in stored(ready)] == [1.0, 2.0]
    assert [one["act"] for one in shown(ready, ids[0])["acts"]] == ["replay"] * 3


async def test_replay_of_a_letter_whose_last_replay_is_long_ago_stores_nothing(ready: Weir) -> None:
    device = ready.device()
    await published_rows(ready, row(key_of(ready, device), NOON, BAD))
    ready.wait_until_archived(1)
    (letter,) = letters(ready)
    command(ready, "edit", letter["id"], "--set", "x=1")
    command(ready, "replay", "--send")
    ready.wait_until_stored(1)
    # As an API leaves it that is killed between the confirm and writing that down.
    ready.rows("UPDATE dead_letters SET state = 'replaying'")
    ready.rows("UPDATE receipts SET at = now() - interval '15 days'")
    ready.rows("INSERT INTO receipts VALUES (gen_random_uuid(), 'readings', 1)")
    engine = connect(ready.database_url, pool_size=1, statement_deadline=timedelta(seconds=30))
    forgetting.forget(engine, forgetting.terms(timedelta(days=14), timedelta(days=90))[0])
    engine.dispose()
    assert printed(command(ready, "replay", "--send", "--json"))["replayed"] == 1
    # What is published later is written later: whatever the replay does, it has done then.
    await published_rows(ready, row(key_of(ready, device), NOON, 2.0))
    ready.wait_for(lambda: (2.0, MOMENT) in stored(ready))
    assert [x for x, _ in stored(ready)] == [1.0, 2.0]


async def test_record_without_a_timestamp_keeps_the_time_at_which_it_was_accepted(ready: Weir) -> None:
    device = uuid4()
    await published_json(ready, json.dumps([{"device_id": str(device), "x": 1, "y": 0, "z": 0}]).encode())
    ready.wait_until_archived(1)
    (letter,) = letters(ready)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    ready.rows("UPDATE dead_letters SET first_seen = %s", hour_ago)  # as if it had lain there
    ready.device()
    ready.rows("INSERT INTO devices (id, user_id) SELECT %s, id FROM users", str(device))
    command(ready, "replay", "--send")
    ready.wait_until_stored(1)
    assert stored(ready) == [(1.0, hour_ago)]
    assert shown(ready, letter["id"])["state"] == "replayed"


async def test_edit_that_names_no_time_keeps_that_of_the_original(ready: Weir) -> None:
    device = ready.device()
    await published_rows(ready, row(key_of(ready, device), NOON, BAD))
    ready.wait_until_archived(1)
    (letter,) = letters(ready)
    edit = {"records": [{"device_id": str(device), "x": 4, "y": 5, "z": 6}]}
    assert ready.http.patch(f"{PATH}/{letter['id']}", json=edit).status_code == 200
    command(ready, "replay", "--send")
    ready.wait_until_stored(1)
    assert stored(ready) == [(4.0, MOMENT)]


async def test_record_that_dies_again_comes_back_once_and_does_not_go_round(ready: Weir) -> None:
    device = ready.device()
    await published_rows(ready, *(row(key_of(ready, device), NOON, BAD if n % 2 else float(n)) for n in range(6)))
    ready.wait_until_archived(3)
    first = letters(ready)
    command(ready, "edit", first[0]["id"], "--set", "x=9")
    assert printed(command(ready, "replay", "--send", "--json"))["replayed"] == 3
    ready.wait_until_archived(5)
    ready.wait_until_stored(4)
    back = letters(ready, state="open")
    assert {(one["replays"], one["replay_of"]) for one in back} == {(1, one["id"]) for one in first[1:]}
    assert {one["code"] for one in back} == {"not_a_number"}
    assert printed(command(ready, "replay", "--send", "--json"))["replayed"] == 2
    ready.wait_until_archived(7)
    assert [one["replays"] for one in letters(ready, state="open")] == [2, 2]
    assert balanced(ready)


async def test_letter_that_came_back_is_mended_and_stored(ready: Weir) -> None:
    await published_rows(ready, row(key_of(ready, ready.device()), NOON, BAD))
    ready.wait_until_archived(1)
    command(ready, "replay", "--send")
    ready.wait_until_archived(2)
    (back,) = letters(ready, state="open")
    assert command(ready, "edit", back["id"], "--set", "x=7").exit_code == 0
    command(ready, "replay", "--send")
    ready.wait_until_stored(1)
    assert stored(ready) == [(7.0, MOMENT)]


async def test_whole_message_is_mended_as_its_records(ready: Weir) -> None:
    device = ready.device()
    await published_json(ready, b"{nonsense")
    ready.wait_until_archived(1)
    (letter,) = letters(ready, code="malformed")
    assert (letter["index"], shown(ready, letter["id"])["records"]) == (None, None)
    records = [{"device_id": str(device), "x": n, "y": 0, "z": 0} for n in range(3)]
    done = CliRunner().invoke(
        app, ["dead-letters", "edit", letter["id"], "--file", "-", "--url", ready.url], input=json.dumps(records)
    )
    assert done.exit_code == 0, done.output
    command(ready, "replay", "--send")
    ready.wait_until_stored(3)


async def test_letter_that_cannot_be_read_stays_open_and_says_so(ready: Weir) -> None:
    await published_rows(ready, row(999, NOON, BAD))  # nobody's device
    ready.wait_until_archived(1)
    (letter,) = letters(ready)
    result = printed(command(ready, "replay", "--send", "--json"), exit_code=1)
    assert (result["replayed"], result["left_open"]) == (0, [letter["id"]])
    assert shown(ready, letter["id"])["state"] == "open"


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"x": "NaN", "y": 0, "z": 0}, "not_a_number"),
        ({"x": 1, "y": 0}, "missing"),
        ({"x": 1, "y": 0, "z": 0, "w": 0}, "unknown_field"),
        ({"x": 1, "y": 0, "z": 0, "timestamp": "1970-01-01T00:00:00Z"}, "timestamp_too_old"),
        ({"x": 1, "y": 0, "z": 0, "device_id": str(uuid4())}, "unknown_device"),
    ],
)
async def test_edit_that_would_die_again_is_refused(running_weir: Weir, record: dict[str, Any], fault: str) -> None:
    letter = await bad_letter(running_weir)
    edit = {"records": [{"device_id": letter["device_id"]} | record]}
    answer = running_weir.http.patch(f"{PATH}/{letter['id']}", json=edit)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, fault)
    assert not shown(running_weir, letter["id"])["edited"]


async def test_edit_takes_no_more_than_one_record_for_one(running_weir: Weir) -> None:
    letter = await bad_letter(running_weir)
    record = {"device_id": letter["device_id"], "x": 1, "y": 1, "z": 1}
    answer = running_weir.http.patch(f"{PATH}/{letter['id']}", json={"records": [record, record]})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "too_many")


async def bad_letter(weir: Weir) -> dict[str, Any]:
    """A letter of a new device."""
    device = weir.device(str(uuid4()))
    await published_rows(weir, row(key_of(weir, device), NOON, BAD))
    weir.wait_for(lambda: bool(letters(weir, device=device)))
    return letters(weir, device=device)[0]


async def test_discarded_letter_stays_with_its_reason_and_is_never_replayed(running_weir: Weir) -> None:
    letter = await bad_letter(running_weir)
    assert command(running_weir, "discard", letter["id"]).exit_code == 2
    assert running_weir.http.delete(f"{PATH}/{letter['id']}").status_code == 422
    assert command(running_weir, "discard", letter["id"], "--why", "test device").exit_code == 0
    assert printed(command(running_weir, "replay", letter["id"], "--send", "--json"))["replayed"] == 0
    found = shown(running_weir, letter["id"])
    assert (found["state"], [act["why"] for act in found["acts"]]) == ("discarded", ["test device"])


async def test_letter_that_was_replayed_can_be_neither_edited_nor_discarded(running_weir: Weir) -> None:
    letter = await bad_letter(running_weir)
    path = f"{PATH}/{letter['id']}"
    record = {"device_id": letter["device_id"], "x": 1, "y": 1, "z": 1}
    assert running_weir.http.patch(path, json={"records": [record]}).status_code == 200
    command(running_weir, "replay", letter["id"], "--send")
    edit = running_weir.http.patch(path, json={"records": [record]})
    assert (edit.status_code, edit.json()["type"]) == (409, "urn:weir:problem:not-open")
    assert running_weir.http.delete(path, params={"why": "x"}).status_code == 409
    assert command(running_weir, "discard", letter["id"], "--why", "x").exit_code == 2


async def test_letters_are_filtered_and_paged(running_weir: Weir) -> None:
    device = running_weir.device(str(uuid4()))
    await published_rows(running_weir, *(row(key_of(running_weir, device), NOON + n, BAD) for n in range(5)))
    running_weir.wait_for(lambda: len(letters(running_weir, device=device)) == 5)
    pages, answer = [], running_weir.http.get(PATH, params={"device": str(device), "limit": 2})
    while True:
        pages.append([one["id"] for one in answer.json()])
        if "next" not in answer.links:
            break
        answer = running_weir.http.get(answer.links["next"]["url"])
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({one for page in pages for one in page}) == 5
    assert len(printed(command(running_weir, "list", "--device", device, "--limit", "3", "--json"))) == 3
    seen = letters(running_weir, device=device)[0]["last_seen"]
    hits = {
        "stream": ("readings", "events"),
        "code": ("23514", "malformed"),
        "reason": ("CHECK constraint", "a hundred %"),
        "state": ("open", "discarded"),
        "since": (seen, datetime.now(UTC) + timedelta(hours=1)),
        "until": (datetime.now(UTC) + timedelta(hours=1), seen),
    }
    for name, (hit, miss) in hits.items():
        assert len(letters(running_weir, device=device, **{name: hit})) >= 4, name
        assert letters(running_weir, device=device, **{name: miss}) == [], name


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", f"/{uuid4()}", None, 404),
        ("PATCH", f"/{uuid4()}", {"records": [{}]}, 404),
        ("DELETE", f"/{uuid4()}?why=x", None, 404),
        ("GET", "/5", None, 422),
        ("GET", "?state=lost", None, 422),
        ("GET", "?code=%00", None, 422),
        ("GET", "?since=0001-01-01T00:00:00%2B23:00", None, 422),
        ("GET", "?since=2026", None, 422),
        ("GET", "?cursor=x", None, 422),
        ("DELETE", f"/{uuid4()}?why=%00", None, 422),
        ("PATCH", f"/{uuid4()}", {"records": []}, 422),
        ("POST", "/replay", {"rate": 0}, 422),
        ("POST", "/replay", {"cursor": "1-x"}, 422),
        ("POST", "/replay", {"dry-run": False}, 422),
        ("POST", "/replay", {"since": "9999-12-31T23:59:59-23:00", "dry_run": False, "code": "none"}, 422),
        ("POST", "/replay", {"since": 1767225600, "dry_run": False, "code": "none"}, 422),
        ("POST", "/replay", {"since": "9999-12-31T00:00:00Z", "dry_run": False, "code": "none"}, 200),
    ],
)
def test_what_makes_no_sense_is_answered_with_what_is_wrong(
    running_weir: Weir, method: str, path: str, content: Any, status: int
) -> None:
    answer = running_weir.http.request(method, PATH + path, json=content)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == ("application/problem+json" if status >= 400 else "application/json")


async def test_replay_keeps_to_its_limit_and_rate(ready: Weir) -> None:
    device = ready.device()
    await published_rows(ready, *(row(key_of(ready, device), NOON + n, BAD) for n in range(20)))
    ready.wait_until_archived(20)
    for one in letters(ready):
        record = {"device_id": str(device), "x": 1, "y": 1, "z": 1}
        ready.http.patch(f"{PATH}/{one['id']}", json={"records": [record]})
    began = datetime.now(UTC)
    assert printed(command(ready, "replay", "--send", "--limit", "10", "--rate", "5", "--json"))["replayed"] == 10
    assert datetime.now(UTC) - began >= timedelta(seconds=1.8)
    ready.wait_until_stored(10)
    assert len(letters(ready, state="open")) == 10


@pytest.mark.parametrize("process", ["api", "consumer"])
async def test_process_killed_during_a_replay_loses_nothing_and_doubles_nothing(ready: Weir, process: str) -> None:
    count, device = 1_200, uuid4()
    records = [{"device_id": str(device), "x": n, "y": 0, "z": 0} for n in range(count)]
    await published_json(ready, json.dumps(records).encode())
    ready.wait_until_archived(count, 60)
    ready.device()
    ready.rows("INSERT INTO devices (id, user_id) SELECT %s, id FROM users", str(device))
    results = []
    replaying = threading.Thread(
        target=lambda: results.append(command(ready, "replay", "--send", "--rate", "400", "--json"))
    )
    replaying.start()
    for goal in (1, 400, 800):
        ready.wait_for(lambda goal=goal: ready.stored() >= goal, 60)
        assert ready.stop(process, signal.SIGKILL) == -signal.SIGKILL
        ready.start(process)
    replaying.join(90)
    assert [result.exit_code for result in results] == [0], results and results[0].output
    command(ready, "replay", "--send")  # what an interrupted request had left on its way
    ready.wait_until_stored(count, 60)
    assert ready.scalar("SELECT count(DISTINCT x) FROM readings") == count
    assert ready.rows("SELECT DISTINCT state FROM dead_letters") == [("replayed",)]


async def test_broker_without_the_queue_leaves_letters_on_their_way_and_loses_none(ready: Weir) -> None:
    device = ready.device()
    await published_rows(ready, row(key_of(ready, device), NOON, BAD))
    ready.wait_until_archived(1)
    command(ready, "edit", letters(ready)[0]["id"], "--set", "x=3")
    ready.management("DELETE", "bindings/{vhost}/e/weir/q/weir.readings/readings")
    answer = ready.http.post(f"{PATH}/replay", json={"dry_run": False})
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert letters(ready)[0]["state"] == "replaying"
    ready.wait_for(lambda: command(ready, "replay", "--send").exit_code == 0)
    ready.wait_until_stored(1)
    assert letters(ready)[0]["state"] == "replayed"
