"""The API as its users' scripts know it: paths, bodies and answers are a contract."""

import gzip
import itertools
import json
import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from factories import Weir, reading, tuples

NDJSON = {"content-type": "application/x-ndjson"}
DAY = datetime(2025, 1, 1, tzinfo=UTC)

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def http(running_weir):
    return running_weir.http


@pytest.fixture
def device(running_weir) -> UUID:
    return running_weir.device()


def new_user(http, name="Ada"):
    answer = http.post("/users/", json={"name": name, "email": f"user{next(_numbers)}@example.org"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def new_device(http, user, name=None):
    answer = http.post("/devices/", json={"user_id": user["id"]} | ({"name": name} if name else {}))
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def at(seconds, start=DAY):
    return (start + timedelta(seconds=seconds)).isoformat()


def send(weir: Weir, device, readings):
    """Send a batch and wait until it is stored."""
    answer = weir.http.post(f"/devices/{device}/stats/batch", json=readings)
    assert (answer.status_code, answer.json()["accepted"]) == (202, len(readings)), answer.text
    receipt = answer.headers["location"]
    weir.wait_for(lambda: weir.http.get(receipt).json()["status"] == "stored")
    return answer


def pages(http, path, **parameters):
    """Every page of a list, by following its Link headers."""
    answer = http.get(path, params=parameters)
    while True:
        assert answer.status_code == 200, answer.text
        yield answer.json()
        following = answer.links.get("next")
        if following is None:
            return
        answer = http.get(following["url"])


def is_problem(answer, status, **error):
    """Whether an answer is a problem of this status that lists such an error."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    content = answer.json()
    assert content["status"] == status
    assert content["type"].startswith("urn:weir:problem:")
    assert content["title"]
    if error:
        listed = content["errors"]
        assert any(error.items() <= one.items() for one in listed), listed
    return True


def answer_of(http, path, **parameters):
    """Ask for statistics and wait for the result."""
    task = http.post(path, params={"wait": 30, **parameters}).json()
    assert (task["status"], task["error"]) == ("SUCCESS", None), task
    return task["result"]


def axis(values):
    """What the statistics of these values must be."""
    return {
        "min": min(values),
        "max": max(values),
        "count": len(values),
        "sum": math.fsum(values),
        "median": statistics.median(values),
    }


NOTHING = {"min": None, "max": None, "count": 0, "sum": 0, "median": None}


# Users


def test_user_is_made_and_listed(http):
    user = new_user(http, "Grace Hopper")
    assert user.keys() == {"id", "name", "email"}
    assert http.get("/users/", params={"email": user["email"]}).json() == [user]


@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_same_email_again_is_400_in_any_case(http, change):
    user = new_user(http)
    again = http.post("/users/", json={"name": "Other", "email": change(user["email"])})
    assert is_problem(again, 400)
    assert http.get("/users/", params={"email": user["email"]}).json() == [user]


def test_device_that_is_to_be_reused_is_made_once_by_however_many(http):
    user = new_user(http)
    new = {"user_id": user["id"], "name": "pump", "reuse": True}

    def make(_):
        return http.post("/devices/", json=new).json()

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(make, range(24)))
    assert {one["id"] for one in made} == {made[0]["id"]}
    other = http.post("/devices/", json=new | {"reuse": False}).json()
    assert other["id"] != made[0]["id"]
    assert make(None) == made[0]
    assert http.post("/devices/", json=new | {"name": "valve"}).json()["id"] not in {made[0]["id"], other["id"]}
    refused = http.post("/devices/", json={"user_id": user["id"], "reuse": True})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "name")
    assert http.post("/devices/", json=new | {"user_id": 2_000_000_000}).status_code == 404


@pytest.mark.parametrize(
    ("email", "again"),
    [("\u00c4da@example.org", "\u00e4DA@EXAMPLE.org"), ("stra\u00dfe@example.org", "STRASSE@example.org"),
     ("\u039f\u03b4\u03bf\u03c2@example.org", "\u039f\u0394\u039f\u03a3@example.org"), ("a\u030arsta@example.org", "\u00c5rsta@example.org")],
)  # fmt: skip
def test_emails_are_the_same_in_any_script_whatever_the_locale(http, email, again):
    made = http.post("/users/", json={"name": "Ada", "email": email})
    assert made.status_code == 200, made.text
    refused = http.post("/users/", json={"name": "Other", "email": again})
    assert (refused.status_code, refused.json()["type"]) == (400, "urn:weir:problem:conflict")
    assert http.get("/users/", params={"email": again}).json() == [made.json()]


def test_users_are_found_by_email_in_any_case(http):
    user = new_user(http)
    assert http.get("/users/", params={"email": user["email"].upper()}).json() == [user]
    assert http.get("/users/", params={"email": "nobody@example.org"}).json() == []


def test_users_are_paged_to_the_end_once_each(http):
    made = [new_user(http)["id"] for _ in range(5)]
    found = list(pages(http, "/users/", limit=2))
    assert {len(page) for page in found[:-1]} == {2}
    ids = [user["id"] for page in found for user in page]
    assert ids == sorted(set(ids))
    assert set(made) <= set(ids)


def test_last_page_that_is_full_has_no_link(http):
    count = sum(len(page) for page in pages(http, "/users/", limit=1000))
    assert "link" not in http.get("/users/", params={"limit": count}).headers


# Devices


def test_device_is_made_shown_and_listed(http):
    user = new_user(http)
    device_id = new_device(http, user, "roof")
    device = {"id": device_id, "user_id": user["id"], "name": "roof", "retention_days": None}
    assert str(UUID(device_id)) == device_id
    assert http.get(f"/devices/{device_id}").json() == device
    assert http.get("/devices/", params={"user_id": user["id"]}).json() == [device]


def test_device_needs_no_name(http):
    device_id = new_device(http, new_user(http))
    assert http.get(f"/devices/{device_id}").json()["name"] is None


def test_device_of_an_unknown_user_is_404(http):
    assert is_problem(http.post("/devices/", json={"user_id": 2_000_000_000}), 404)


def test_unknown_device_is_404(http):
    assert is_problem(http.get(f"/devices/{uuid4()}"), 404)


def test_devices_are_found_by_user_and_name_page_by_page(http):
    user, other = new_user(http), new_user(http)
    made = [new_device(http, user, f"wing {number % 2}") for number in range(5)]
    stranger = new_device(http, other, "wing 1")
    found = [one["id"] for page in pages(http, "/devices/", user_id=user["id"], limit=2) for one in page]
    assert found == made
    named = [one["id"] for page in pages(http, "/devices/", name="wing 1", limit=1) for one in page]
    assert named == [made[1], made[3], stranger]
    both = http.get("/devices/", params={"user_id": other["id"], "name": "wing 1"}).json()
    assert [one["id"] for one in both] == [stranger]


# Submissions


def as_array(readings):
    return {"json": readings}


def as_lines(readings):
    return {"content": "\n".join(map(json.dumps, readings)), "headers": NDJSON}


def as_columns(readings):
    names = {name: None for one in readings for name in one}
    return {"json": {name: [one.get(name) for one in readings] for name in names}}


FORMATS = [as_array, as_lines, as_columns]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_batch_is_stored_whole_in_every_format(running_weir, device, form, packed):
    sent = [reading(number, timestamp=at(number)) for number in range(5)]
    request = running_weir.http.build_request("POST", f"/devices/{device}/stats/batch", **form(sent))
    headers = {"content-type": request.headers.get("content-type", "")}
    content = request.content
    if packed:
        content, headers["content-encoding"] = gzip.compress(content), "gzip"
    answer = running_weir.http.post(f"/devices/{device}/stats/batch", content=content, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"status": "ok", "accepted": 5, "rejected": []}
    running_weir.wait_for(lambda: len(running_weir.http.get(f"/stats/{device}/").json()) == 5)
    stored = running_weir.http.get(f"/stats/{device}/").json()
    assert tuples(stored) == tuples(sent[::-1])
    assert [datetime.fromisoformat(one["timestamp"]) for one in stored] == [
        DAY + timedelta(seconds=number) for number in range(4, -1, -1)
    ]


def test_reading_without_a_timestamp_is_taken_when_it_was_accepted(running_weir, device):
    before = datetime.now(UTC)
    assert running_weir.http.post(f"/devices/{device}/stats/", json=reading()).status_code == 202
    after = datetime.now(UTC)
    running_weir.wait_for(lambda: bool(running_weir.http.get(f"/stats/{device}/").json()))
    (stored,) = running_weir.http.get(f"/stats/{device}/").json()
    assert stored.keys() == {"device_id", "timestamp", "x", "y", "z"}
    assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(stored["timestamp"]) <= after


def test_upper_case_id_is_the_same_device(running_weir, device):
    assert running_weir.http.post(f"/devices/{str(device).upper()}/stats/", json=reading(5)).status_code == 202
    running_weir.wait_for(lambda: tuples(running_weir.http.get(f"/stats/{device}/").json()) == tuples([reading(5)]))


@pytest.mark.parametrize("form", FORMATS)
def test_valid_readings_of_a_batch_are_kept_and_the_others_listed(running_weir, device, form):
    sent = [reading(1), reading(2, x="two"), reading(3), reading(4, timestamp="1970-01-01T00:00:00Z")]
    answer = running_weir.http.post(f"/devices/{device}/stats/batch", **form(sent))
    assert answer.status_code == 202
    assert answer.json() == {
        "status": "ok",
        "accepted": 2,
        "rejected": [
            {"index": 1, "code": "not_a_number", "field": "x"},
            {"index": 3, "code": "timestamp_too_old", "field": "timestamp"},
        ],
    }
    running_weir.wait_for(lambda: len(running_weir.http.get(f"/stats/{device}/").json()) == 2)
    assert sorted(tuples(running_weir.http.get(f"/stats/{device}/").json())) == tuples([reading(1), reading(3)])


@pytest.mark.parametrize("form", FORMATS)
def test_gateway_batch_rejects_readings_of_unknown_devices(running_weir, form):
    http, devices = running_weir.http, [running_weir.device(), running_weir.device()]
    ids = [str(devices[0]), str(uuid4()), str(devices[1]), str(devices[0])]
    sent = [reading(number, timestamp=at(number), device_id=one) for number, one in enumerate(ids)]
    answer = http.post("/stats/batch", **form(sent))
    assert answer.status_code == 202, answer.text
    assert answer.json() == {
        "status": "ok",
        "accepted": 3,
        "rejected": [{"index": 1, "code": "unknown_device", "field": "device_id"}],
    }
    running_weir.wait_for(lambda: http.get(answer.headers["location"]).json()["status"] == "stored")
    assert tuples(http.get(f"/stats/{devices[0]}/").json()) == tuples([sent[3], sent[0]])
    assert tuples(http.get(f"/stats/{devices[1]}/").json()) == tuples([sent[2]])


@pytest.mark.parametrize("form", FORMATS)
def test_batch_without_a_valid_reading_is_422_and_keeps_nothing(running_weir, device, form):
    answer = running_weir.http.post(f"/devices/{device}/stats/batch", **form([reading(x=None), reading(y=True)]))
    assert is_problem(answer, 422, index=0, field="x", code="not_a_number")
    assert is_problem(answer, 422, index=1, field="y", code="not_a_number")
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "content", [{"json": []}, {"json": {"x": [], "y": [], "z": []}}, {"content": "\n\n", "headers": NDJSON}]
)
def test_empty_batch_is_422(http, device, content):
    assert is_problem(http.post(f"/devices/{device}/stats/batch", **content), 422)


@pytest.mark.parametrize("form", FORMATS)
def test_batch_of_10000_is_accepted_and_one_more_is_413(running_weir, device, form):
    sent = [reading(number) for number in range(10_001)]
    path = f"/devices/{device}/stats/batch"
    assert is_problem(running_weir.http.post(path, **form(sent)), 413)
    answer = running_weir.http.post(path, **form(sent[:-1]))
    assert (answer.status_code, answer.json()["accepted"]) == (202, 10_000)
    count = "SELECT count(*) FROM readings JOIN devices ON key = device_key WHERE id = %s"
    running_weir.wait_for(lambda: running_weir.scalar(count, str(device)) >= 10_000)
    assert running_weir.scalar(count, str(device)) == 10_000


def test_limit_of_a_batch_counts_invalid_readings_too(http, device):
    batch = [reading()] * 9_999 + [{}, {}]
    assert is_problem(http.post(f"/devices/{device}/stats/batch", json=batch), 413)


@pytest.mark.parametrize("path", ["/devices/{}/stats/", "/devices/{}/stats/batch"])
def test_submission_for_an_unknown_device_is_404(http, path):
    assert is_problem(http.post(path.format(uuid4()), json=reading()), 404)


def test_key_sent_five_times_at_once_is_stored_once(running_weir, device):
    headers = {"Idempotency-Key": "a key: 5×".encode("ascii", "ignore").decode()}
    batch = [reading(number) for number in range(3)]

    def submit(_):
        return running_weir.http.post(f"/devices/{device}/stats/batch", json=batch, headers=headers)

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(submit, range(5)))
    assert [answer.status_code for answer in answers] == [202] * 5
    (location,) = {answer.headers["location"] for answer in answers}
    running_weir.wait_for(lambda: running_weir.http.get(location).json()["status"] == "stored")
    assert submit(0).headers["location"] == location
    send(running_weir, device, [reading(99)])  # written after all of them
    assert sorted(tuples(running_weir.http.get(f"/stats/{device}/").json())) == tuples([*batch, reading(99)])
    assert running_weir.http.get(location).json()["records"] == 3


def test_another_body_under_the_same_key_is_422_and_not_stored(running_weir, device):
    http, headers, path = running_weir.http, {"Idempotency-Key": "once"}, f"/devices/{device}/stats/"

    def at_once(number):
        return http.post(path, json=reading(number), headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(at_once, range(8)))
    (location,) = {one.headers["location"] for one in answers if one.status_code == 202}
    refused = [one for one in answers if one.status_code != 202]
    assert len(refused) == 7
    assert all(is_problem(one, 422) for one in refused)
    assert {one.json()["type"] for one in refused} == {"urn:weir:problem:key-reused"}
    running_weir.wait_for(lambda: http.get(location).json()["status"] == "stored")
    assert len(http.get(f"/stats/{device}/").json()) == 1
    # In a batch, too; and the same without a timestamp is the same, whenever it comes.
    assert is_problem(http.post(f"{path}batch", json=[reading(9)], headers=headers), 422)
    (first,) = [number for number, one in enumerate(answers) if one.status_code == 202]
    assert at_once(first).headers["location"] == location


def test_same_key_of_another_device_is_another_submission(running_weir, device):
    other, headers = running_weir.device(), {"Idempotency-Key": "shared"}
    for one in (device, other):
        assert running_weir.http.post(f"/devices/{one}/stats/", json=reading(), headers=headers).status_code == 202
    for one in (device, other):
        running_weir.wait_for(lambda one=one: len(running_weir.http.get(f"/stats/{one}/").json()) == 1)


@pytest.mark.parametrize("form", FORMATS)
def test_same_key_of_another_gateway_is_another_submission(running_weir, form):
    http, headers = running_weir.http, {"Idempotency-Key": f"gateways, {form.__name__}"}
    gateways = [[running_weir.device(), running_weir.device()] for _ in range(2)]

    def submit(devices):
        content = form([reading(number, device_id=str(one)) for number, one in enumerate(devices)])
        answer = http.post("/stats/batch", **content | {"headers": content.get("headers", {}) | headers})
        assert (answer.status_code, answer.json()["accepted"]) == (202, len(devices))
        return answer.headers["location"]

    first, second = map(submit, gateways)
    assert first != second
    assert submit(gateways[0]) == first
    for location in (first, second):
        running_weir.wait_for(lambda location=location: http.get(location).json()["status"] == "stored")
    for one in (*gateways[0], *gateways[1]):
        assert len(http.get(f"/stats/{one}/").json()) == 1


# Receipts


def test_receipt_that_nobody_has_written_down_is_pending(http):
    receipt = str(uuid4())
    answer = http.get(f"/receipts/{receipt}").json()
    assert (answer["id"], answer["status"], answer["records"], answer["stored_at"]) == (receipt, "pending", None, None)


def receipt_of(moment: datetime) -> str:
    """A receipt (UUIDv7) as it would have been given out then."""
    return str(UUID(f"{int(moment.timestamp() * 1000):012x}7000a000000000000001"))


@pytest.mark.parametrize(
    ("ago", "status"),
    [
        pytest.param(timedelta(seconds=5), "pending", id="now"),
        pytest.param(timedelta(hours=3), "unknown", id="of a quiet minute"),
        pytest.param(timedelta(hours=-3), "unknown", id="of the future"),
    ],
)
def test_receipt_that_tells_its_time_is_not_pending_for_ever(http, ago, status):
    assert http.get(f"/receipts/{receipt_of(datetime.now(UTC) - ago)}").json()["status"] == status


def test_receipt_of_a_minute_that_is_still_in_flight_is_pending(running_weir, http):
    made = datetime.now(UTC) - timedelta(days=20, hours=3)
    running_weir.rows(
        "INSERT INTO ledger (stream, minute, series, accepted) VALUES ('s', date_trunc('minute', %s), gen_random_uuid(), 1)",
        made,
    )
    assert http.get(f"/receipts/{receipt_of(made)}").json()["status"] == "pending"
    running_weir.rows("DELETE FROM ledger WHERE stream = 's'")
    answer = http.get(f"/receipts/{receipt_of(made)}")
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:weir:problem:expired")


def test_receipt_tells_how_many_were_stored_and_when(running_weir, device):
    before = datetime.now(UTC)
    location = send(running_weir, device, [reading(), reading()]).headers["location"]
    receipt = running_weir.http.get(location).json()
    assert (receipt["status"], receipt["records"], receipt["dead"]) == ("stored", 2, [])
    assert receipt["stream"] == "readings"
    accepted_at = datetime.fromisoformat(receipt["accepted_at"])
    assert before - timedelta(milliseconds=1) <= accepted_at <= datetime.fromisoformat(receipt["stored_at"])
    assert before <= datetime.fromisoformat(receipt["stored_at"]) <= datetime.now(UTC)


def test_receipt_names_the_dead_records_and_why(running_weir, device):
    """Another producer's message, straight into the broker: nobody has looked at it before the consumer."""
    receipt = str(uuid4())
    batch = [reading(number, device_id=str(device)) for number in range(3)]
    batch[1]["x"] = "bad"
    running_weir.management(
        "POST",
        "exchanges/{vhost}/weir/publish",
        json={
            "routing_key": "readings",
            "properties": {"message_id": receipt, "content_type": "application/json", "delivery_mode": 2},
            "payload": json.dumps(batch),
            "payload_encoding": "string",
        },
    )
    running_weir.wait_for(lambda: running_weir.http.get(f"/receipts/{receipt}").json()["status"] != "pending")
    found = running_weir.http.get(f"/receipts/{receipt}").json()
    assert (found["status"], found["records"]) == ("dead-lettered", 2)
    assert [(one["index"], one["code"]) for one in found["dead"]] == [(1, "not_a_number")]
    assert found["dead"][0]["reason"]


# Statistics


def test_statistics_are_exact_for_odd_and_even_counts(running_weir, device):
    values = [0.1, 0.7, 0.2, 1e16]
    batch = [{"x": x, "y": -x, "z": 1, "timestamp": at(number)} for number, x in enumerate(values)]
    send(running_weir, device, batch)
    path = f"/devices/{device}/analytics/"
    even = answer_of(running_weir.http, path)
    assert (even["x"], even["y"]) == (axis(values), axis([-x for x in values]))
    assert even["x"]["median"] == 0.2 / 2 + 0.7 / 2
    odd = answer_of(running_weir.http, path, end=at(3))
    assert odd["x"] == axis(values[:3])
    coverage = {"start", "end", "as_of", "exact", "queued", "newest", "hot", "cold"}
    assert even.keys() == {"x", "y", "z"} | coverage
    assert (even["exact"], even["hot"], even["cold"], datetime.fromisoformat(even["newest"])) == (
        True, 4, 0, DAY + timedelta(seconds=3),
    )  # fmt: skip


def test_window_has_its_start_and_not_its_end(running_weir, device):
    send(running_weir, device, [reading(number, timestamp=at(number)) for number in range(4)])
    found = answer_of(running_weir.http, f"/devices/{device}/analytics/", start=at(1), end=at(3))
    assert found["x"] == axis([1.0, 2.0])
    assert [datetime.fromisoformat(found[name]) for name in ("start", "end")] == [
        DAY + timedelta(seconds=1),
        DAY + timedelta(seconds=3),
    ]
    assert tuples(running_weir.http.get(f"/stats/{device}/", params={"start": at(1), "end": at(3)}).json()) == tuples(
        [reading(2), reading(1)]
    )


def test_moment_without_an_offset_is_utc(running_weir, device):
    send(running_weir, device, [reading(number, timestamp=at(number * 3600)) for number in range(4)])
    path = f"/devices/{device}/analytics/"
    naive = answer_of(running_weir.http, path, start="2025-01-01T01:00:00", end="2025-01-01T03:00:00")
    offset = answer_of(running_weir.http, path, start="2025-01-01T03:00:00+02:00", end="2025-01-01T03:00:00Z")
    assert naive["x"] == offset["x"] == axis([1.0, 2.0])
    listed = running_weir.http.get(f"/stats/{device}/?start=2025-01-01T02:00:00").json()
    assert tuples(listed) == tuples([reading(3), reading(2)])


def test_empty_window_has_count_and_sum_0_and_else_null(running_weir, device):
    send(running_weir, device, [reading(timestamp=at(0))])
    for parameters in ({"start": at(1)}, {"end": at(0)}, {"start": "2030-01-01T00:00:00", "end": "2031-01-01"}):
        found = answer_of(running_weir.http, f"/devices/{device}/analytics/", **parameters)
        assert [found[name] for name in "xyz"] == [NOTHING] * 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_task_is_given_at_once_and_polled_for_its_answer(running_weir, device, method):
    send(running_weir, device, [reading(2)])
    task = running_weir.http.request(method, f"/devices/{device}/analytics/").json()
    assert {"task_id", "status"} <= task.keys()
    assert task["status"] in {"PENDING", "STARTED", "SUCCESS"}
    path = f"/tasks/{task['task_id']}"
    running_weir.wait_for(lambda: running_weir.http.get(path).json()["status"] == "SUCCESS")
    found = running_weir.http.get(path).json()
    assert (found["task_id"], found["error"], found["result"]["x"]) == (task["task_id"], None, axis([2.0]))


def test_wait_on_a_task_gives_its_answer(running_weir, device):
    task = running_weir.http.get(f"/devices/{device}/analytics/").json()
    found = running_weir.http.get(f"/tasks/{task['task_id']}", params={"wait": 30}).json()
    assert (found["status"], found["result"]["x"]) == ("SUCCESS", NOTHING)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_users_devices_are_counted_together_and_each_by_itself(running_weir, method):
    http = running_weir.http
    user = new_user(http)
    devices = [new_device(http, user) for _ in range(3)]
    for number, one in enumerate(devices[:2]):
        send(running_weir, one, [reading(number + 1), reading(10 * (number + 1))])
    send(running_weir, new_device(http, new_user(http)), [reading(1000)])
    path = f"/users/{user['id']}/analytics/"
    together = http.request(method, path, params={"wait": 30}).json()["result"]
    assert together["x"] == axis([1.0, 10.0, 2.0, 20.0])
    apart = http.request(method, path, params={"wait": 30, "group_by": "device"}).json()["result"]
    assert {one: found["x"] for one, found in apart["devices"].items()} == {
        devices[0]: axis([1.0, 10.0]),
        devices[1]: axis([2.0, 20.0]),
        devices[2]: NOTHING,
    }


WHOLE_QUESTION = {"axes": "y,x", "quantiles": "0.1,1,0.5", "histogram": 2, "magnitude": "true", "bucket": "1m"}
WHOLE_BODY = {"axes": ["x", "y"], "quantiles": [0.1, 0.5, 1], "histogram": 2, "magnitude": True, "bucket": "PT60S"}


def test_question_may_be_asked_in_query_or_body(running_weir, device):
    batch = [{"x": 3 * k, "y": 4 * k, "z": 0, "timestamp": at(30 * k)} for k in range(11)]
    send(running_weir, device, batch)
    path = f"/devices/{device}/analytics/"
    found = answer_of(running_weir.http, path, **WHOLE_QUESTION)
    asked = running_weir.http.post(path, params={"wait": 30}, json=WHOLE_BODY).json()["result"]
    assert found == asked
    assert [name for name in ("x", "y", "z", "magnitude") if name in found] == ["x", "y", "magnitude"]
    assert found["magnitude"] == {
        "min": 0.0,
        "max": 50.0,
        "count": 11,
        "sum": 275.0,
        "median": 25.0,
        "quantiles": {"0.1": 5.0, "0.5": 25.0, "1": 50.0},
        "histogram": {"edges": [0.0, 25.0, 50.0], "counts": [5, 6]},
    }
    assert [(one["start"], one["magnitude"]["count"]) for one in found["buckets"]] == [
        ((DAY + timedelta(minutes=minute)).isoformat(), 1 if minute == 5 else 2) for minute in range(6)
    ]
    last = found["buckets"][-1]
    assert (last["end"], last["x"]) == ((DAY + timedelta(minutes=6)).isoformat(), axis([30.0]) | {"quantiles": ANY_30})


ANY_30 = {"0.1": 30.0, "0.5": 30.0, "1": 30.0}


def test_statistics_of_all_are_of_every_device(weir):
    weir.start("api", "consumer", "worker")
    for number in range(3):
        weir.http.post(f"/devices/{weir.device()}/stats/", json=reading(number))
    weir.wait_until_stored(3)
    for method in ("GET", "POST"):
        found = weir.http.request(method, "/analytics/", params={"wait": 30}).json()["result"]
        assert (found["x"], found["hot"]) == (axis([0.0, 1.0, 2.0]), 3)


def test_user_without_devices_has_statistics_of_nothing(http):
    user = new_user(http)
    path = f"/users/{user['id']}/analytics/"
    assert answer_of(http, path)["z"] == NOTHING
    assert answer_of(http, path, group_by="device")["devices"] == {}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/tasks/{uuid4()}", 404),
        ("/tasks/no-uuid", 422),
        (f"/devices/{uuid4()}/analytics/", 404),
        ("/devices/no-uuid/analytics/", 422),
        ("/users/2000000000/analytics/", 404),
        ("/users/0/analytics/", 422),
        ("/users/nobody/analytics/", 422),
        ("/users/99999999999999999999/analytics/", 422),
        (f"/stats/{uuid4()}/", 404),
        ("/stats/no-uuid/", 422),
        ("/devices/no-uuid", 422),
        ("/receipts/no-uuid", 422),
    ],
)
def test_unknown_id_is_404_and_what_is_no_id_422(http, path, status):
    assert is_problem(http.get(path), status)


def test_refused_wait_asks_for_nothing(running_weir, device):
    jobs = running_weir.scalar("SELECT count(*) FROM jobs")
    assert is_problem(running_weir.http.get(f"/devices/{device}/analytics/?wait=31"), 422, field="wait")
    assert running_weir.scalar("SELECT count(*) FROM jobs") == jobs


def test_statistics_say_how_many_readings_are_still_queued(weir):
    weir.start("api", "worker")
    device = weir.device()
    for number in range(4):
        assert weir.http.post(f"/devices/{device}/stats/", json=reading(number)).status_code == 202
    batch = [reading(number) for number in range(4, 7)]
    assert weir.http.post(f"/devices/{device}/stats/batch", json=batch).status_code == 202
    path = f"/devices/{device}/analytics/"
    before = answer_of(weir.http, path)
    assert (before["queued"], before["x"]) == (7, NOTHING)
    weir.start("consumer")
    weir.wait_until_stored(7)
    after = answer_of(weir.http, path)
    assert (after["queued"], after["x"]) == (0, axis([float(number) for number in range(7)]))


# Stored readings


@pytest.fixture(scope="module")
def crowded(running_weir):
    """Devices of which each sent many readings at the same two moments, a year apart, and one between them."""
    devices = [running_weir.device(f"crowd {number}") for number in range(3)]
    moments = ["2020-02-29T12:00:00+00:00", "2021-02-28T12:00:00+00:00"]
    for number, one in enumerate(devices):
        batch = [reading(100 * number + count, timestamp=moment) for moment in moments for count in range(7)]
        batch.append(reading(-1, timestamp="2020-08-01T00:00:00Z"))
        send(running_weir, one, [*batch, batch[0]])  # one of them twice: still two readings
    return devices


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 16, 47, 48, 49])
@pytest.mark.parametrize(
    "window",
    [None, {"start": "2020-01-01", "end": "2022-01-01"}, {"end": "2022-01-01T00:00:00"}],
    ids=["one device", "all devices", "all devices from the beginning"],
)
def test_pages_hold_each_reading_once_and_newest_first(http, crowded, limit, window):
    path, count = (f"/stats/{crowded[1]}/", 16) if window is None else ("/stats/", 48)
    found = list(pages(http, path, limit=limit, **(window or {})))
    (whole,) = pages(http, path, limit=1000, **(window or {}))
    assert [one for page in found for one in page] == whole
    assert len(whole) == count
    moments = [one["timestamp"] for one in whole]
    assert moments == sorted(moments, reverse=True)
    assert {len(page) for page in found[:-1]} <= {limit}
    assert found[-1]


def test_page_is_never_longer_than_asked(http, crowded):
    assert len(http.get("/stats/", params={"limit": 5}).json()) == 5
    assert len(http.get(f"/stats/{crowded[0]}/").json()) == 16
    assert is_problem(http.get("/stats/", params={"limit": 1001}), 422, field="limit")


def test_readings_ahead_of_the_clock_are_listed_first(running_weir, device):
    ahead = (datetime.now(UTC) + timedelta(hours=23)).isoformat()
    send(running_weir, device, [reading(1), reading(2, timestamp=ahead), reading(3, timestamp=ahead)])
    found = [page for page, _ in zip(pages(running_weir.http, "/stats/", limit=1), range(2), strict=False)]
    assert sorted(tuples([one for page in found for one in page])) == tuples([reading(2), reading(3)])


# Operations


def test_healthz_and_readyz_say_ok(http):
    assert http.get("/healthz").json() == {"status": "ok"}
    ready = http.get("/readyz")
    topology = "not checked: WEIR_MANAGEMENT_URL is not set"
    parts = {"ready": True, "broker": "ok", "database": "ok", "topology": topology}
    parts["parked"] = {"readings": 0, "events": 0}
    assert (ready.status_code, ready.json()) == (200, parts)


def test_metrics_count_what_was_accepted(http, device):
    def accepted():
        (line,) = [line for line in http.get("/metrics").text.splitlines() if line.startswith(name)]
        return float(line.split()[-1])

    name = 'weir_accepted_records_total{stream="readings"}'
    http.post(f"/devices/{device}/stats/", json=reading())
    before = accepted()
    http.post(f"/devices/{device}/stats/batch", json=[reading(), reading(), {}])
    assert accepted() == before + 2


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_documentation_is_served(http, path):
    answer = http.get(path)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/html")


def test_openapi_describes_every_path_of_the_contract(http):
    paths = {path: set(methods) for path, methods in http.get("/openapi.json").json()["paths"].items()}
    assert paths == {
        "/users/": {"get", "post"},
        "/devices/": {"get", "post"},
        "/devices/{device_id}": {"get", "patch"},
        "/devices/{device_id}/readings": {"get"},
        "/devices/{device_id}/series": {"get"},
        "/readings": {"get"},
        "/devices/{device_id}/stats/": {"post"},
        "/devices/{device_id}/stats/batch": {"post"},
        "/devices/{device_id}/stats/stored": {"post"},
        "/stats/batch": {"post"},
        "/events": {"get", "post"},
        "/api/events": {"post"},
        "/stats/": {"get"},
        "/stats/{device_id}/": {"get"},
        "/stats/dau": {"get"},
        "/stats/top-events": {"get"},
        "/stats/retention": {"get"},
        "/api/stats/dau": {"get", "post"},
        "/api/stats/top-events": {"get", "post"},
        "/api/stats/retention": {"get", "post"},
        "/receipts/{receipt_id}": {"get"},
        "/devices/{device_id}/analytics/": {"get", "post"},
        "/users/{user_id}/analytics/": {"get", "post"},
        "/analytics/": {"get", "post"},
        "/tasks/{task_id}": {"get", "delete"},
        "/ops/dead-letters": {"get"},
        "/ops/dead-letters/{letter_id}": {"get", "patch", "delete"},
        "/ops/dead-letters/replay": {"post"},
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/ops/ledger": {"get"},
        "/ops/parked": {"get"},
        "/ops/parked/release": {"post"},
    }


def test_every_operation_has_a_name_of_its_own(running_weir):
    paths = running_weir.http.get("/openapi.json").json()["paths"].values()
    names = [operation["operationId"] for methods in paths for operation in methods.values()]
    assert len(names) == len(set(names))
    assert "Duplicate Operation ID" not in running_weir.log("api")
