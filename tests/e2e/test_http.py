"""HTTP as clients and proxies speak it: HEAD, Allow, slashes, redirects, media types, gzip, query names, keys."""

import gzip
import json
from uuid import uuid4

import pytest
from factories import Weir, event, reading

ONE = b'{"x": 1, "y": 2, "z": 3}'
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def device(running_weir: Weir) -> str:
    found = running_weir.device()
    running_weir.http.post(f"/devices/{found}/stats/", json=reading())
    running_weir.wait_for(lambda: running_weir.stored() > 0)
    return str(found)


PAGES = [
    "/healthz", "/readyz", "/metrics", "/users/", "/devices/", "/stats/", "/stats/{device}/", "/ops/ledger", "/ops/parked",
    "/ops/dead-letters", "/devices/{device}/series", "/devices/{device}/readings", "/events",
]  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_head_is_answered_as_get_without_the_body(running_weir: Weir, device: str, path: str) -> None:
    path = path.format(device=device)
    full, head = running_weir.http.get(path), running_weir.http.head(path)
    assert (head.status_code, head.content) == (full.status_code, b"")
    assert full.status_code == 200, full.text
    assert head.headers["content-type"] == full.headers["content-type"]
    again = running_weir.http.get("/healthz")  # on the same connection
    assert again.json() == {"status": "ok"}


def test_head_of_what_there_is_not_is_404_and_of_what_is_only_posted_405(running_weir: Weir) -> None:
    assert running_weir.http.head("/nothing").status_code == 404
    assert running_weir.http.head(f"/receipts/{uuid4()}").status_code == 200
    assert running_weir.http.head("/ops/parked/release").status_code == 405


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/events", "GET, HEAD, POST"),
        ("/users/", "GET, HEAD, POST"),
        ("/api/stats/dau", "GET, HEAD, POST"),
        (f"/devices/{uuid4()}", "GET, HEAD, PATCH"),
        (f"/devices/{uuid4()}/stats/", "POST"),
        (f"/tasks/{uuid4()}", "DELETE, GET, HEAD"),
        (f"/ops/dead-letters/{uuid4()}", "DELETE, GET, HEAD, PATCH"),
    ],
)
def test_allow_names_every_method_of_a_path(running_weir: Weir, path: str, methods: str) -> None:
    answer = running_weir.http.put(path)
    assert answer.status_code == 405
    assert set(methods.split(", ")) <= set(answer.headers["allow"].split(", "))
    for method in ("GET", "POST", "PATCH", "DELETE"):
        asked = running_weir.http.request(method, path, params={"x": "1"})
        assert (asked.status_code == 405) is (method not in answer.headers["allow"].split(", ")), method


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/devices/{device}/stats", ONE),
        ("/devices/{device}/stats/", ONE),
        ("/devices/{device}/stats/batch", b"[" + ONE + b"]"),
        ("/devices/{device}/stats/batch/", b"[" + ONE + b"]"),
        ("/stats/batch", None),
        ("/stats/batch/", None),
        ("/events", b"events"),
        ("/events/", b"events"),
        ("/api/events/", b"events"),
    ],
)
def test_submission_is_taken_with_and_without_the_last_slash(
    running_weir: Weir, device: str, path: str, body: bytes | None
) -> None:
    if body is None:
        body = json.dumps([reading(device_id=device)]).encode()
    if body == b"events":
        body = json.dumps([event()]).encode()
    headers = {**JSON, "x-forwarded-proto": "https"}
    answer = running_weir.http.post(path.format(device=device), content=body, headers=headers)
    assert answer.status_code == 202, answer.text


def test_other_bodies_are_taken_with_and_without_the_last_slash(running_weir: Weir) -> None:
    for path in ("/users", "/users/"):
        answer = running_weir.http.post(path, json={"name": "A", "email": f"{uuid4()}@example.org"})
        assert answer.status_code == 200, answer.text
        made = running_weir.http.post(path.replace("users", "devices"), json={"user_id": answer.json()["id"]})
        assert made.status_code == 200, made.text
    assert running_weir.http.post("/nothing", json={}).status_code == 404
    assert running_weir.http.post("/nothing/", json={}).status_code == 404


@pytest.mark.parametrize(("path", "there"), [("/users?limit=1", "/users/?limit=1"), ("/healthz/", "/healthz")])
def test_redirect_leads_to_a_path_and_names_no_host(running_weir: Weir, path: str, there: str) -> None:
    headers = {"x-forwarded-proto": "https", "host": "weir.example.org"}
    answer = running_weir.http.get(path, headers=headers, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, there)


@pytest.mark.parametrize(
    "name", ["ndjson", "x-ndjson", "jsonl", "x-jsonl", "jsonlines", "x-jsonlines", "NDJSON; charset=utf-8"]
)
def test_lines_have_many_names(running_weir: Weir, device: str, name: str) -> None:
    headers = {"content-type": f"application/{name}"}
    answer = running_weir.http.post(f"/devices/{device}/stats/batch", content=ONE + b"\n" + ONE, headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    lines = "\n".join(json.dumps(event(number)) for number in (1, 2))
    answer = running_weir.http.post("/events", content=lines, headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)


def test_lines_sent_as_json_are_told_their_media_type(running_weir: Weir, device: str) -> None:
    lines = json.dumps(event(1)) + "\n" + json.dumps(event(2))
    for path, body in ((f"/devices/{device}/stats/batch", ONE + b"\n" + ONE), ("/events", lines.encode())):
        answer = running_weir.http.post(path, content=body, headers=JSON)
        assert answer.status_code == 400
        assert "application/x-ndjson" in answer.json()["errors"][0]["message"]
        broken = running_weir.http.post(path, content=b'{"x": 1,\n', headers=JSON)
        assert "ndjson" not in broken.text


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "X-Gzip"])
def test_every_member_of_a_gzip_stream_counts(running_weir: Weir, device: str, encoding: str) -> None:
    parts = [b"[" + ONE, *[b"," + ONE] * 200, b"", b"," + ONE + b"]"]
    packed = b"".join(gzip.compress(part) for part in parts)
    headers = {**JSON, "content-encoding": encoding}
    answer = running_weir.http.post(f"/devices/{device}/stats/batch", content=packed, headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 202)


@pytest.mark.parametrize(
    ("packed", "status"),
    [
        (b"", 400),
        (gzip.compress(b"[" + ONE + b"]") + b"garbage", 400),
        (gzip.compress(b"[" + ONE + b"]")[:-1], 400),
        (gzip.compress(b"[" + ONE + b"]") + gzip.compress(b"")[:-1], 400),
        (gzip.compress(b" ") * 1_001, 400),
        (gzip.compress(b" " * 9_000_000) * 3, 413),
        (gzip.compress(b" " * 200_000_000), 413),
    ],
    ids=["nothing", "garbage behind", "cut", "second one cut", "too many members", "large in all", "a bomb"],
)
def test_gzip_that_is_none_or_too_much_is_refused(running_weir: Weir, device: str, packed: bytes, status: int) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    answer = running_weir.http.post(f"/devices/{device}/stats/batch", content=packed, headers=headers)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/devices/{device}/analytics/?wait=5&axes=x", "/users/1/analytics/?wait=5", "/analytics/?wait=5&axes=x", "/stats/?limit=1",
        "/stats/{device}/?limit=1", "/devices/{device}/readings?start=2026-01-01", "/readings?user_id=1", "/events?end=2026-01-01",
        "/ops/ledger?since=2026-01-01", "/stats/dau?from=2026-01-01&to=2026-01-01", "/devices/{device}/series?points=10",
        "/healthz?", "/readyz?", "/ops/dead-letters?limit=1", "/devices/?limit=1", "/users/?limit=1", "/receipts/{device}?first=0",
        "/metrics?",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["strat", "from_", "%6Eope"])
def test_query_name_that_there_is_not_is_refused_and_named(
    running_weir: Weir, device: str, path: str, name: str
) -> None:
    answer = running_weir.http.get(f"{path.format(device=device)}&{name}=2090-01-01")
    assert answer.status_code == 422, answer.text
    (fault,) = [one for one in answer.json()["errors"] if one["code"] == "unknown_parameter"]
    assert fault["field"] == name.replace("%6E", "n")


def test_query_name_of_a_submission_is_refused_and_names_that_are_no_words_are_not_repeated(
    running_weir: Weir, device: str
) -> None:
    for path in (f"/devices/{device}/stats/", f"/devices/{device}/stats/batch", "/stats/batch", "/events"):
        answer = running_weir.http.post(f"{path}?device=1", content=ONE, headers=JSON)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "device")
    for name in ("%3Cscript%3E", "a" * 200, "%00", "x%0d%0ay"):
        for method, path in (("GET", "/stats/"), ("POST", "/events")):
            answer = running_weir.http.request(method, f"{path}?{name}=1", content=ONE)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, None)
            assert "script" not in answer.text


def test_unknown_member_of_a_body_is_named(running_weir: Weir, device: str) -> None:
    answer = running_weir.http.post(f"/devices/{device}/analytics/", json={"axes": ["x"], "from": "2090-01-01"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "from")
    strange = running_weir.http.post(f"/devices/{device}/analytics/", json={"<b>": 1})
    assert (strange.status_code, strange.json()["errors"][0]["field"]) == (422, None)
    assert "<b>" not in strange.text


def test_empty_idempotency_key_is_refused(running_weir: Weir, device: str) -> None:
    for path, body in ((f"/devices/{device}/stats/", ONE), ("/events", json.dumps(event()).encode())):
        answer = running_weir.http.post(path, content=body, headers={**JSON, "idempotency-key": ""})
        assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("space", [" ", "\t", "\u3000", "\u2028 \n"])
@pytest.mark.parametrize("field", ["user_id", "event_type"])
def test_user_or_type_of_white_space_only_is_empty(running_weir: Weir, field: str, space: str) -> None:
    answer = running_weir.http.post("/events", json=[event(1), event(2, **{field: space})])
    assert answer.json()["rejected"] == [{"index": 1, "code": "empty", "field": field}]
