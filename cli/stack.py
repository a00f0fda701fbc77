"""All of Weir on one machine: its own PostgreSQL and RabbitMQ, and the five services, under one supervisord."""

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

import httpx

from cli.programs import Program, free_ports, port_is_free, source_version, wait_until, write_if_changed
from cli.rabbitmq_installation import find_or_install
from cli.servers import PostgresServer, RabbitPorts, RabbitServer
from cli.supervision import Supervisor
from shared.config import PREFIX, Settings
from shared.errors import DatabaseUnavailable, Unavailable, WeirError
from shared.job_queues import QUEUE, UPKEEP_QUEUE
from shared.migrations import upgrade

CHECKOUT = Path(__file__).parents[1]
#: The services, and the seconds their drain may take.
SERVICES = {"beat": 10, "upkeep": 10, "worker": 30, "consumer": 30, "api": 40}
PACKAGES = ("api", "consumer", "analytics", "shared")
SERVER_SECONDS = 90
API_SECONDS = 60
#: By what address one reaches what listens on all.
_REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  compared, not bound
#: A program that still cannot be kept up by then never will.
HOPE_SECONDS = 10

Step = Callable[[str], None]


class Stack:
    """The local stack of one checkout; everything it keeps is under `.weir/`.

    A server whose address is in the environment (WEIR_DATABASE_URL, WEIR_AMQP_URL) is used and not started.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
        self.folder = CHECKOUT / ".weir"
        self.supervisor = Supervisor(self.folder, CHECKOUT)
        self.settings = settings
        self._given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        self._memory = self.folder / "stack.json"
        self._postgres: PostgresServer | None = None
        self._rabbitmq: RabbitServer | None = None

    @property
    def api_url(self) -> str:
        """Where the API is: as the environment says, else where it was started, else where it is by default."""
        settings = self.settings
        port = settings.api_port if "WEIR_API_PORT" in self._given else self._remembered_port() or settings.api_port
        return f"http://{_REACHABLE.get(settings.api_host, settings.api_host)}:{port}"

    def _remembered_port(self) -> int | None:
        """The port of the API that runs here."""
        return self._remember().get("api") if self._memory.exists() and self.supervisor.is_running() else None

    @property
    def owns_broker(self) -> bool:
        return self._rabbitmq is not None

    @property
    def management_url(self) -> str:
        return self._rabbitmq.management_url if self._rabbitmq else self.settings.management_url

    def running_settings(self) -> Settings:
        """The settings as its services have them: servers of our own are not in the environment."""
        if not self.supervisor.is_running():
            return self.settings
        ports = self._remember()
        addresses = {} if "WEIR_COLD_URL" in self._given else {"cold_url": str(self.folder / "cold")}
        if "WEIR_DATABASE_URL" not in self._given:
            addresses["database_url"] = PostgresServer(self.folder / "postgres", ports["postgres"]).url
        if "WEIR_AMQP_URL" not in self._given:
            given = RabbitPorts(**{port.name: ports[port.name] for port in fields(RabbitPorts)})
            rabbitmq = RabbitServer(self.folder / "rabbitmq", given, find_or_install())
            addresses |= {"amqp_url": rabbitmq.url, "management_url": rabbitmq.management_url}
        return self.settings.model_copy(update=addresses)

    def up(self, step: Step) -> None:
        """Bring everything up, or up to date. Calls `step` with what begins now.

        Raises:
            WeirError: something cannot be brought up; the text says why and where its log is.
        """
        with self._alone():
            running = self.supervisor.is_running()
            if not running:
                self.supervisor.end_leftovers()
            self._claim_api_port(running)
            step("finding PostgreSQL and RabbitMQ")
            self._choose_servers(running)
            servers = self._servers()
            for server in servers:
                server.prepare()
            infrastructure = [program for server in servers for program in server.programs()]
            self.supervisor.apply([*infrastructure, *self._services()])
            step("starting PostgreSQL and RabbitMQ")
            for program in infrastructure:
                self.supervisor.start(program.name)
            for server in servers:
                self._wait(server.is_ready, SERVER_SECONDS, server.name)
            step("migrating the database")
            self._migrate()
            step("starting " + ", ".join(SERVICES))
            for name in SERVICES:
                self.supervisor.start(name)
            self._wait_for_api()

    def down(self, step: Step) -> None:
        """Drain and stop everything; what was accepted stays under `.weir/`."""
        if not self.folder.exists():
            return
        with self._alone():
            if self.supervisor.is_running():
                with suppress(WeirError):  # it stops by itself already
                    for info in reversed(self.supervisor.states()):
                        step(f"stopping {info['name']}")
                        self.supervisor.stop(info["name"])
                self.supervisor.shutdown()
            self.supervisor.end_leftovers()

    def reset(self, step: Step) -> None:
        """Stop everything and forget everything."""
        self.down(step)
        step("removing .weir")
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            raise WeirError(f"{self.folder} could not be removed whole; remove it as the user who made it")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One `make` at a time: two would start things twice."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WeirError("another make up, down or reset is at work here") from None
            yield

    def _remember(self) -> dict[str, int]:
        return dict(json.loads(self._memory.read_text())) if self._memory.exists() else {}

    def _claim_api_port(self, running: bool) -> None:
        port = self.settings.api_port
        ours = running and self._remember().get("api") == port and self.supervisor.runs("api")
        if not ours and not port_is_free(port, self.settings.api_host):
            raise WeirError(f"port {port} is taken by another program; free it, or choose one with WEIR_API_PORT")

    def _choose_servers(self, running: bool) -> None:
        """Decide which servers are ours, on the ports they had before unless somebody else took one meanwhile."""
        names = ("postgres", *(port.name for port in fields(RabbitPorts)))
        known = self._remember()
        ports = [known[name] for name in names if name in known]
        if len(ports) < len(names) or not (running or all(map(port_is_free, ports))):
            ports = free_ports(len(names))
        if "WEIR_DATABASE_URL" not in self._given:
            self._postgres = PostgresServer(self.folder / "postgres", ports[0])
        if "WEIR_AMQP_URL" not in self._given:
            self._rabbitmq = RabbitServer(self.folder / "rabbitmq", RabbitPorts(*ports[1:]), find_or_install())
        memory = dict(zip(names, ports, strict=True)) | {"api": self.settings.api_port}
        write_if_changed(self._memory, json.dumps(memory, indent=2))

    def _servers(self) -> list[PostgresServer | RabbitServer]:
        return [server for server in (self._postgres, self._rabbitmq) if server]

    def _database_url(self) -> str:
        return self._postgres.url if self._postgres else self.settings.database_url

    def _migrate(self) -> None:
        try:
            upgrade(self._database_url())
        except DatabaseUnavailable as error:
            look = f"its log is {self._log('postgres')}" if self._postgres else "is WEIR_DATABASE_URL right?"
            raise WeirError(f"{error}; {look}") from error

    def _services(self) -> list[Program]:
        addresses = {
            "WEIR_DATABASE_URL": self._database_url(),
            "WEIR_AMQP_URL": self._rabbitmq.url if self._rabbitmq else self.settings.amqp_url,
            "WEIR_MANAGEMENT_URL": self.management_url,
            "WEIR_API_PORT": str(self.settings.api_port),
        }
        # New code is another environment to supervisord, and so a reason to start a service again.
        cold = {"WEIR_COLD_URL": str(self.folder / "cold")}
        environment = {
            **cold,
            **self._given,
            **addresses,
            "CODE_VERSION": source_version(CHECKOUT / package for package in PACKAGES),
            "PYTHONUNBUFFERED": "1",
        }
        celery = ("celery", "-A", "analytics.celery")
        schedule = self.folder / "beat" / "schedule"
        schedule.parent.mkdir(exist_ok=True)
        worker = (*celery, "worker", "--concurrency", "2", "--queues")
        modules = {
            "beat": (*celery, "beat", "--schedule", str(schedule), "--pidfile="),
            # Sealing may take one of its two slots for long; sending jobs again cannot wait for that.
            "upkeep": (*worker, UPKEEP_QUEUE, "--hostname", "upkeep@%h"),
            "worker": (*worker, QUEUE),
            "consumer": ("consumer",),
            "api": ("api",),
        }
        return [
            Program(name, (sys.executable, "-m", *modules[name]), environment, stop_seconds=seconds)
            for name, seconds in SERVICES.items()
        ]

    def _wait_for_api(self) -> None:
        answer = "no answer"

        def ready() -> bool:
            nonlocal answer
            try:
                response = httpx.get(f"{self.api_url}/readyz", trust_env=False)
            except httpx.HTTPError:
                return False
            answer = response.text
            return response.status_code == httpx.codes.OK

        try:
            self._wait(ready, API_SECONDS, "")
        except Unavailable:
            raise WeirError(f"the API does not become ready ({answer}); its log is {self._log('api')}") from None

    def _wait(self, ready: Callable[[], bool], seconds: float, name: str) -> None:
        """Wait, but not for a program that dies again and again."""
        hopeful_until = time.monotonic() + HOPE_SECONDS

        def ready_or_hopeless() -> bool:
            if ready():
                return True
            if time.monotonic() > hopeful_until:
                self.supervisor.check()
            return False

        wait_until(ready_or_hopeless, seconds, f"{name} does not become ready; its log is {self._log(name)}")

    def _log(self, name: str) -> Path:
        return self.supervisor.log_of(name)
