"""Real servers as plain children of this process: for the tests, the benchmark and the faults."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from signal import Signals

from cli.programs import Program, free_ports, inherited_environment, wait_until
from cli.rabbitmq_installation import find_or_install
from cli.servers import PostgresServer, RabbitPorts, RabbitServer

READY_SECONDS = 90
STOP_SECONDS = 30
#: In /var/tmp and not in /tmp, which may be memory: then fsync would cost nothing.
TEMPORARY = "/var/tmp"  # noqa: S108


class RunningServer:
    """A server's programs as plain children, with their output in the server's folder."""

    def __init__(self, server: PostgresServer | RabbitServer) -> None:
        self.server = server
        self._children: dict[str, tuple[subprocess.Popen[bytes], Program]] = {}
        server.prepare()
        self.start()

    @property
    def pid(self) -> int:
        """Of the server itself, not of its name service."""
        return self._children[self.server.name][0].pid

    def start(self) -> None:
        """Start what does not run."""
        for program in self.server.programs():
            if program.name in self._children:
                continue
            with (self.server.folder / f"{program.name}.log").open("ab") as log:
                child = subprocess.Popen(
                    program.command,
                    env={**inherited_environment(), **program.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for this process, which then stops the servers in order
                )
            self._children[program.name] = child, program

    def ready(self) -> PostgresServer | RabbitServer:
        wait_until(self.server.is_ready, READY_SECONDS, f"no {self.server.name}; see the logs in {self.server.folder}")
        return self.server

    def kill(self, number: Signals = Signals.SIGKILL) -> None:
        """End the server itself by a signal, -9 unless told; `start` brings it back on the data it has."""
        child, _ = self._children.pop(self.server.name)
        child.send_signal(number)
        child.wait(STOP_SECONDS)

    def stop(self) -> None:
        for child, program in reversed(self._children.values()):
            # The data is thrown away: RabbitMQ's goodbye of six seconds is not worth waiting for.
            child.send_signal(Signals.SIGKILL if program.name == RabbitServer.name else program.stop_signal)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()


@dataclass(frozen=True)
class PrivateServers:
    """Both servers, ready, in a folder that goes with them."""

    folder: Path
    postgres: RunningServer
    rabbit: RunningServer


@contextmanager
def private_servers(purpose: str) -> Iterator[PrivateServers]:
    """Start both servers; on leaving, whatever happened, they end and the folder goes."""
    folder = Path(tempfile.mkdtemp(prefix=f"weir-{purpose}-", dir=os.environ.get("TMPDIR") or TEMPORARY))
    with _undisturbed_end(), ExitStack() as end:
        end.callback(shutil.rmtree, folder, ignore_errors=True)
        rabbit_ports = RabbitPorts(*free_ports(len(fields(RabbitPorts))))
        rabbit = RunningServer(RabbitServer(folder / "rabbitmq", rabbit_ports, find_or_install()))
        end.callback(rabbit.stop)
        postgres = RunningServer(PostgresServer(folder / "postgres", *free_ports(1)))
        end.callback(postgres.stop)
        rabbit.ready()
        postgres.ready()
        yield PrivateServers(folder, postgres, rabbit)


@contextmanager
def _undisturbed_end() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, and neither disturbs the tidying up that follows."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
