"""What must be survived, at whatever moment it comes: nothing answered 202 is lost, nothing is stored twice."""

import itertools
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from factories import Weir
from typer.testing import CliRunner

from cli.main import app
from cli.programs import free_ports
from cli.rabbitmq_installation import find_or_install
from cli.running import RunningServer
from cli.servers import RabbitPorts, RabbitServer


class Senders:
    """Devices that send one reading after the other, each with a number of its own, and keep what they were told."""

    COUNT = 8

    def __init__(self, url: str, device: UUID) -> None:
        self._url = f"{url}/devices/{device}/stats/"
        self._numbers = itertools.count()
        self._ended = threading.Event()
        self.accepted: list[int] = []
        self.answers: Counter[int | str] = Counter()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(self.COUNT)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        with httpx.Client(timeout=15) as client:
            while not self._ended.is_set():
                number = next(self._numbers)
                try:
                    answer = client.post(self._url, json={"x": number, "y": 0, "z": 0})
                except httpx.TransportError as error:
                    self.answers[type(error).__name__] += 1
                    self._ended.wait(0.05)
                    continue
                self.answers[answer.status_code] += 1
                if answer.status_code == 202:
                    self.accepted.append(number)
                else:
                    self._ended.wait(0.05)

    def has_had(self, number: int) -> bool:
        return len(self.accepted) >= number

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


def nothing_lost_nothing_twice(weir: Weir, senders: Senders) -> None:
    """Wait until all that was accepted is stored, then look at every row, and at the ledger."""
    accepted = set(senders.accepted)

    def numbers() -> list[int]:
        return [int(x) for (x,) in weir.rows("SELECT x FROM readings")]

    weir.wait_for(lambda: accepted <= set(numbers()), 60)
    stored = numbers()
    assert len(stored) == len(set(stored))
    assert not [status for status in senders.answers if isinstance(status, int) and status not in {202, 503}]
    # What came of a request without an answer may be stored a moment later.
    weir.wait_for(lambda: ledger(weir) == (weir.stored(), weir.stored()))


def ledger(weir: Weir) -> tuple[int, int]:
    """Accepted and stored; at no moment, and in no series, is more settled than accepted."""
    query = "SELECT sum(accepted)::int, sum(stored)::int, bool_and(accepted >= stored + duplicate + dead) FROM ledger"
    accepted, stored, holds = weir.rows(query)[0]
    assert holds is not False  # None: nothing is written down yet
    return accepted, stored


@pytest.mark.parametrize("process", ["consumer", "api"])
def test_process_killed_under_load_loses_nothing_and_doubles_nothing(weir: Weir, process: str) -> None:
    weir.start("consumer", "api")
    senders = Senders(weir.url, weir.device())
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    chance = random.Random(seed)
    for _ in range(4):
        goal = len(senders.accepted) + chance.randrange(200, 800)
        weir.wait_for(lambda goal=goal: senders.has_had(goal), 30)
        assert weir.stop(process, signal.SIGKILL) == -signal.SIGKILL
        ledger(weir)
        weir.start(process)
    senders.end()
    nothing_lost_nothing_twice(weir, senders)


def test_api_told_to_stop_answers_everyone_it_let_in(weir: Weir) -> None:
    weir.start("consumer", "api")
    senders = Senders(weir.url, weir.device())
    weir.wait_for(lambda: senders.has_had(500))
    assert weir.stop("api") in {0, -signal.SIGTERM}
    senders.end()
    # A sender may send on the connection that it kept just as the API closes it: once, and nothing was let in.
    cut = senders.answers["ReadError"] + senders.answers["RemoteProtocolError"] + senders.answers["WriteError"]
    assert cut <= Senders.COUNT
    nothing_lost_nothing_twice(weir, senders)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RunningServer]:
    """A broker that a test may kill."""
    ports = RabbitPorts(*free_ports(len(fields(RabbitPorts))))
    broker = RunningServer(RabbitServer(tmp_path / "rabbitmq", ports, find_or_install()))
    try:
        broker.ready()
        yield broker
    finally:
        broker.stop()


def test_broker_killed_under_load_loses_nothing_and_comes_back(
    postgres_url: str, migrated_template: str, own_broker: RunningServer, tmp_path: Path
) -> None:
    server = own_broker.server
    assert isinstance(server, RabbitServer)
    weir = Weir(postgres_url, migrated_template, server.url, server.management_url, tmp_path)
    try:
        weir.start("consumer", "api")
        senders = Senders(weir.url, weir.device())
        weir.wait_for(lambda: senders.has_had(500))
        own_broker.kill()
        weir.wait_for(lambda: senders.answers[503] > 0)
        assert weir.http.get("/readyz").status_code == 503
        own_broker.start()
        own_broker.ready()
        before = len(senders.accepted)
        weir.wait_for(lambda: senders.has_had(before + 500), 30)
        weir.wait_for(weir.is_ready)
        senders.end()
        nothing_lost_nothing_twice(weir, senders)
    finally:
        weir.close()


def test_submission_nobody_would_get_is_never_accepted_and_the_binding_comes_back(weir: Weir) -> None:
    weir.start("consumer", "api")
    path = f"/devices/{weir.device()}/stats/"
    assert weir.http.post(path, json={"x": 1, "y": 1, "z": 1}).status_code == 202
    weir.management("DELETE", "bindings/{vhost}/e/weir/q/weir.readings/readings")
    refused = weir.http.post(path, json={"x": 2, "y": 2, "z": 2})
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    weir.wait_for(lambda: weir.http.post(path, json={"x": 3, "y": 3, "z": 3}).status_code == 202)
    weir.wait_for(lambda: weir.stored() == 2)
    assert weir.rows("SELECT x FROM readings ORDER BY x") == [(1.0,), (3.0,)]


def test_consumer_killed_during_an_import_loses_nothing_and_doubles_nothing(weir: Weir, tmp_path: Path) -> None:
    count = 120_000
    file = tmp_path / "readings.csv"
    lines = (f"d{n % 3},2026-01-01T00:{n // 60 % 60:02}:{n % 60:02}Z,{n},0,0\n" for n in range(count))
    file.write_text("device,timestamp,x,y,z\n" + "".join(sorted(lines)))
    weir.start("consumer", "api")
    results = []
    command = ["import", "readings", str(file), "--url", weir.url, "--chunk", "500", "--json"]
    importing = threading.Thread(target=lambda: results.append(CliRunner().invoke(app, command)))
    importing.start()
    for goal in (1, 20_000, 60_000):
        weir.wait_for(lambda goal=goal: weir.stored() >= goal, 60)
        weir.stop("consumer", signal.SIGKILL)
        weir.start("consumer")
    importing.join(120)
    assert [result.exit_code for result in results] == [0], results and results[0].output
    weir.wait_until_stored(count)
    assert weir.scalar("SELECT count(DISTINCT x) FROM readings") == count
