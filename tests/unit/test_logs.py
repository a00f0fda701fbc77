"""What is logged, and what must not be."""

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import pytest

from shared import logs


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.timeout = 10
        answering = Thread(target=server.handle_request)
        answering.start()
        yield server.server_port
        answering.join()


@pytest.mark.parametrize("as_json", [False, True])
def test_password_in_an_address_is_not_logged(port: int, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", as_json=as_json)
    httpx.get(f"http://weir:secret@127.0.0.1:{port}/", trust_env=False)
    logging.getLogger("weir").info("a line")
    said = capsys.readouterr().err
    assert "a line" in said
    assert "secret" not in said
