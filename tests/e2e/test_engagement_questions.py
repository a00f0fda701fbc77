"""Questions about events over HTTP: each way to ask, each answer, and every mistake named by its field."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from factories import Weir

from shared.cold import hot
from shared.cold.sealing import seal
from shared.cold.store import Store
from shared.database import connect
from shared.streams import EVENTS

MIDNIGHT = datetime(2026, 1, 30, tzinfo=UTC)
#: Day from MIDNIGHT on, hour, user, type, country.
STORED = [
    (0, 1, "ann", "view", "UA"),
    (0, 2, "ann", "purchase", "UA"),
    (0, 23, "bob", "view", "DE"),
    (1, 5, "ann", "view", "UA"),
    (1, 5, "eve", "view", "PL"),
    (3, 5, "bob", "purchase", "DE"),
    (3, 5, "ann", "click", "UA"),
]
WINDOW = {"from": "2026-01-30", "to": "2026-02-02"}
DAU = [("2026-01-30", 2), ("2026-01-31", 2), ("2026-02-01", 0), ("2026-02-02", 2)]
RETENTION = {
    "cohort_size": 2,
    "windows": [
        {"day": 1, "count": 1, "rate": 0.5},
        {"day": 2, "count": 0, "rate": 0.0},
        {"day": 3, "count": 2, "rate": 1.0},
    ],
}


def store(weir: Weir, events: list[tuple[int, int, str, str, str]]) -> None:
    """Store events as the consumer does."""
    rows = [
        (str(uuid4()), MIDNIGHT + timedelta(days=day, hours=hour), user, kind, json.dumps({"country": country}))
        for day, hour, user, kind, country in events
    ]
    with weir.connection() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO events VALUES (%s, %s, %s, %s, %s)", rows)
    weir.count_stored("events", len(rows))


def seal_all(weir: Weir) -> None:
    engine = connect(weir.database_url, pool_size=2, statement_deadline=timedelta(seconds=30))
    with engine.connect() as connection:
        sources = hot.sources(connection, EVENTS, datetime(2100, 1, 1, tzinfo=UTC).date())
    for source in sources:
        seal(engine, Store(weir.settings().cold_url), source)
    engine.dispose()


@pytest.fixture(scope="module")
def asked(running_weir: Weir) -> Weir:
    store(running_weir, STORED)
    return running_weir


def every_way(weir: Weir, question: str, parameters: dict[str, Any]) -> Iterator[Any]:
    for path in (f"/stats/{question}", f"/api/stats/{question}"):
        yield good(weir.http.get(path, params=parameters))
    yield good(weir.http.post(f"/api/stats/{question}", json=parameters))


def good(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_daily_users_have_the_days_of_none(asked: Weir) -> None:
    for answer in every_way(asked, "dau", WINDOW):
        assert [(one["date"], one["unique_users"]) for one in answer] == DAU


def test_top_events_are_in_order(asked: Weir) -> None:
    for answer in every_way(asked, "top-events", {**WINDOW, "limit": 2}):
        assert answer == [{"event_type": "view", "count": 4}, {"event_type": "purchase", "count": 2}]
    assert len(good(asked.http.get("/stats/top-events", params=WINDOW))) == 3


def test_retention_follows_those_who_came_first_on_a_day(asked: Weir) -> None:
    for answer in every_way(asked, "retention", {"start_date": "2026-01-30"}):
        assert answer == RETENTION
    nobody = good(asked.http.get("/stats/retention", params={"start_date": "2026-02-01", "windows": 1}))
    assert nobody == {"cohort_size": 0, "windows": [{"day": 1, "count": 0, "rate": 0.0}]}


def test_headers_say_what_an_answer_covers_and_which_task_it_is_of(asked: Weir) -> None:
    window = {"from": "2026-01-28", "to": "2026-02-03"}
    for question, parameters, bare in (
        ("dau", window, lambda result: result["days"]),
        ("top-events", window, lambda result: result["events"]),
        # Another question than the test before asked, or it would be found again.
        (
            "retention",
            {"start_date": "2026-01-30", "windows": 4},
            lambda result: {name: result[name] for name in RETENTION},
        ),
    ):
        answer = asked.http.get(f"/stats/{question}", params=parameters)
        task = asked.http.get(answer.headers["location"]).json()
        assert task["status"] == "SUCCESS"
        assert answer.json() == bare(task["result"])
        assert answer.headers["weir-as-of"] == task["result"]["as_of"]
        assert datetime.fromisoformat(answer.headers["weir-as-of"]) <= datetime.now(UTC)
        assert answer.headers["weir-queued"] == "0"
        assert "weir-checked-at" not in answer.headers
        again = asked.http.post(f"/api/stats/{question}", json=parameters)
        checked = datetime.fromisoformat(again.headers["weir-checked-at"])
        assert datetime.fromisoformat(again.headers["weir-as-of"]) < checked <= datetime.now(UTC)
        assert checked == datetime.fromisoformat(asked.http.get(answer.headers["location"]).json()["checked_at"])
        named = ("location", "weir-as-of", "weir-queued")
        assert [again.headers[name] for name in named] == [answer.headers[name] for name in named]


def test_queued_in_the_headers_is_of_when_it_was_asked(weir: Weir) -> None:
    store(weir, STORED)
    weir.start("api", "worker")
    first = weir.http.get("/stats/dau", params=WINDOW)
    weir.rows("UPDATE ledger SET accepted = accepted + 3")
    again = weir.http.get("/stats/dau", params=WINDOW)
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers["weir-queued"], again.headers["weir-queued"]) == ("0", "3")


def test_segment_and_zone_count_for_each_question(asked: Weir) -> None:
    ukrainian = {"segment": "properties.country:UA"}
    dau = good(asked.http.get("/stats/dau", params=WINDOW | ukrainian))
    assert [one["unique_users"] for one in dau] == [1, 1, 0, 1]
    top = good(asked.http.get("/stats/top-events", params=WINDOW | ukrainian))
    assert [one["event_type"] for one in top] == ["view", "click", "purchase"]
    buyers = {"start_date": "2026-01-30", "segment": "event_type:purchase"}
    assert good(asked.http.get("/stats/retention", params=buyers))["cohort_size"] == 1
    in_kyiv = good(asked.http.get("/stats/dau", params=WINDOW | {"tz": "Europe/Kyiv"}))
    assert [one["unique_users"] for one in in_kyiv] == [1, 3, 0, 2]


def test_paths_of_events_and_of_devices_do_not_meet(asked: Weir) -> None:
    device = asked.device()
    assert good(asked.http.get(f"/stats/{device}/")) == []
    assert asked.http.get(f"/stats/{device}").status_code == 307
    assert good(asked.http.get("/stats/")) == []
    assert asked.http.get("/stats/dau/").status_code in {404, 422}
    assert asked.http.post("/stats/dau", json=WINDOW).status_code == 405


def test_same_question_over_unchanged_events_is_one_job(asked: Weir) -> None:
    question = {"from": "2026-01-01", "to": "2026-01-31"}
    jobs = "SELECT count(*) FROM jobs WHERE kind = 'daily_users' AND parameters->>'from' = '2026-01-01'"
    before = good(asked.http.get("/stats/dau", params=question))
    assert good(asked.http.post("/api/stats/dau", json=question)) == before
    assert asked.scalar(jobs) == 1
    store(asked, [(-20, 3, "new", "other", "FR")])
    after = good(asked.http.get("/stats/dau", params=question))
    assert [one["date"] for one, other in zip(after, before, strict=True) if one != other] == ["2026-01-10"]
    assert asked.scalar(jobs) == 2
    store(asked, [(20, 3, "newer", "other", "FR")])
    assert good(asked.http.get("/stats/dau", params=question)) == after
    assert asked.scalar(jobs) == 2


MISTAKES = [
    ("dau", {"to": None}, "to"),
    ("dau", {"from": "2026-02-30"}, "from"),
    ("dau", {"from": "yesterday"}, "from"),
    ("dau", {"from": "1767225600"}, "from"),
    ("dau", {"from": "0001-01-01"}, "from"),
    ("dau", {"to": "9999-12-31"}, "to"),
    ("dau", {"to": "2026-01-29"}, "to"),
    ("dau", {"to": "2036-02-07"}, "to"),
    ("dau", {"tz": "Europe/Atlantis"}, "tz"),
    ("dau", {"tz": "../../etc/passwd"}, "tz"),
    ("dau", {"tz": ""}, "tz"),
    *(("dau", {"tz": zone}, "tz") for zone in ("localtime", "Factory", "posix/UTC", "right/UTC", "posixrules", "utc")),
    ("top-events", {"limit": 0}, "limit"),
    ("top-events", {"limit": 1001}, "limit"),
    ("top-events", {"limit": "many"}, "limit"),
    ("retention", {"start_date": None}, "start_date"),
    ("retention", {"windows": 0}, "windows"),
    ("retention", {"windows": 367}, "windows"),
    *(
        (question, {"segment": segment}, "segment")
        for question in ("dau", "top-events", "retention")
        for segment in (
            "",
            "purchase",
            "event_type",
            "event_type:",
            "user_id:1",
            "properties:1",
            "properties.:1",
            "a\0:b",
        )
    ),
]


@pytest.mark.parametrize(("question", "change", "field"), MISTAKES)
def test_mistake_is_named_by_its_field(asked: Weir, question: str, change: dict[str, Any], field: str) -> None:
    usual = {"start_date": "2026-01-30"} if question == "retention" else WINDOW
    parameters = {name: value for name, value in (usual | change).items() if value is not None}
    for answer in (
        asked.http.get(f"/stats/{question}", params=parameters),
        asked.http.post(f"/api/stats/{question}", json=parameters),
    ):
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert [one["field"] for one in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("question", "field", "value"),
    [
        ("top-events", "limit", True),
        ("top-events", "limit", 5.0),
        ("top-events", "limit", "1_0"),
        ("retention", "windows", True),
    ],
)
def test_number_in_a_body_that_is_no_integer_is_refused(asked: Weir, question: str, field: str, value: object) -> None:
    usual = {"start_date": "2026-01-30"} if question == "retention" else WINDOW
    answer = asked.http.post(f"/api/stats/{question}", json=usual | {field: value})
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])


@pytest.mark.parametrize("field", ["from", "to", "tz", "segment", "limit"])
def test_what_was_sent_is_not_repeated(asked: Weir, field: str) -> None:
    parameters = WINDOW | {field: "echo\ud83c"}
    get = asked.http.get("/stats/top-events", params=WINDOW | {field: "echo"})
    post = asked.http.post("/api/stats/top-events", content=json.dumps(parameters))
    assert {get.status_code, post.status_code} == {422}
    assert "echo" not in get.text + post.text


def test_misspelt_parameter_is_no_question(asked: Weir) -> None:
    for answer in (
        asked.http.get("/stats/dau", params=WINDOW | {"segmnet": "event_type:view"}),
        asked.http.post("/api/stats/dau", json=WINDOW | {"segmnet": "event_type:view"}),
    ):
        assert answer.status_code == 422
        assert [one["field"] for one in answer.json()["errors"]] == ["segmnet"]


def test_what_is_not_ready_in_time_is_a_task_to_come_back_to(weir: Weir) -> None:
    weir.environment |= {"WEIR_JOB_WAIT_LIMIT": "0.2"}
    weir.start("api")
    store(weir, STORED)
    answer = weir.http.get("/stats/dau", params=WINDOW)
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) >= 1
    location = answer.headers["location"]
    assert answer.json()["status"] == "PENDING"
    assert location == f"/tasks/{answer.json()['task_id']}"
    weir.start("worker")
    weir.wait_for(lambda: weir.http.get(location).json()["status"] == "SUCCESS", 40)
    result = weir.http.get(location).json()["result"]
    assert [(one["date"], one["unique_users"]) for one in result["days"]] == DAU
    assert result["queued"] == 0
    assert datetime.fromisoformat(result["as_of"]) <= datetime.now(UTC)
    assert good(weir.http.get("/stats/dau", params=WINDOW)) == result["days"]


def test_damaged_file_is_a_problem_that_names_it(weir: Weir) -> None:
    store(weir, STORED)
    seal_all(weir)
    weir.start("api", "worker")
    assert good(weir.http.get("/stats/retention", params={"start_date": "2026-01-30"})) == RETENTION
    first, *_ = sorted(Path(weir.settings().cold_url).rglob("*.parquet"))
    first.write_bytes(first.read_bytes()[:-1])
    answer = weir.http.get("/stats/dau", params=WINDOW)
    assert answer.status_code == 500
    assert "retry-after" not in answer.headers
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:weir:problem:job-failed"
    assert first.name in answer.json()["detail"]
    assert good(weir.http.get("/stats/dau", params={"from": "2026-01-31", "to": "2026-01-31"}))[0]["unique_users"] == 2


def test_cancelled_task_is_503_and_asking_again_starts_a_new_one(weir: Weir) -> None:
    store(weir, STORED)
    weir.start("api")
    cancelled = "SELECT id FROM jobs WHERE status = 'queued'"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(weir.http.get, "/stats/dau", params=WINDOW)
        weir.wait_for(lambda: bool(weir.rows(cancelled)))
        assert weir.http.delete(f"/tasks/{weir.scalar(cancelled)}").json()["status"] == "CANCELLED"
        found = answer.result()
    assert (found.status_code, found.json()["type"]) == (503, "urn:weir:problem:job-cancelled")
    assert 1 <= int(found.headers["retry-after"]) <= 60
    weir.start("worker")
    assert len(good(weir.http.get("/stats/dau", params=WINDOW))) == len(DAU)
    assert weir.rows("SELECT status FROM jobs ORDER BY asked_at") == [("cancelled",), ("done",)]
