"""A request that offers an upgrade is answered as without it: its body counts, whatever is offered and however it comes."""

import gzip
import json
import socket
from contextlib import closing
from uuid import uuid4

import pytest
from factories import Weir

H2C = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
OFFERS = {
    "h2c": H2C,
    "h2c beside keep-alive": "connection: keep-alive, upgrade\r\nupgrade: h2c\r\n",
    "websocket": "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AA==\r\n",
    "TLS": "connection: upgrade\r\nupgrade: TLS/1.0\r\n",
    "several": "connection: upgrade\r\nupgrade: h2c, websocket\r\n",
    "two fields": "connection: keep-alive\r\nconnection: Upgrade\r\nupgrade: h2c\r\n",
}
JSON = "content-type: application/json\r\n"
READING = b'{"x": 1, "y": 2, "z": 3}'


def answers(weir: Weir, *segments: bytes, count: int = 1) -> list[tuple[int, bytes]]:
    """Send the segments one by one on one connection, and read so many answers: status and body."""
    found = []
    with closing(socket.create_connection(("127.0.0.1", weir.port), timeout=20)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for segment in segments:
            wire.sendall(segment)
        stream = wire.makefile("rb")
        for _ in range(count):
            status = int(stream.readline().split()[1])
            fields = dict(line.split(b": ", 1) for line in iter(lambda: stream.readline().strip(), b""))
            found.append((status, stream.read(int(fields.get(b"content-length", 0)))))
    return found


def request(method: str, path: str, body: bytes = b"", fields: str = "", *, length: bool = True) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: weir\r\n{fields}"
    if body and length:
        head += f"content-length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


@pytest.fixture(scope="module")
def device(running_weir: Weir) -> str:
    return running_weir.device()


@pytest.mark.parametrize("offer", OFFERS.values(), ids=list(OFFERS))
def test_reading_with_an_offer_is_taken(running_weir: Weir, device: str, offer: str) -> None:
    ((status, body),) = answers(running_weir, request("POST", f"/devices/{device}/stats/", READING, offer))
    assert (status, json.loads(body)) == (202, {"status": "ok"})


@pytest.mark.parametrize("pieces", [1, 2, 3, 1000], ids=lambda count: f"{count} segments")
def test_head_and_body_may_come_in_any_segments(running_weir: Weir, device: str, pieces: int) -> None:
    whole = request("POST", f"/devices/{device}/stats/", READING, H2C)
    size = -(-len(whole) // pieces)
    cut = whole.index(b"\r\n\r\n") + 4 if pieces == 2 else size
    segments = [whole[:cut], *(whole[at : at + size] for at in range(cut, len(whole), size))]
    assert [status for status, _ in answers(running_weir, *segments)] == [202]


def test_chunked_and_compressed_bodies_count(running_weir: Weir, device: str) -> None:
    path = f"/devices/{device}/stats/batch"
    chunked = b"5\r\n[" + READING[:4] + b"\r\n" + f"{len(READING) - 3:x}\r\n".encode() + READING[4:] + b"]\r\n0\r\n\r\n"
    packed = gzip.compress(b"[" + READING + b"]")
    found = answers(
        running_weir,
        request("POST", path, chunked, H2C + "transfer-encoding: chunked\r\n", length=False),
        request("POST", path, packed, H2C + "content-encoding: gzip\r\n"),
        count=2,
    )
    assert [(status, json.loads(body)["accepted"]) for status, body in found] == [(202, 1), (202, 1)]


def test_every_method_keeps_its_body(running_weir: Weir) -> None:
    email = f"{uuid4()}@example.org"
    ((created, body),) = answers(
        running_weir, request("POST", "/users/", json.dumps({"name": "Ada", "email": email}).encode(), H2C + JSON)
    )
    user_id = json.loads(body)["id"]
    named = json.dumps({"user_id": user_id, "name": "pump"}).encode()
    ((made, body),) = answers(running_weir, request("POST", "/devices/", named, H2C + JSON))
    device_id = json.loads(body)["id"]
    patch = request("PATCH", f"/devices/{device_id}", b'{"retention_days": 30}', H2C + JSON)
    ((patched, body),) = answers(running_weir, patch)
    assert (created, made, patched) == (200, 200, 200)
    assert json.loads(body)["retention_days"] == 30
    ((deleted, _),) = answers(running_weir, request("DELETE", f"/tasks/{uuid4()}", b"{}", H2C + JSON))
    ((put, _),) = answers(running_weir, request("PUT", "/users/", b"{}", H2C + JSON))
    assert (deleted, put) == (404, 405)


def test_question_with_a_body_keeps_its_window(running_weir: Weir, device: str) -> None:
    answers(running_weir, request("POST", f"/devices/{device}/stats/", READING))
    running_weir.wait_for(lambda: running_weir.stored() >= 1)
    counts = []
    for window in ({}, {"start": "2090-01-01T00:00:00Z"}):
        question = json.dumps({"axes": ["x"], **window}).encode()
        ((status, body),) = answers(
            running_weir, request("POST", f"/devices/{device}/analytics/?wait=10", question, H2C + JSON)
        )
        assert status == 200
        counts.append(json.loads(body)["result"]["x"]["count"])
    assert counts[0] >= 1
    assert counts[1] == 0


def test_offers_stand_beside_other_requests_on_one_connection(running_weir: Weir, device: str) -> None:
    path = f"/devices/{device}/stats/"
    pipelined = [request("POST", path, READING, offer) for offer in (H2C, "", H2C, H2C, "")]
    found = answers(running_weir, b"".join(pipelined), request("GET", "/healthz", fields=H2C), count=6)
    assert [status for status, _ in found] == [202, 202, 202, 202, 202, 200]


def test_many_offers_in_one_segment_are_answered_in_turn(running_weir: Weir) -> None:
    many = 2_000
    found = answers(running_weir, request("GET", "/healthz", fields=H2C) * many, count=many)
    assert {status for status, _ in found} == {200}


def test_body_that_waits_for_100_continue_comes_after_it(running_weir: Weir, device: str) -> None:
    head = request("POST", f"/devices/{device}/stats/", READING, H2C + "expect: 100-continue\r\n")[: -len(READING)]
    with closing(socket.create_connection(("127.0.0.1", running_weir.port), timeout=20)) as wire:
        wire.sendall(head)
        stream = wire.makefile("rb")
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert stream.readline() == b"\r\n"
        wire.sendall(READING)
        assert stream.readline().startswith(b"HTTP/1.1 202")


@pytest.mark.parametrize("body", [b"{", b"", b'{"x": 1, "y": "warm", "z": 3}'])
def test_bad_body_is_answered_as_without_an_offer(running_weir: Weir, device: str, body: bytes) -> None:
    path = f"/devices/{device}/stats/"
    length = "" if body else "content-length: 0\r\n"
    ((status, refusal),) = answers(running_weir, request("POST", path, body, H2C + length))
    assert [(status, refusal)] == answers(running_weir, request("POST", path, body, length))
    assert status in {400, 422}


@pytest.mark.parametrize("target", ["example.org:443", "/"])
def test_tunnel_is_refused(running_weir: Weir, target: str) -> None:
    ((status, _),) = answers(running_weir, request("CONNECT", target, fields=H2C))
    assert status == 400


def test_malformed_body_after_an_offer_is_refused(running_weir: Weir, device: str) -> None:
    path = f"/devices/{device}/stats/"
    chunked = request("POST", path, b"zz\r\n", H2C + "transfer-encoding: chunked\r\n", length=False)
    ((status, _),) = answers(running_weir, chunked)
    assert status == 400
