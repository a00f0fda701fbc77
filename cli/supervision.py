"""Write supervisord's configuration and talk to it: it keeps the programs of the local stack running."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.states import RUNNING_STATES, ProcessStates
from supervisor.xmlrpc import Faults, SupervisorTransport

from cli.programs import ORDER, Program, inherited_environment, wait_until, write_if_changed
from shared.errors import Misconfigured, Unavailable, WeirError

#: What a unix socket's path may measure, with room for the draft supervisord makes beside it.
SOCKET_PATH_LIMIT = 90
LOG_BYTES = "10MB"


class Supervisor:
    """One supervisord with its files in one folder."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self._folder = folder
        self._checkout = checkout
        self.logs = folder / "logs"
        self._config = folder / "supervisord.conf"
        self._socket = folder / "supervisor.sock"
        if len(str(self._socket)) > SOCKET_PATH_LIMIT:
            digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
            self._socket = Path(tempfile.gettempdir()) / f"weir-{os.getuid()}-{digest}.sock"
        self.server_url = f"unix://{self._socket}"

    def log_of(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def is_running(self) -> bool:
        try:
            self._call("getState")
        except OSError:
            return False
        except WeirError:
            return True  # on its way out, but still there
        return True

    def apply(self, programs: Sequence[Program]) -> None:
        """Have supervisord know these programs and no others. What changed is stopped, what did not runs on."""
        self.logs.mkdir(parents=True, exist_ok=True)
        write_if_changed(self._config, self._configuration(programs))
        self._config.chmod(0o600)  # the addresses of servers carry passwords
        if not self.is_running():
            self._launch()
            return
        added, changed, removed = self._call("reloadConfig")[0]
        for name in [*removed, *changed]:
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("addProcessGroup", name)

    def start(self, name: str) -> None:
        """Start a program, unless it runs already."""
        with contextlib.suppress(Fault):  # already started, or fails at once: `check` tells
            self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """Stop a program and wait until it is gone."""
        with contextlib.suppress(Fault):  # not running
            self._call("stopProcess", name)

    def states(self) -> list[dict[str, Any]]:
        """What supervisord says of each program, in their order: name, state, statename, pid, description."""
        return sorted(self._call("getAllProcessInfo"), key=lambda info: ORDER.index(info["name"]))

    def runs(self, name: str) -> bool:
        return any(info["name"] == name and info["state"] in RUNNING_STATES for info in self.states())

    def check(self) -> None:
        """Find out early that waiting is in vain.

        Raises:
            WeirError: a program does not stay up.
        """
        for info in self.states():
            if info["state"] in {ProcessStates.BACKOFF, ProcessStates.FATAL}:
                log = self.log_of(info["name"])
                raise WeirError(f"{info['name']} does not stay up ({_last_line(log)}); its log is {log}")

    def shutdown(self) -> None:
        """End supervisord, and wait until it is gone."""
        with contextlib.suppress(WeirError):  # it was on its way already
            self._call("shutdown")
        log = self.log_of("supervisord")
        wait_until(lambda: not self.is_running(), 120, f"supervisord does not stop; its log is {log}")

    def end_leftovers(self) -> None:
        """End what a supervisord that was itself killed left running: its programs know its address."""
        mark = f"SUPERVISOR_SERVER_URL={self.server_url}".encode()
        for stop_signal, seconds in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
            for pid in _processes_with(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, stop_signal)
            with contextlib.suppress(Unavailable):
                wait_until(lambda: not _processes_with(mark), seconds, "")

    def _launch(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)],
            env=inherited_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        log = self.log_of("supervisord")
        if done.returncode:
            raise WeirError(f"supervisord did not start ({(done.stdout + done.stderr).strip()}); its log is {log}")
        wait_until(self.is_running, 10, f"supervisord does not answer; its log is {log}")

    def _call(self, method: str, *arguments: object) -> Any:
        with ServerProxy("http://localhost", transport=SupervisorTransport(serverurl=self.server_url)) as proxy:
            try:
                return getattr(proxy.supervisor, method)(*arguments)
            except Fault as fault:
                if fault.faultCode == Faults.SHUTDOWN_STATE:
                    raise WeirError("the stack is being stopped; try again in a moment") from fault
                raise

    def _configuration(self, programs: Sequence[Program]) -> str:
        user = "user=root\n" if os.geteuid() == 0 else ""  # said on purpose, or supervisord warns
        head = f"""\
[unix_http_server]
file={_escaped(self._socket)}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl={_escaped(self.server_url)}

[supervisord]
logfile={_escaped(self.log_of("supervisord"))}
logfile_maxbytes={LOG_BYTES}
logfile_backups=1
pidfile={_escaped(self._folder / "supervisord.pid")}
childlogdir={_escaped(self.logs)}
{user}"""
        return head + "".join(self._section(program) for program in programs)

    def _section(self, program: Program) -> str:
        # The priority is for a supervisord that is itself told to end: it stops the highest first.
        return f"""
[program:{program.name}]
command={_command_line(program.command)}
directory={_escaped(self._checkout)}
environment={_environment_line(program)}
priority={ORDER.index(program.name)}
autostart=false
autorestart=true
startretries=100
stopsignal={program.stop_signal.name}
stopwaitsecs={program.stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={_escaped(self.log_of(program.name))}
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups=2
"""


def _processes_with(mark: bytes) -> list[int]:
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            if mark in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found


def _escaped(value: object) -> str:
    return str(value).replace("%", "%%")


def _command_line(command: Sequence[str]) -> str:
    return _escaped(" ".join(_quoted(word) for word in command))


def _environment_line(program: Program) -> str:
    return _escaped(",".join(f"{name}={_quoted(value)}" for name, value in sorted(program.environment.items())))


def _quoted(value: str) -> str:
    if any(character in value for character in "\"'\\\n") or " ;" in value or " #" in value:
        raise Misconfigured(
            "supervisord cannot take a setting or path with a quote, a backslash or a comment sign in it"
        )
    return f'"{value}"'


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else "it says nothing"
