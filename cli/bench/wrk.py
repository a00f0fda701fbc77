"""wrk, which makes the load: found or installed, run, and its result read."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cli import apt
from cli.bench.figures import Invalid
from cli.bench.processes import LOADTEST
from shared.errors import Misconfigured

SCRIPT = LOADTEST / "wrk.lua"
#: How long wrk may take beyond its duration.
GRACE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests answered, per second, and how long an answer took."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def read(cls, output: str, *, sheds: bool = False) -> Self:
        """Read the line that wrk.lua prints. Where the load is to be shed, refusals are part of it.

        Raises:
            Invalid: there is none, or a request was not accepted.
        """
        line = output.strip().rpartition("\n")[2]
        try:
            said: dict[str, int] = json.loads(line)
        except ValueError as error:
            raise Invalid(f"wrk said: {line[:300] or 'nothing'}") from error
        if not sheds and (said["not_answered"] or said["not_accepted"]):
            raise Invalid(f"{said['not_accepted']} requests were not accepted, {said['not_answered']} not answered")
        if not said["requests"] or not said["microseconds"]:
            raise Invalid("wrk got no answer")
        seconds = said["microseconds"] / 1e6
        return cls(said["requests"], said["requests"] / seconds, said["p50"] / 1000, said["p99"] / 1000)


def find() -> Path:
    """The wrk of this machine, installed when there is none. Raises Misconfigured."""
    found = shutil.which("wrk") or (shutil.which("wrk") if apt.install("wrk") else None)
    if found is None:
        raise Misconfigured("the benchmark needs wrk: apt-get install wrk")
    return Path(found)


class Running:
    """wrk at work; `result` waits for its end."""

    def __init__(
        self,
        url: str,
        connections: int,
        seconds: float,
        rate: float | None = None,
        *,
        numbered: str | None = None,
        sheds: bool = False,
    ) -> None:
        options = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(SCRIPT)]
        pace = ["--", f"{rate or 0:.3f}", *([numbered] if numbered else [])]
        self._sheds = sheds
        self._deadline = seconds + GRACE_SECONDS
        self._wrk = subprocess.Popen(
            [str(find()), *options, url, *pace], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._wrk.poll() is None:
            self._wrk.kill()
            self._wrk.wait()

    @property
    def at_work(self) -> bool:
        return self._wrk.poll() is None

    def result(self) -> Load:
        """Wait for the end of the load. Raises Invalid."""
        try:
            output, _ = self._wrk.communicate(timeout=self._deadline)
        except subprocess.TimeoutExpired as error:
            raise Invalid("wrk does not come to an end") from error
        return Load.read(output, sheds=self._sheds)


def run(url: str, connections: int, seconds: float, *, numbered: str | None = None) -> Load:
    """As many requests as the connections carry, for so long; in the header `numbered` each has a value of its own.

    Raises Invalid.
    """
    with Running(url, connections, seconds, numbered=numbered) as running:
        return running.result()
