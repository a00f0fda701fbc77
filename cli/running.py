"""Real servers as plain children of this process: for the tests and the benchmark."""

import subprocess
from signal import Signals

from cli.programs import Program, inherited_environment, wait_until
from cli.servers import PostgresServer, RabbitServer

READY_SECONDS = 90
STOP_SECONDS = 30


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

    def kill(self) -> None:
        """Kill -9 the server itself; `start` brings it back on the data it has."""
        child, _ = self._children.pop(self.server.name)
        child.kill()
        child.wait()

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
