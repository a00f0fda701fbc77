"""An export that does not come to its end leaves what was there before, and nothing else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cli.client import Client
from cli.exported import whole
from shared.errors import Unavailable, WeirError


class _Broken(BaseHTTPRequestHandler):
    """Answers with a body that breaks off before its end mark."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"4\r\nx,y\n\r\n")
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@contextmanager
def broken() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Broken) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def test_body_that_breaks_off_is_no_file(tmp_path: Path) -> None:
    out = tmp_path / "readings.csv"
    out.write_text("before")

    def export() -> None:
        with broken() as url, Client(url) as client, whole(out) as file:
            for piece in client.download("/readings", {}, "text/csv"):
                file.write(piece)

    with pytest.raises(Unavailable, match="broke off"):
        export()
    assert [path.name for path in tmp_path.iterdir()] == ["readings.csv"]
    assert out.read_text() == "before"


def test_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match="cannot be written"), whole(tmp_path / "missing" / "readings.csv"):
        pass
