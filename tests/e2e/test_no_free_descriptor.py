"""A process without a free descriptor waits and says so; it goes on once there are some, and loses nothing."""

import resource
from pathlib import Path

import pytest
from factories import Weir, reading

from shared.broker.management import Management
from shared.errors import BrokerUnavailable


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize("process", ["api", "consumer"])
def test_process_whose_connections_are_closed_while_it_has_no_descriptor_comes_back(weir: Weir, process: str) -> None:
    weir.environment["WEIR_MANAGEMENT_URL"] = weir.management_url
    weir.start("consumer", "api")
    device = weir.device()
    path = f"/devices/{device}/stats/"
    assert weir.http.post(path, json=reading(1)).status_code == 202
    weir.wait_until_stored(1)
    pid = weir.pid(process)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # The lowest numbers are taken, so that what is closed now cannot be opened again.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, before[1]))
    try:
        weir.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s",
            weir.name,
        )
        weir.wait_for(lambda: bool(weir.management("GET", "vhosts/{vhost}/connections")))
        for one in weir.management("GET", "vhosts/{vhost}/connections"):
            weir.management("DELETE", f"connections/{one['name']}")
        weir.wait_for(lambda: "broker connection lost" in weir.log(process), 60)
        assert weir.is_running(process)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    weir.wait_for(weir.is_ready, 60)
    assert weir.http.post(path, json=reading(2)).status_code == 202
    weir.wait_until_stored(2, 60)
    assert weir.is_running(process)
    assert "Traceback" not in weir.log(process)


def test_management_api_that_cannot_be_asked_for_want_of_a_descriptor_is_away(weir: Weir) -> None:
    """The client reads certificates before it connects, whatever the address."""
    management = Management(weir.management_url, weir.amqp_url)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (5, before[1]))
    try:
        with pytest.raises(BrokerUnavailable):
            management.get("overview")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert management.get("overview")
