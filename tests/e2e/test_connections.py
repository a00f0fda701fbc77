"""Connections that say nothing, or say it byte by byte, and more of them than there may be: the others are served."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain

import pytest
from factories import Weir, reading

from api.connections import RESERVED_FILES
from cli.programs import wait_until

HEAD_SECONDS = 2
LIMIT = 1_100
MANY = 500


@pytest.fixture
def bounded(weir: Weir) -> Weir:
    weir.environment |= {"WEIR_HEAD_DEADLINE": str(HEAD_SECONDS), "WEIR_CONNECTION_LIMIT": str(LIMIT)}
    weir.start("consumer", "api")
    return weir


@contextmanager
def opened(weir: Weir, count: int, beginning: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections to the API, on which this was said."""
    with ExitStack() as all_of_them:
        found = []
        for _ in range(count):
            one = all_of_them.enter_context(socket.create_connection(("127.0.0.1", weir.port), timeout=20))
            one.sendall(beginning)
            found.append(one)
        yield found


def dribble(connections: list[socket.socket]) -> None:
    for one in connections:
        try:
            one.send(b"x")
        except OSError:
            continue  # closed, as it should be at some time


def said(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_thousand_idle_and_dribbling_connections_hold_up_nobody(bounded: Weir) -> None:
    device = bounded.device()
    path = f"/devices/{device}/stats/"
    head = f"POST {path} HTTP/1.1\r\nhost: weir\r\ncontent-length: 100\r\n\r\n".encode()
    with (
        opened(bounded, MANY) as idle,
        opened(bounded, MANY // 2, b"POST / HTTP/1.1\r\nx: ") as heads,
        opened(bounded, MANY // 2, head) as bodies,
    ):
        for number in range(50):
            dribble([*heads, *bodies])
            assert bounded.http.post(path, json=reading(number)).status_code == 202
        # Closed when their time is over, however busily they dribble; a body has longer.
        for one in chain(idle, heads):
            dribble(heads)
            assert _closed(one)
        assert not any(_closed(one, 0.0) for one in bodies)
    assert bounded.http.get(f"/devices/{device}").status_code == 200
    bounded.wait_until_stored(50)


def _closed(connection: socket.socket, seconds: float = 10 * HEAD_SECONDS) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, TimeoutError):
        return False
    except ConnectionResetError:
        return True


def test_connection_over_the_limit_is_503_and_there_is_room_again(weir: Weir) -> None:
    weir.environment |= {"WEIR_CONNECTION_LIMIT": "20"}
    weir.start("api")
    get = b"GET /healthz HTTP/1.1\r\nhost: weir\r\n\r\n"
    weir.http.close()
    with opened(weir, 20), opened(weir, 1, get) as (refused,):
        answer = said(refused)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in answer
        assert b"urn:weir:problem:busy" in answer
        with opened(weir, 1), opened(weir, 1) as (one_too_many,):
            assert _closed(one_too_many)

    def is_served() -> bool:
        with opened(weir, 1, get.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")) as (again,):
            return said(again).startswith(b"HTTP/1.1 200 ")

    wait_until(is_served, 20, "connections that were closed still count")


def test_connections_beyond_what_there_are_files_for_are_refused_when_the_limit_is_lowered(bounded: Weir) -> None:
    """By an operator, while it runs: the API keeps files for its database and answers what it cannot take."""
    pid, files = bounded.pid("api"), 400
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, before[1]))
    ask = b"GET /healthz HTTP/1.1\r\nhost: weir\r\n\r\n"
    with opened(bounded, files - RESERVED_FILES):
        with opened(bounded, 5, ask) as refused:
            assert {said(one).split()[1] for one in refused} == {b"503"}
        assert bounded.is_running("api")
    wait_until(lambda: bounded.http.get("/readyz").status_code == 200, 20, "it did not come back")
    device = bounded.device()
    assert bounded.http.post(f"/devices/{device}/stats/", json=reading()).status_code == 202
