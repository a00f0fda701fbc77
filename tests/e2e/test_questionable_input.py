"""What programs in the field send: number words of C and Python, byte order marks, timestamps of other forms."""

import gzip
import json

import pytest
from factories import Weir

NUMBERS = [
    "NaN",
    "nan",
    "-nan",
    "NAN",
    "inf",
    "-inf",
    "INF",
    "Inf",
    "+Infinity",
    "ovf",
    "1.#QNAN",
    "None",
    ".5",
    "5.",
    "07",
    "+5",
]
BOM = b"\xef\xbb\xbf"
ONE = b'{"x": 1, "y": 2, "z": 3}'


def accepted(weir: Weir, path: str, body: bytes, **headers: str) -> tuple[int, int, list[tuple[int, str, str | None]]]:
    """Status, accepted records, and of each rejected one its index, code and field."""
    answer = weir.http.post(path, content=body, headers={"content-type": "application/json", **headers})
    found = answer.json()
    rejected = [(one["index"], one["code"], one["field"]) for one in found.get("rejected", ())]
    return answer.status_code, found.get("accepted", 0), rejected


@pytest.fixture(scope="module")
def path(running_weir: Weir) -> str:
    return f"/devices/{running_weir.device()}/stats/"


@pytest.mark.parametrize("number", NUMBERS)
def test_one_word_that_is_no_number_costs_its_own_record(running_weir: Weir, path: str, number: str) -> None:
    bad = b'{"x": %s, "y": 2, "z": 3}' % number.encode()
    fault = [(1, "not_finite", "x")]
    assert accepted(running_weir, f"{path}batch", b"[" + b",".join([ONE, bad, ONE]) + b"]") == (202, 2, fault)
    columns = b'{"x": [1, %s, 3], "y": [1, 2, 3], "z": [1, 2, 3]}' % number.encode()
    assert accepted(running_weir, f"{path}batch", columns) == (202, 2, fault)
    lines = b"\n".join([ONE, bad, ONE])
    ndjson = {"content-type": "application/x-ndjson"}
    assert accepted(running_weir, f"{path}batch", lines, **ndjson) == (202, 2, fault)
    single = running_weir.http.post(path, content=bad)
    assert (single.status_code, single.json()["errors"][0]["field"]) == (422, "x")


@pytest.mark.parametrize("number", NUMBERS)
def test_one_word_in_properties_costs_its_own_event(running_weir: Weir, number: str) -> None:
    def event(value: str) -> str:
        known = '"occurred_at": "2026-08-13T12:00:00Z", "user_id": "u", "event_type": "t"'
        return f'{{"event_id": "00000000-0000-4000-8000-{abs(hash(number)) % 10**12:012}", {known}, "properties": {value}}}'

    body = f'[{event("{}")}, {event(f"""{{"deep": [1, {{"x": {number}}}], "text": "nan, .5"}}""")}]'
    status, count, rejected = accepted(running_weir, "/events", body.encode())
    assert (status, count, [index for index, _, _ in rejected]) == (202, 1, [1])


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_byte_order_mark_is_ignored(running_weir: Weir, path: str, packed: bool) -> None:
    columns = b'{"x": [1], "y": [1], "z": [1]}'
    for body, kind, where, count in (
        (ONE, "application/json", path, 0),
        (b"[" + ONE + b"]", "application/json", f"{path}batch", 1),
        (columns, "application/json", f"{path}batch", 1),
        (ONE + b"\n" + ONE, "application/x-ndjson", f"{path}batch", 2),
    ):
        content = gzip.compress(BOM + body) if packed else BOM + body
        headers = {"content-type": kind} | ({"content-encoding": "gzip"} if packed else {})
        assert accepted(running_weir, where, content, **headers)[:2] == (202, count)
    event = {"event_id": "00000000-0000-4000-8000-000000000009", "occurred_at": "2026-08-13T12:00:00Z"}
    event |= {"user_id": "u", "event_type": "t"}
    assert accepted(running_weir, "/events", BOM + json.dumps([event]).encode())[:2] == (202, 1)
    question = {"content-type": "application/json"}
    asked = running_weir.http.post(
        path.replace("stats", "analytics"), content=BOM + b'{"axes": ["x"]}', headers=question
    )
    assert asked.status_code in {200, 202}, asked.text
    named = b'{"name": "A", "email": "%s@example.org"}' % str(packed).encode()
    user = running_weir.http.post("/users/", content=BOM + named, headers=question)
    assert user.status_code == 200, user.text


def test_reading_of_the_last_instant_stays_in_its_day(running_weir: Weir) -> None:
    device = running_weir.device("late")
    for text in ("2026-11-20T23:59:59.9999999Z", "2016-12-31T23:59:60Z", "2026-11-20 12:00:00+00"):
        answer = running_weir.http.post(f"/devices/{device}/stats/", json={"x": 7, "y": 7, "z": 7, "timestamp": text})
        assert answer.status_code == 202, answer.text
    running_weir.wait_for(lambda: len(running_weir.http.get(f"/stats/{device}/").json()) == 3)
    found = running_weir.http.get(f"/stats/{device}/", params={"start": "2026-11-20", "end": "2026-11-21"}).json()
    assert len(found) == 2
    leap = {"start": "2016-12-31T23:59:60Z", "end": "2017-01-01"}
    assert len(running_weir.http.get(f"/stats/{device}/", params=leap).json()) == 1


def test_negative_zero_keeps_its_sign_however_it_is_written(running_weir: Weir) -> None:
    device = running_weir.device("zero")
    for number in ("-0", "-0.0", "-0e0"):
        body = f'{{"x": {number}, "y": {number} , "z":{number}}}'.encode()
        assert running_weir.http.post(f"/devices/{device}/stats/", content=body).status_code == 202
        assert accepted(running_weir, f"/devices/{device}/stats/batch", b"[" + body + b"]")[0] == 202
        columns = f'{{"x": [{number}], "y": [{number}], "z": [{number}]}}'.encode()
        assert accepted(running_weir, f"/devices/{device}/stats/batch", columns)[0] == 202
    key = "SELECT key FROM devices WHERE id = %s"
    query = f"SELECT x::text, y::text, z::text FROM readings WHERE device_key = ({key})"
    running_weir.wait_for(lambda: len(running_weir.rows(query, str(device))) == 9)
    assert set(running_weir.rows(query, str(device))) == {("-0", "-0", "-0")}
