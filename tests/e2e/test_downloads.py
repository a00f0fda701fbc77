"""Downloads: every format bit by bit, hot and cold, in constant memory, and never half a file that looks whole."""

import csv
import io
import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import Weir
from sealed import Row, insert, key_of, seal_days, shown

from cli.process_tree import memory_mb

DAY = date(2025, 6, 1)
MIDNIGHT = datetime(2025, 6, 1, tzinfo=UTC)
ODD = [0.1, 1.0, -0.0, 5e-324, 1e22, 1 / 3, 1.7976931348623157e308, -123456789.125, 1e16]

MANY = 1_000_000


def of_csv(body: bytes) -> list[dict[str, Any]]:
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    return [row | {axis: float(row[axis]) for axis in "xyz"} for row in rows]


def of_lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def of_table(table: pa.Table) -> list[dict[str, Any]]:
    return [row | {"timestamp": row["timestamp"].isoformat()} for row in table.to_pylist()]


FORMATS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    "text/csv": of_csv,
    "application/json": json.loads,
    "application/x-ndjson": of_lines,
    "application/vnd.apache.arrow.stream": lambda body: of_table(pa.ipc.open_stream(body).read_all()),
    "application/vnd.apache.parquet": lambda body: of_table(pq.read_table(io.BytesIO(body))),
}


@pytest.fixture
def api(weir: Weir) -> Weir:
    weir.environment |= {"WEIR_DOWNLOAD_LIMIT": "1", "WEIR_DOWNLOAD_PATIENCE": "1"}
    weir.start("api")
    return weir


def many(weir: Weir, device: UUID, count: int, start: datetime = MIDNIGHT) -> None:
    """So many readings, a tenth of a second apart."""
    weir.rows(
        "INSERT INTO readings SELECT %s, %s + n * interval '100 ms', n, random(), random() * 1000 "
        "FROM generate_series(0, %s - 1) n",
        key_of(weir, device),
        start,
        count,
    )


def bits(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(*row[:2], *(axis.hex() for axis in row[2:])) for row in rows]


@pytest.mark.parametrize("media_type", FORMATS)
def test_every_format_holds_the_same_readings_bit_by_bit(running_weir: Weir, media_type: str) -> None:
    http = running_weir.http
    first, second = running_weir.device("first"), running_weir.device("second")
    keys = {str(device): key_of(running_weir, device) for device in (first, second)}
    chance = random.Random(1)
    rows = [
        Row(key, MIDNIGHT + timedelta(days=day, microseconds=chance.randrange(10**10)), *chance.choices(ODD, k=3))
        for key in keys.values()
        for day in range(3)
        for _ in range(40)
    ]
    insert(running_weir, rows[::2])
    seal_days(running_weir, [DAY, DAY + timedelta(days=1)])
    insert(running_weir, rows[1::2])
    rows.sort(key=lambda row: (row.time.date(), row.key, row.time))

    user = http.get(f"/devices/{first}").json()["user_id"]
    answer = http.get(
        "/readings", params={"user_id": user, "start": MIDNIGHT.isoformat()}, headers={"accept": media_type}
    )
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media_type)
    found = [row for row in FORMATS[media_type](answer.content) if row["device_id"] in keys]
    assert list(found[0]) == ["device_id", "timestamp", "x", "y", "z"]
    assert bits(shown(found, keys)) == bits(rows)

    answer = http.get(f"/devices/{second}/readings", headers={"accept": media_type})
    found = FORMATS[media_type](answer.content)
    assert bits(shown(found, keys)) == bits([row for row in rows if row.key == keys[str(second)]])


def test_text_has_microseconds_in_utc(running_weir: Weir) -> None:
    device = running_weir.device()
    insert(running_weir, [Row(key_of(running_weir, device), MIDNIGHT, 1.0, 0.1, -0.0)])
    answer = running_weir.http.get(f"/devices/{device}/readings")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text == f"device_id,timestamp,x,y,z\n{device},2025-06-01T00:00:00.000000Z,1.0,0.1,-0.0\n"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "text/csv"),
        ("application/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/csv"),
        ("text/csv;q=0.1, application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("text/csv;q=0, */*;q=0.5", "application/json"),
        ("Application/X-NDJSON ; Q=1.0", "application/x-ndjson"),
    ],
)
def test_accept_chooses_the_format(running_weir: Weir, accept: str, media_type: str) -> None:
    answer = running_weir.http.get(f"/devices/{running_weir.device()}/readings", headers={"accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert FORMATS[media_type](answer.content) == []


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "text/csv;q=never"])
def test_other_formats_are_406_with_those_there_are(running_weir: Weir, accept: str) -> None:
    answer = running_weir.http.get(f"/devices/{running_weir.device()}/readings", headers={"accept": accept})
    assert (answer.status_code, answer.json()["type"]) == (406, "urn:weir:problem:not-acceptable")
    assert all(media_type in answer.json()["detail"] for media_type in FORMATS)


def test_unknown_device_and_user_are_404(running_weir: Weir) -> None:
    assert running_weir.http.get(f"/devices/{uuid4()}/readings").status_code == 404
    assert running_weir.http.get("/readings", params={"user_id": 2_000_000_000}).status_code == 404


def test_million_readings_leave_the_memory_as_it_was(api: Weir) -> None:
    device = api.device()
    many(api, device, MANY)
    seal_days(api, [DAY])
    path = f"/devices/{device}/readings"
    assert lines_of(api, path, end=(MIDNIGHT + timedelta(days=1)).isoformat()) == 864_000
    before = memory_mb(api.pid("api"))
    assert lines_of(api, path) == MANY
    for media_type in ("application/json", "application/vnd.apache.parquet"):
        with api.http.stream("GET", path, headers={"accept": media_type}) as answer:
            size = sum(len(piece) for piece in answer.iter_raw())
        assert size > 10_000_000
    assert memory_mb(api.pid("api")) < before + 60


def lines_of(weir: Weir, path: str, **window: str) -> int:
    with weir.http.stream("GET", path, params=window) as answer:
        return sum(piece.count(b"\n") for piece in answer.iter_raw()) - 1


def file_of(weir: Weir, day: date) -> Path:
    (path,) = (Path(weir.settings().cold_url) / "readings" / f"day={day}").glob("*.parquet")
    return path


def spoil(path: Path) -> None:
    """Flip a byte among the values of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_damage_in_the_middle_cuts_the_connection_so_that_no_half_looks_whole(api: Weir) -> None:
    device = api.device()
    many(api, device, 50_000)
    many(api, device, 50_000, MIDNIGHT + timedelta(days=1))
    days = [DAY, DAY + timedelta(days=1)]
    seal_days(api, days)
    spoil(file_of(api, days[1]))
    path = f"/devices/{device}/readings"
    for media_type in FORMATS:
        with pytest.raises(httpx.RemoteProtocolError):
            api.http.get(path, headers={"accept": media_type})
    assert "a download was cut" in api.log("api")
    assert str(days[1]) in api.log("api")
    assert lines_of(api, path, end=(MIDNIGHT + timedelta(days=1)).isoformat()) == 50_000
    file_of(api, days[1]).unlink()
    answer = api.http.get(path, params={"start": (MIDNIGHT + timedelta(days=1)).isoformat()})
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:weir:problem:cold-file-damaged")
    assert "retry-after" not in answer.headers


@contextmanager
def stuck(weir: Weir, device: UUID) -> Iterator[socket.socket]:
    """A download whose client reads its head and nothing more."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", weir.port))
        client.sendall(f"GET /devices/{device}/readings HTTP/1.1\r\nhost: weir\r\n\r\n".encode())
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        yield client


def test_download_beyond_the_limit_is_503_until_one_ends(api: Weir) -> None:
    device = api.device()
    many(api, device, 300_000)
    path = f"/devices/{device}/readings"
    with stuck(api, device):
        refused = api.http.get(path)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:weir:problem:busy")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert api.http.get(f"/devices/{device}").status_code == 200
    # Its client has gone.
    api.wait_for(lambda: api.http.get(path, params={"end": MIDNIGHT.isoformat()}).status_code == 200)
    assert lines_of(api, path) == 300_000


def test_client_that_takes_nothing_is_cut(api: Weir) -> None:
    device = api.device()
    many(api, device, 300_000)
    with stuck(api, device) as client:
        api.wait_for(lambda: "the client took nothing" in api.log("api"))
        body = b"".join(iter(lambda: received(client), b""))
        assert b"\r\n0\r\n\r\n" not in body[-10:]
        assert api.http.get(f"/devices/{device}/readings", params={"end": MIDNIGHT.isoformat()}).status_code == 200


def received(client: socket.socket) -> bytes:
    try:
        return client.recv(1 << 20)
    except ConnectionResetError:
        return b""
