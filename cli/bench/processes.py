"""The processes that are measured: started, looked at, and ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import Signals

import httpx

from cli.programs import HOST, free_ports, inherited_environment, wait_until
from shared.errors import Unavailable
from shared.job_queues import QUEUE

CHECKOUT = Path(__file__).parents[2]
LOADTEST = CHECKOUT / "loadtest"
READY_SECONDS = 30
STOP_SECONDS = 30
RUN_SECONDS = 600

#: The settings of `python -m api`, for what it is compared with.
_UVICORN = ("-m", "uvicorn", "--app-dir", str(LOADTEST), "--host", HOST, "--loop", "uvloop", "--http", "httptools",
            "--no-access-log", "--no-server-header", "--log-level", "warning")  # fmt: skip
_CELERY = ("-m", "celery", "-A", "analytics.celery", "worker", "--concurrency", "2", "--queues", QUEUE)
#: Arguments of Python; `{port}` is a port of its own.
COMMANDS: dict[str, tuple[str, ...]] = {
    "api": ("-m", "api"),
    "consumer": ("-m", "consumer"),
    "worker": _CELERY,
    "bare": (*_UVICORN, "--port", "{port}", "bare:app"),
    "fastapi": (*_UVICORN, "--port", "{port}", "fastapi_nothing:app"),
    "plain": (*_UVICORN, "--port", "{port}", "plain:app"),
    "plain-consumer": (str(LOADTEST / "plain.py"),),
}
_HEALTH = {"api": "/readyz", "bare": "/", "fastapi": "/openapi.json", "plain": "/openapi.json"}


class Processes:
    """Children by name, each with a session of its own, so that Ctrl-C reaches them through us and in order."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.ports = dict(zip(_HEALTH, free_ports(len(_HEALTH)), strict=True))
        self._folder = folder
        self._environment = {**environment, "WEIR_API_PORT": str(self.ports["api"])}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, name: str) -> str:
        return f"http://{HOST}:{self.ports[name]}"

    def start(self, *names: str) -> None:
        """Start these and wait until those that speak HTTP do. Raises Unavailable."""
        for name in names:
            command = [part.format(port=self.ports.get(name)) for part in COMMANDS[name]]
            with self._log(name).open("ab") as log:
                self._running[name] = subprocess.Popen(
                    [sys.executable, *command],
                    cwd=CHECKOUT,
                    env={**inherited_environment(), **self._environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        for name in names:
            if name in _HEALTH:
                wait_until(lambda name=name: self._answers(name), READY_SECONDS, self._complaint(name))  # type: ignore[misc]

    def run(self, *arguments: str) -> str:
        """Run a command of ours to its end, and return what it printed. Raises Unavailable when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=CHECKOUT,
            env={**inherited_environment(), **self._environment},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"weir {' '.join(arguments)} failed: {(done.stderr or done.stdout).strip()[-300:]}")
        return done.stdout

    def stop(self, *names: str) -> None:
        """End these kindly, and what they started with them."""
        ending = [self._running.pop(name) for name in names if name in self._running]
        for process in ending:
            process.send_signal(Signals.SIGTERM)
        for process in ending:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop_all(self) -> None:
        self.stop(*reversed(self._running))

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def _answers(self, name: str) -> bool:
        if self._running[name].poll() is not None:
            raise Unavailable(self._complaint(name))
        try:
            return httpx.get(self.url(name) + _HEALTH[name], trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _complaint(self, name: str) -> str:
        log = self._log(name)
        said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return f"{name} does not become ready: {said[-1][:300] if said else 'it says nothing'}"

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"
