"""What S3-compatible storage is asked through the network, and how often."""

import socket
from collections.abc import Iterator
from threading import Thread

import pytest

from shared.cold.store import MARK, Store
from shared.errors import ColdUnavailable


class HangingUp:
    """A server that ends every connection without an answer, and counts them."""

    def __init__(self) -> None:
        self.asked = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if not connection.recv(1 << 16):
                    return
                self.asked += 1

    def close(self) -> None:
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[HangingUp]:
    found = HangingUp()
    yield found
    found.close()


def test_storage_that_does_not_answer_is_asked_three_times_and_is_away(server: HangingUp) -> None:
    """Each time costs three seconds where it hangs; pyarrow by itself asks some thirty times."""
    store = Store(f"s3://key:secret@bucket/cold?region=r&scheme=http&endpoint_override=127.0.0.1:{server.port}")
    with pytest.raises(ColdUnavailable):
        store.content(MARK)
    assert server.asked == 3


def test_address_with_options_that_cannot_be_copied_is_taken_as_it_is(server: HangingUp) -> None:
    url = f"s3://key:secret@bucket/cold?region=r&scheme=http&endpoint_override=127.0.0.1:{server.port}"
    store = Store(f"{url}&tls_verify_certificates=false")
    with pytest.raises(ColdUnavailable):
        store.content(MARK)
    assert server.asked > 3
