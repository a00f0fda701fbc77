"""Weir's own processes, as a supervisor keeps them: one that ends by itself is started again."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals

from cli.process_tree import memory_mb
from cli.programs import inherited_environment
from shared.errors import Unavailable

CHECKOUT = Path(__file__).parents[2]
LOOK_SECONDS = 0.25
STOP_SECONDS = 40


class Services:
    """Children by name: `api`, `consumer`, `consumer-2`. What comes before the hyphen is the module that runs."""

    def __init__(self, folder: Path, environments: Mapping[str, Mapping[str, str]]) -> None:
        #: How often each has ended by itself.
        self.restarts: Counter[str] = Counter()
        #: Why one that ended by itself could not be started again.
        self.failures: list[str] = []
        #: The most memory each was seen with, in megabytes.
        self.peak_mb: dict[str, float] = {}
        self._folder = folder
        self._environments = environments
        #: What runs in place of a module.
        self._programs: dict[str, Path] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watching.start()

    def replace(self, module: str, program: Path) -> None:
        """Let the next that are started run this program, which does what the module does and more."""
        self._programs[module] = program

    def restore(self, module: str) -> None:
        """Let the next that are started run the module itself again."""
        self._programs.pop(module, None)

    def start(self, name: str) -> None:
        module = name.partition("-")[0]
        program = [str(self._programs[module])] if module in self._programs else ["-m", module]
        environment = {**inherited_environment(), "PYTHONPATH": str(CHECKOUT), **self._environments[module]}
        with self._lock, self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *program],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self, name: str, number: Signals = Signals.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code.

        Raises:
            Unavailable: there is no such child.
            TimeoutExpired: it did not end by the signal, and was killed with -9.
        """
        with self._lock:
            process = self._running.pop(name, None)
            if process is None:
                raise Unavailable(f"{name} does not run, so it cannot be ended")
            if process.poll() is not None:
                self.restarts[name] += 1
        process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    @contextmanager
    def away(self, name: str, number: Signals = Signals.SIGTERM) -> Iterator[int]:
        """End a child as `end` does, and start it again, whatever happens meanwhile. Gives its exit code."""
        try:
            yield self.end(name, number)
        finally:
            self.start(name)

    def restart(self, name: str, number: Signals = Signals.SIGTERM) -> None:
        """End a child as `end` does, and start it again at once."""
        with self.away(name, number):
            pass

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def names(self, module: str) -> list[str]:
        """The children that run this module now."""
        with self._lock:
            return [name for name in self._running if name.partition("-")[0] == module]

    def close(self) -> None:
        self._ended.set()
        self._watching.join()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            with self._lock:
                for name, process in list(self._running.items()):
                    if process.poll() is not None:
                        self.restarts[name] += 1
                        self._start_again(name)
                    else:
                        self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), memory_mb(process.pid))

    def _start_again(self, name: str) -> None:
        try:
            self.start(name)
        except OSError as error:
            del self._running[name]  # whoever ends it is told that it does not run
            self.failures.append(f"{name} could not be started again: {error.strerror}")
