"""Real servers for the tests that ask for them: private, in a temporary folder, gone at the end."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from factories import Weir

from cli.programs import free_ports
from cli.rabbitmq_installation import find_or_install
from cli.running import RunningServer
from cli.servers import PostgresServer, RabbitPorts, RabbitServer
from shared.celery_app import celery_app
from shared.database import connect
from shared.jobs import Jobs
from shared.migrations import upgrade


def pytest_configure() -> None:
    # A shell has what it starts in the background ignore Ctrl-C, and so would every process that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="Run this one seed of the simulation again.")


@pytest.fixture(scope="session")
def _servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], RunningServer]]:
    """Start at once every server that any test of this run will ask for: they come up side by side."""

    def rabbitmq() -> RunningServer:
        ports = RabbitPorts(*free_ports(len(fields(RabbitPorts))))
        return RunningServer(RabbitServer(tmp_path_factory.mktemp("rabbitmq"), ports, find_or_install()))

    def postgres() -> RunningServer:
        return RunningServer(PostgresServer(tmp_path_factory.mktemp("postgres"), *free_ports(1)))

    starters = {"rabbit_server": rabbitmq, "postgres_server": postgres}
    asked_for = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    running: dict[str, RunningServer] = {}

    def start(name: str) -> RunningServer:
        if name not in running:
            running[name] = starters[name]()
        return running[name]

    try:
        for name in starters:
            if name in asked_for:
                start(name)
        yield start
    finally:
        for server in running.values():
            server.stop()


@pytest.fixture(scope="session")
def postgres_server(_servers: Callable[[str], RunningServer]) -> PostgresServer:
    return _servers("postgres_server").ready()


@pytest.fixture(scope="session")
def rabbit_server(_servers: Callable[[str], RunningServer]) -> RabbitServer:
    return _servers("rabbit_server").ready()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """An empty database `weir`, as a superuser."""
    return postgres_server.url


@pytest.fixture(scope="session")
def amqp_url(rabbit_server: RabbitServer) -> str:
    """A virtual host `weir` with the policies of deploy/rabbitmq/definitions.json."""
    return rabbit_server.url


@pytest.fixture(scope="session")
def management_url(rabbit_server: RabbitServer) -> str:
    """The management API of the same broker, with user and password in the address."""
    return rabbit_server.management_url


@pytest.fixture(scope="session")
def rabbitmqctl(rabbit_server: RabbitServer) -> Callable[..., str]:
    """Run rabbitmqctl on the same broker: its arguments in, what it prints out."""

    def run(*arguments: str) -> str:
        command = [rabbit_server.rabbitmqctl, *arguments]
        return subprocess.run(
            command, env=rabbit_server.environment(), capture_output=True, text=True, check=True
        ).stdout

    return run


@pytest.fixture(scope="session")
def migrated_template(postgres_url: str) -> str:
    """A database with the schema in it, to copy from: quicker than migrating for each test."""
    upgrade(postgres_url)
    return postgres_url.rpartition("/")[2]


@pytest.fixture
def weir(
    postgres_url: str, migrated_template: str, amqp_url: str, management_url: str, tmp_path: Path
) -> Iterator[Weir]:
    """A Weir of this test alone; nothing runs on it yet."""
    whole = Weir(postgres_url, migrated_template, amqp_url, management_url, tmp_path)
    try:
        yield whole
    finally:
        whole.close()


@pytest.fixture(scope="module")
def running_weir(
    postgres_url: str,
    migrated_template: str,
    amqp_url: str,
    management_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Weir]:
    """A Weir with api, consumer and worker running, shared by the tests of a module."""
    whole = Weir(postgres_url, migrated_template, amqp_url, management_url, tmp_path_factory.mktemp("weir"))
    try:
        whole.start("consumer", "worker", "api")
        yield whole
    finally:
        whole.close()


@pytest.fixture
def weir_url(running_weir: Weir) -> str:
    return running_weir.url


@pytest.fixture
def jobs(weir: Weir) -> Iterator[Jobs]:
    """Its jobs, of which no worker is told."""
    engine = connect(weir.database_url, pool_size=2, statement_deadline=timedelta(seconds=30))
    yield Jobs(engine, celery_app(weir.amqp_url, timedelta(minutes=10)))
    engine.dispose()
