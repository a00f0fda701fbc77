"""Whatever is sent: a problem that names the field and why, never a 500, never the input again."""

import base64
import gzip
import json
import socket
import zlib
from contextlib import closing
from uuid import uuid4

import httpx
import pytest
from factories import reading

LIMIT = 4 * 1024 * 1024
NDJSON = {"content-type": "application/x-ndjson"}
GZIP = {"content-encoding": "gzip"}

#: Stands in bad input, and nowhere in an answer.
MARKER = "Xq7mark"


@pytest.fixture(scope="module")
def http(running_weir):
    return running_weir.http


@pytest.fixture(scope="module")
def device(running_weir):
    return running_weir.device()


@pytest.fixture(autouse=True)
def nothing_went_wrong_inside(running_weir):
    """A bad request is the sender's affair: the API says nothing of it in its log."""
    before = len(running_weir.log("api"))
    yield
    assert "Traceback" not in running_weir.log("api")[before:]
    assert running_weir.http.get("/healthz").status_code == 200


def faults(answer, *statuses):
    """The errors of a problem with one of these statuses: field and code of each."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    content = json.loads(answer.text, parse_constant=pytest.fail)
    assert content["status"] == answer.status_code
    assert content["type"].startswith("urn:weir:problem:")
    assert MARKER not in answer.text
    assert MARKER not in str(answer.headers)
    return [(one["field"], one["code"]) for one in content.get("errors", [])]


def raw(weir, *parts: bytes, reply: bool = True) -> bytes:
    """Send bytes as they are and return what comes back, until the answer is whole."""
    with closing(socket.create_connection(("127.0.0.1", weir.port), timeout=20)) as wire:
        for part in parts:
            wire.sendall(part)
        answer = b""
        while reply and not _is_whole(answer):
            received = wire.recv(65536)
            if not received:
                break
            answer += received
        return answer


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(found and lengths) and len(body) >= int(lengths[0])


VALUES = [
    ("x", "NaN", "not_finite"),
    ("x", "Infinity", "not_finite"),
    ("y", "-Infinity", "not_finite"),
    ("z", "1e400", "not_finite"),
    ("z", "9" * 400, "not_finite"),
    ("z", "9" * 5000, "not_finite"),
    ("x", f'"{MARKER}"', "not_a_number"),
    ("x", '"1.5"', "not_a_number"),
    ("x", f'["{MARKER}"]', "not_a_number"),
    ("x", f'{{"{MARKER}": 1}}', "not_a_number"),
    ("y", "true", "not_a_number"),
    ("y", "null", "not_a_number"),
    ("x", rf'"{MARKER}\ud800"', "not_a_number"),
    ("x", rf'"{MARKER}\u0000"', "not_a_number"),
    ("timestamp", f'"{MARKER}"', "not_a_timestamp"),
    ("timestamp", rf'"\udfff{MARKER}"', "not_a_timestamp"),
    ("timestamp", "1700000000", "not_a_timestamp"),
    ("timestamp", "false", "not_a_timestamp"),
    ("timestamp", '"2025-06-30T22:59:60Z"', "not_a_timestamp"),
    ("timestamp", '"2025-01-01T00:00:00"', "timestamp_without_offset"),
    ("timestamp", '"0001-01-01T00:00:00+14:00"', "timestamp_too_old"),
    ("timestamp", '"1989-12-31T23:59:59Z"', "timestamp_too_old"),
    ("timestamp", '"9999-12-31T23:59:59-12:00"', "timestamp_too_far_ahead"),
]

RECORDS = [
    ('{"x": 1, "y": 2}', "z", "missing"),
    ("{}", "x", "missing"),
    (f'{{"x": 1, "y": 2, "z": 3, "extra": "{MARKER}"}}', "extra", "unknown_field"),
    (f'{{"x": 1, "y": 2, "z": 3, "no name, {MARKER}": 1}}', None, "unknown_field"),
    (rf'{{"x": 1, "y": 2, "z": 3, "\ud800{MARKER}": 1}}', None, "unknown_field"),
    (f'["{MARKER}"]', None, "not_an_object"),
    (f'"{MARKER}"', None, "not_an_object"),
    ("null", None, "not_an_object"),
]

BROKEN = {
    "empty": b"",
    "cut": b'{"x": 1, "y": "' + MARKER.encode(),
    "trailing garbage": b'{"x": 1, "y": 2, "z": 3} ' + MARKER.encode(),
    "not quoted": MARKER.encode(),
    "invalid UTF-8": b'{"' + MARKER.encode() + b'\xff": 1}',
    "raw surrogate": b'{"' + MARKER.encode() + b'\xed\xa0\x80": 1}',
    "UTF-16": json.dumps({"x": 1, "y": 2, "z": MARKER}).encode("utf-16")[2:],
    "raw NUL": b'{"x\x00": "' + MARKER.encode() + b'"}',
}


def with_value(field, value):
    fields = {"x": "1", "y": "2", "z": "3"} | {field: value}
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


# Readings


@pytest.mark.parametrize(("field", "value", "code"), VALUES)
def test_bad_value_is_refused_with_its_field_and_code(http, device, field, value, code):
    record = with_value(field, value)
    assert faults(http.post(f"/devices/{device}/stats/", content=record), 422) == [(field, code)]
    path = f"/devices/{device}/stats/batch"
    assert faults(http.post(path, content=f"[{record}]"), 422) == [(field, code)]
    assert faults(http.post(path, content=record, headers=NDJSON), 422) == [(field, code)]
    columns = {"x": "[1]", "y": "[2]", "z": "[3]"} | {field: f"[{value}]"}
    content = "{" + ", ".join(f'"{name}": {text}' for name, text in columns.items()) + "}"
    assert faults(http.post(path, content=content), 422) == [(field, code)]


@pytest.mark.parametrize(("record", "field", "code"), RECORDS)
def test_bad_record_is_refused_with_its_field_and_code(http, device, record, field, code):
    assert faults(http.post(f"/devices/{device}/stats/", content=record), 422) == [(field, code)]
    path = f"/devices/{device}/stats/batch"
    assert faults(http.post(path, content=f"[{record}]"), 422) == [(field, code)]
    assert faults(http.post(path, content=record, headers=NDJSON), 422) == [(field, code)]


@pytest.mark.parametrize("value", [f'"{MARKER}"', "7", "null", "true", rf'"\ud800{MARKER}"', f'["{MARKER}"]'])
def test_gateway_reading_of_what_is_no_device_is_refused(http, value):
    record = with_value("device_id", value)
    assert faults(http.post("/stats/batch", content=f"[{record}]"), 422) == [("device_id", "not_a_uuid")]
    assert faults(http.post("/stats/batch", content=record, headers=NDJSON), 422) == [("device_id", "not_a_uuid")]


@pytest.mark.parametrize("form", ["one", "batch", "gateway", "users", "devices"])
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_body_is_a_problem_everywhere(http, device, form, body):
    paths = {
        "one": f"/devices/{device}/stats/",
        "batch": f"/devices/{device}/stats/batch",
        "gateway": "/stats/batch",
        "users": "/users/",
        "devices": "/devices/",
    }
    faults(http.post(paths[form], content=body, headers={"content-type": "application/json"}), 400, 422)


@pytest.mark.parametrize("body", ["[" * 200_000, "[" * 200_000 + "]" * 200_000, '{"x":' * 200_000])
@pytest.mark.parametrize("path", ["/devices/{}/stats/", "/devices/{}/stats/batch", "/stats/batch", "/users/"])
def test_deep_nesting_is_refused(http, device, path, body):
    headers = {"content-type": "application/json"}
    faults(http.post(path.format(device), content=body, headers=headers), 400, 422)


@pytest.mark.parametrize(
    "column",
    [
        f'"{MARKER} no name": [1, 2]',
        f'"{MARKER} no name": "{MARKER}"',
        f'"{"long" * 20}{MARKER}": []',
        rf'"\ud800{MARKER}": [1]',
        f'"x": "{MARKER}"',
    ],
)
def test_column_that_should_not_be_there_is_not_repeated(http, device, column):
    body = f'{{"x": [1], "y": [1], "z": [1], {column}}}'
    assert faults(http.post(f"/devices/{device}/stats/batch", content=body), 422)


@pytest.mark.parametrize(
    "name",
    [
        MARKER,
        "00000000-0000-0000-0000-00000000000g",
        "%00",
        "%ED%A0%80",
        "%2e%2e",
        "1",
        "{}",
        f"urn:{uuid4().hex}",
        uuid4().hex,
    ],
)
@pytest.mark.parametrize("path", ["/devices/{}/stats/", "/devices/{}/stats/batch"])
def test_device_that_is_no_uuid_is_refused_by_name(http, path, name):
    answer = http.post(path.format(name), json=reading())
    assert faults(answer, 422) == [("device_id", "not_a_uuid")]


@pytest.mark.parametrize("key", [b"k" * 256, b"k" * 30_000, MARKER.encode() + b"\xff", MARKER.encode() + b"\t1"])
@pytest.mark.parametrize("path", ["/devices/{}/stats/", "/devices/{}/stats/batch"])
def test_key_that_is_too_long_or_not_printable_is_refused(http, device, path, key):
    batch = [reading()] if path.endswith("batch") else reading()
    answer = http.post(path.format(device), json=batch, headers={b"idempotency-key": key})
    faults(answer, 400)


# Size and encoding


SINGLE = "/devices/{}/stats/"
SIZED = [SINGLE, "/devices/{}/stats/batch", "/stats/batch", "/users/", "/devices/"]


@pytest.mark.parametrize("path", SIZED)
def test_body_announced_as_too_large_is_refused_before_it_is_sent(running_weir, device, path):
    head = f"POST {path.format(device)} HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\n"
    answer = raw(running_weir, f"{head}content-length: {LIMIT + 1}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("path", SIZED)
def test_too_large_body_is_413_whether_announced_or_chunked(http, device, path):
    body = json.dumps({"x": 1, "y": 2, "z": 3, "name": "a" * LIMIT}).encode()
    headers = {"content-type": "application/json"}
    faults(http.post(path.format(device), content=body, headers=headers), 413)
    chunks = (body[at : at + 65536] for at in range(0, len(body), 65536))
    faults(http.post(path.format(device), content=chunks, headers=headers), 413)


def test_body_of_exactly_the_limit_is_read(http, device):
    body = json.dumps(reading()).encode().ljust(LIMIT)
    assert http.post(f"/devices/{device}/stats/", content=body).status_code == 202
    faults(http.post(f"/devices/{device}/stats/", content=body + b" "), 413)


@pytest.fixture(scope="module", params=[LIMIT + 1, 1 << 28], ids=["a byte too many", "a quarter of a gigabyte"])
def bomb(request):
    packer, piece = zlib.compressobj(9, zlib.DEFLATED, 31), b" " * (1 << 20)
    whole, rest = divmod(request.param, len(piece))
    packed = b"".join([*(packer.compress(piece) for _ in range(whole)), packer.compress(piece[:rest]), packer.flush()])
    assert len(packed) < LIMIT
    return packed


@pytest.mark.parametrize("path", SIZED[:3])
def test_gzip_that_unpacks_too_far_is_413(http, device, path, bomb):
    faults(http.post(path.format(device), content=bomb, headers=GZIP), 413)


@pytest.mark.parametrize("path", SIZED[:3])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        MARKER.encode(),
        gzip.compress(b"[]")[:-1],
        gzip.compress(b"[]")[:12],
        gzip.compress(b"[]") + MARKER.encode(),
        gzip.compress(b"[]")[:-8] + bytes(8),
        zlib.compress(b"[]"),
    ],
    ids=["empty", "not gzip", "cut", "cut early", "trailing garbage", "wrong checksum", "zlib"],
)
def test_broken_gzip_is_400(http, device, path, body):
    faults(http.post(path.format(device), content=body, headers=GZIP), 400)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", MARKER])
@pytest.mark.parametrize("path", SIZED[:3])
def test_unknown_encoding_is_415(http, device, path, encoding):
    faults(http.post(path.format(device), content=b"{}", headers={"content-encoding": encoding}), 415)


# Users and devices


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ('{"name": "Ada"}', "email"),
        ('{"email": "a@b.org"}', "name"),
        (f'{{"name": 5, "email": "{MARKER}@b.org"}}', "name"),
        (f'{{"name": "", "email": "{MARKER}@b.org"}}', "name"),
        (f'{{"name": "{MARKER * 100}", "email": "a@b.org"}}', "name"),
        (rf'{{"name": "{MARKER}\u0000", "email": "a@b.org"}}', "name"),
        (rf'{{"name": "{MARKER}\n", "email": "a@b.org"}}', "name"),
        (rf'{{"name": "{MARKER}\ud800", "email": "a@b.org"}}', "name"),
        (f'{{"name": "Ada", "email": "{MARKER}"}}', "email"),
        (f'{{"name": "Ada", "email": "{MARKER}@"}}', "email"),
        (f'{{"name": "Ada", "email": "{MARKER} @b.org"}}', "email"),
        (f'{{"name": "Ada", "email": "{MARKER}@b@c.org"}}', "email"),
        (f'{{"name": "Ada", "email": "{"a" * 250}@{MARKER}"}}', "email"),
        (rf'{{"name": "Ada", "email": "{MARKER}\u0000@b.org"}}', "email"),
        (rf'{{"name": "Ada", "email": "\ud800{MARKER}@b.org"}}', "email"),
        ('{"name": "Ada", "email": null}', "email"),
        ('{"name": NaN, "email": "a@b.org"}', "name"),
        (f'{{"name": "Ada", "email": "a@b.org", "<{MARKER}>": "{MARKER}"}}', None),
        (rf'{{"name": "Ada", "email": "a@b.org", "\ud800": "{MARKER}"}}', None),
        (f'["{MARKER}"]', None),
        (f'"{MARKER}"', None),
        ("null", None),
    ],
)
def test_bad_user_is_refused_with_the_field(http, content, field):
    found = faults(http.post("/users/", content=content, headers={"content-type": "application/json"}), 422)
    assert field in [name for name, _ in found]
    assert all(code for _, code in found)
    assert MARKER not in http.get("/users/").text


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ('{"name": "roof"}', "user_id"),
        (f'{{"user_id": "{MARKER}"}}', "user_id"),
        ('{"user_id": "1"}', "user_id"),
        ('{"user_id": true}', "user_id"),
        ('{"user_id": 1.5}', "user_id"),
        ('{"user_id": NaN}', "user_id"),
        ('{"user_id": 1e400}', "user_id"),
        ('{"user_id": 0}', "user_id"),
        ('{"user_id": -1}', "user_id"),
        ('{"user_id": 2147483648}', "user_id"),
        (f'{{"user_id": {"9" * 400}}}', "user_id"),
        (rf'{{"user_id": 1, "name": "{MARKER}\u0000"}}', "name"),
        (rf'{{"user_id": 1, "name": "{MARKER}\udc00"}}', "name"),
        (f'{{"user_id": 1, "name": "{MARKER * 100}"}}', "name"),
        ('{"user_id": 1, "name": ""}', "name"),
        (f'{{"user_id": 1, "other": "{MARKER}"}}', "other"),
    ],
)
def test_bad_device_is_refused_with_the_field(http, content, field):
    found = faults(http.post("/devices/", content=content, headers={"content-type": "application/json"}), 422)
    assert field in [name for name, _ in found]
    assert all(code for _, code in found)


@pytest.mark.parametrize("content_type", ["", "text/plain", MARKER, "application/json; charset=" + MARKER])
def test_strange_content_type_is_no_server_error(http, content_type):
    content = json.dumps({"name": MARKER, "email": MARKER}).encode()
    faults(http.post("/users/", content=content, headers={"content-type": content_type}), 400, 415, 422)


# Queries and paths


QUERIES = [
    ("start", MARKER),
    ("start", ""),
    ("start", "2025-13-01T00:00:00Z"),
    ("start", "NaN"),
    ("start", "inf"),
    ("start", "1e400"),
    ("start", "9" * 400),
    ("start", "2026"),
    ("start", "20260101"),
    ("start", "1767225600"),
    ("start", "%2B2026"),
    ("start", "-1.5"),
    ("start", "%00"),
    ("start", "%ED%A0%80"),
    ("start", "0001-01-01T00:00:00%2B14:00"),
    ("end", MARKER),
    ("end", "2026"),
    ("end", "9999-12-31T23:59:59-12:00"),
    ("end", "2025-01-01T00:00:00%00"),
]
PAGES = [
    ("limit", "0"),
    ("limit", "-1"),
    ("limit", "1001"),
    ("limit", MARKER),
    ("limit", "1.5"),
    ("limit", ""),
    ("limit", "9" * 400),
    ("limit", "9" * 5000),
    ("limit", "%00"),
    ("cursor", MARKER),
    ("cursor", "%00"),
    ("cursor", "%ED%A0%80"),
    ("cursor", "9" * 199),
    ("cursor", "9" * 201),
    ("cursor", "%C2%B2"),
    ("cursor", "-1"),
]
#: Cursors of readings have an inside; these say "time.device.skip" with nonsense in it.
FORGED = [
    "4611686018427387903|1|0.0|0.0|0.0|1",
    "-4611686018427387903|1|0.0|0.0|0.0|1",
    "252455616000000000|1|0.0|0.0|0.0|1",
    "-63082281600000001|1|0.0|0.0|0.0|1",
    "0|0|0.0|0.0|0.0|1",
    "0|2147483648|0.0|0.0|0.0|1",
    "0|1|0.0|0.0|0.0|0",
    "0|1|0.0|0.0|0.0|2147483648",
    "0|1|nan|0.0|0.0|1",
    "0|1|0.0|-inf|0.0|1",
    "0|1|0.0|0.0|0.0",
    "0|1|0.0|0.0|0.0|1|0",
    "a|b|c|d|e|f",
    "NaN|1|0.0|0.0|0.0|1",
    f"{'9' * 120}|1|0.0|0.0|0.0|1",
]


def forge(inside):
    return base64.urlsafe_b64encode(inside.encode()).decode().rstrip("=")


@pytest.mark.parametrize(("field", "value"), QUERIES + PAGES)
@pytest.mark.parametrize("path", ["/stats/", "/stats/{}/"])
def test_bad_query_of_readings_is_refused_with_its_name(http, device, path, field, value):
    found = faults(http.get(f"{path.format(device)}?{field}={value}"), 422)
    assert [name for name, _ in found] == [field]


@pytest.mark.parametrize(("field", "value"), QUERIES)
@pytest.mark.parametrize("path", ["/devices/{}/series", "/devices/{}/readings", "/readings", "/events"])
def test_bad_window_of_a_chart_or_a_download_is_refused_with_its_name(http, device, path, field, value):
    found = faults(http.get(f"{path.format(device)}?{field}={value}"), 422)
    assert [name for name, _ in found] == [field]


@pytest.mark.parametrize(
    "moment", ["2026-01-31", "2026-01-31 00:00", "2026-01-31T00:00:00.000Z", "2026-01-31t02:00+0200"]
)
def test_moment_is_written_as_a_date_with_a_time_or_without(http, device, moment):
    path = f"/devices/{device}/analytics/"
    for how in ({"params": {"start": moment}}, {"json": {"start": moment}}):
        found = http.post(path, **how).json()
        result = http.get(f"/tasks/{found['task_id']}", params={"wait": 20}).json()["result"]
        assert result["start"] == "2026-01-31T00:00:00+00:00"


@pytest.mark.parametrize("value", ["2026", "20260101", "1767225600", MARKER])
def test_bad_moment_of_the_ledger_is_refused(http, value):
    assert [name for name, _ in faults(http.get("/ops/ledger", params={"since": value}), 422)] == ["since"]


@pytest.mark.parametrize("inside", FORGED)
@pytest.mark.parametrize("path", ["/stats/", "/stats/{}/"])
def test_forged_cursor_is_refused(http, device, path, inside):
    found = faults(http.get(path.format(device), params={"cursor": forge(inside)}), 422)
    assert [name for name, _ in found] == ["cursor"]


@pytest.mark.parametrize("time", [-63082281600000000, 252455529599999999])
def test_cursor_at_the_end_of_time_is_no_server_error(http, device, time):
    for path in ("/stats/", f"/stats/{device}/"):
        assert http.get(path, params={"cursor": forge(f"{time}|1|0.0|0.0|0.0|5")}).status_code == 200


@pytest.mark.parametrize(("field", "value"), QUERIES)
@pytest.mark.parametrize("path", ["/devices/{}/analytics/", "/users/1/analytics/"])
def test_bad_window_of_statistics_is_refused_with_its_name(http, device, path, field, value):
    for method in ("GET", "POST"):
        found = faults(http.request(method, f"{path.format(device)}?{field}={value}"), 422)
        assert [name for name, _ in found] == [field]


BAD_QUESTIONS = [
    ("axes", MARKER),
    ("axes", ""),
    ("axes", "x,,y"),
    ("quantiles", MARKER),
    ("quantiles", ""),
    ("quantiles", "0.5,"),
    ("quantiles", "NaN"),
    ("quantiles", "1.01"),
    ("quantiles", "-0.1"),
    ("quantiles", "0_1"),
    ("quantiles", "1" * 1999 + "x"),
    ("histogram", "1_0"),
    ("histogram", "5.0"),
    ("quantiles", "٠.٥"),
    ("quantiles", ",".join(f"0.{number:02}" for number in range(10, 70))),
    ("quantiles", "0." + "5" * 5000),
    ("histogram", "0"),
    ("histogram", "1001"),
    ("histogram", "-1"),
    ("histogram", MARKER),
    ("magnitude", MARKER),
    ("bucket", ""),
    ("bucket", MARKER),
    ("bucket", "0s"),
    ("bucket", "-1h"),
    ("bucket", "1"),
    ("bucket", "1y"),
    ("bucket", "P1M"),
    ("bucket", "P"),
    ("bucket", "PT"),
    ("bucket", "P1DT"),
    ("bucket", "PT0.0001S"),
    ("bucket", "999999999w"),
    ("bucket", "4000d"),
]


@pytest.mark.parametrize(("field", "value"), BAD_QUESTIONS)
def test_bad_question_is_refused_with_its_name(http, device, field, value):
    for path in (f"/devices/{device}/analytics/", "/users/1/analytics/", "/analytics/"):
        for method in ("GET", "POST"):
            found = faults(http.request(method, path, params={field: value}), 422)
            assert [name for name, _ in found] == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("axes", []),
        ("axes", "x"),
        ("axes", ["x", MARKER]),
        ("quantiles", []),
        ("quantiles", [MARKER]),
        ("quantiles", [0.5, 1.5]),
        ("quantiles", [0.5] * 51),
        ("quantiles", [True]),
        ("quantiles", ["0.5"]),
        ("histogram", 0),
        ("histogram", "7"),
        ("histogram", 1e300),
        ("magnitude", "true"),
        ("bucket", 3600),
        ("bucket", MARKER),
        ("start", MARKER),
        ("start", 2026),
        ("end", 1767225600.5),
        ("end", "1767225600"),
        ("end", "2025-01-01T00:00:00"),
        ("group_by", MARKER),
    ],
)
def test_bad_question_in_a_body_is_refused_with_its_name(http, running_weir, field, value):
    running_weir.device()  # so that user 1 exists
    body = {"start": "2025-01-01T00:00:00", field: value}
    found = faults(http.post("/users/1/analytics/", json=body), 422)
    assert {str(name).partition(".")[0] for name, _ in found} == {field}


def test_question_with_unknown_words_or_a_number_that_is_none_is_refused(http, device):
    path = f"/devices/{device}/analytics/"
    assert faults(http.post(path, json={f"{MARKER} ": 1}), 422)
    assert faults(http.post(path, content=b'{"quantiles": [NaN]}', headers={"Content-Type": "application/json"}), 422)
    assert faults(http.post(path, json=[MARKER]), 422)


def test_more_buckets_than_an_answer_may_have_are_refused(http, device):
    asked = {"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z", "bucket": "52m"}
    assert faults(http.get(f"/devices/{device}/analytics/", params=asked), 422) == [("bucket", "too_many")]
    assert http.get(f"/devices/{device}/analytics/", params=asked | {"bucket": "53m"}).status_code == 200


@pytest.mark.parametrize(("field", "value"), PAGES)
@pytest.mark.parametrize("path", ["/users/", "/devices/"])
def test_bad_page_of_a_list_is_refused_with_its_name(http, path, field, value):
    found = faults(http.get(f"{path}?{field}={value}"), 422)
    assert [name for name, _ in found] == [field]


WINDOWED = [
    "/stats/",
    "/stats/{}/",
    "/devices/{}/analytics/",
    "/devices/{}/series",
    "/devices/{}/readings",
    "/readings",
    "/events",
]


@pytest.mark.parametrize("path", ["/stats/", "/stats/{}/", "/devices/{}/analytics/", "/users/1/analytics/"])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2025-01-01T00:00:00", "2025-01-01T00:00:00"),
        ("2025-01-02T00:00:00", "2025-01-01T00:00:00"),
        ("2025-01-01T00:00:00Z", "2025-01-01T01:00:00+01:00"),
        ("2025-01-01T00:00:00", "2025-01-01T00:59:59+01:00"),
    ],
)
def test_window_that_ends_before_it_starts_is_refused(http, device, path, start, end):
    answer = http.get(path.format(device), params={"start": start, "end": end})
    assert faults(answer, 422) == [("end", "empty_window")]


@pytest.mark.parametrize(
    "window", ["start=0001-01-01T00:00:00", "end=0001-01-01T00:00:01", "start=9999-12-31T23:59:59"]
)
@pytest.mark.parametrize("path", WINDOWED)
def test_window_at_the_end_of_time_is_no_server_error(http, device, path, window):
    assert http.get(f"{path.format(device)}?{window}").status_code == 200


@pytest.mark.parametrize("path", WINDOWED)
def test_window_that_ends_as_time_begins_is_refused(http, device, path):
    answer = http.get(path.format(device), params={"end": "0001-01-01"})
    assert faults(answer, 422) == [("end", "empty_window")]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/users/?email=a%00b@c.org", "email"),
        (f"/users/?email={MARKER * 40}", "email"),
        (f"/devices/?name={MARKER}%00", "name"),
        (f"/devices/?name={MARKER * 40}", "name"),
        ("/devices/?user_id=0", "user_id"),
        (f"/devices/?user_id={MARKER}", "user_id"),
        ("/devices/?user_id=2147483648", "user_id"),
        (f"/devices/?user_id={'9' * 5000}", "user_id"),
        (f"/users/1/analytics/?group_by={MARKER}", "group_by"),
        (f"/users/1/analytics/?wait={MARKER}", "wait"),
        ("/users/1/analytics/?wait=-1", "wait"),
        ("/users/1/analytics/?wait=NaN", "wait"),
        ("/users/1/analytics/?wait=inf", "wait"),
        ("/users/1/analytics/?wait=1e400", "wait"),
        ("/users/1/analytics/?wait=31", "wait"),
        (f"/tasks/{uuid4()}?wait=31", "wait"),
        (f"/tasks/{MARKER}", "task_id"),
        ("/tasks/%00", "task_id"),
        ("/tasks/%ED%A0%80", "task_id"),
        (f"/receipts/{MARKER}", "receipt_id"),
        ("/receipts/%00", "receipt_id"),
        ("/receipts/%FF", "receipt_id"),
        (f"/devices/{MARKER}", "device_id"),
        ("/devices/%00", "device_id"),
        (f"/devices/{MARKER}/analytics/", "device_id"),
        (f"/stats/{MARKER}/", "device_id"),
        ("/stats/%00/", "device_id"),
        ("/users/-1/analytics/", "user_id"),
        (f"/users/{MARKER}/analytics/", "user_id"),
        (f"/users/{'9' * 5000}/analytics/", "user_id"),
    ],
)
def test_bad_query_or_path_is_refused_with_its_name(http, running_weir, path, field):
    running_weir.device()  # so that user 1 exists
    assert [name for name, _ in faults(http.get(path), 422)] == [field]


@pytest.mark.parametrize("query", ["email=%ED%A0%80", "email=%FF%FE", "email=%F0%9F%98%80", "&&&"])
def test_odd_bytes_in_a_query_find_nothing(http, query):
    assert http.get(f"/users/?{query}").status_code == 200


@pytest.mark.parametrize("query", ["%00=%00", "&&=&", "%ED%A0%80=1", "%FF=1"])
def test_odd_bytes_as_the_name_of_a_parameter_are_refused(http, query):
    assert faults(http.get(f"/users/?{query}"), 422) == [(None, "unknown_parameter")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/users/"),
        ("PUT", "/devices/"),
        ("GET", "/stats/batch"),
        ("GET", "/devices/{}/stats/"),
        ("PATCH", "/devices/{}/stats/"),
        ("DELETE", "/devices/{}"),
        ("POST", "/stats/"),
        ("POST", "/healthz"),
        ("POST", "/tasks/{}"),
    ],
)
def test_wrong_method_is_405_and_says_which_is_right(http, device, method, path):
    answer = http.request(method, path.format(device))
    faults(answer, 405)
    assert answer.headers["allow"]


@pytest.mark.parametrize("path", ["/", f"/{MARKER}", "/devices/{}/other", "/%00", "/stats/batch/more/"])
def test_unknown_page_is_404(http, device, path):
    faults(http.get(path.format(device)), 404)
    faults(http.post(path.format(device), content=MARKER), 404)


def test_empty_device_is_404(http):
    faults(http.post("/devices//stats/", json=reading()), 404)


# The wire


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /users/?email=\xff HTTP/1.1\r\nhost: weir\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: weir\r\n\r\n",
        b"GET /users/?limit=1 HTTP/1.1\r\nhost: [::1\r\n\r\n",
        b"GET /users/?limit=1 HTTP/1.1\r\nhost: \xff\xfe\r\n\r\n",
        b"GET /users/ HTTP/9.9\r\n\r\n",
        MARKER.encode() + b"\r\n\r\n",
        b"POST /users/ HTTP/1.1\r\nhost: weir\r\ncontent-length: -5\r\n\r\n",
        b"POST /users/ HTTP/1.1\r\nhost: weir\r\ncontent-length: five\r\n\r\n",
        b"POST /stats/batch HTTP/1.1\r\nhost: weir\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /users/ HTTP/1.1\r\nhost: weir\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_garbage_on_the_wire_is_no_server_error(running_weir, request_):
    answer = raw(running_weir, request_)
    assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), answer
    assert MARKER.encode() not in answer


def test_sender_that_leaves_in_the_middle_harms_nobody(running_weir, device):
    head = f"POST /devices/{device}/stats/batch HTTP/1.1\r\nhost: weir\r\ncontent-length: 1000\r\n\r\n"
    raw(running_weir, head.encode(), b"[", reply=False)
    raw(running_weir, head.replace("content-length: 1000", "transfer-encoding: chunked").encode(), reply=False)
    assert running_weir.http.post(f"/devices/{device}/stats/", json=reading()).status_code == 202


def test_pages_are_linked_whatever_the_host_header_says(running_weir):
    running_weir.device()
    running_weir.http.post("/users/", json={"name": "second", "email": "second@example.org"})
    for host in (b"[::1", b"a b", b"weir", b"evil.example/x?"):
        answer = raw(running_weir, b"GET /users/?limit=1 HTTP/1.1\r\nhost: " + host + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"link: </users/?limit=1&cursor=" in answer


def test_connection_goes_on_after_a_refusal(running_weir, device):
    """A sender on one connection: refused, refused, accepted."""
    with httpx.Client(base_url=running_weir.url, limits=httpx.Limits(max_connections=1)) as one:
        path = f"/devices/{device}/stats/"
        statuses = [
            one.post(path, content=b" " * (LIMIT + 1)).status_code,
            one.post(path, content=b"{").status_code,
            one.post(path, json=reading()).status_code,
        ]
    assert statuses == [413, 400, 202]
