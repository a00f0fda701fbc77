"""What every server and service of the local stack is made of: a program, its ports and waiting for it."""

import hashlib
import os
import random
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from signal import Signals

from shared.errors import Unavailable

HOST = "127.0.0.1"
SERVER_PORTS = range(20_000, 32_000)
_given: set[int] = set()
#: The order in which the stack starts. It stops the other way round: the api takes no more, the rest drains, and only
#: then the broker, its name service and the database go.
ORDER = ("postgres", "epmd", "rabbitmq", "beat", "upkeep", "worker", "consumer", "api")


@dataclass(frozen=True)
class Program:
    """One process that stays in the foreground, and how it is stopped kindly."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: Signals = Signals.SIGTERM
    stop_seconds: int = 10


def port_is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen there now. Closed connections that linger do not count."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all different, and below those that outgoing connections are given.

    A client that tries to reconnect to a dead server may otherwise be given the server's own port, and keep it out.
    None is given twice: whoever got it first may not listen on it yet.
    """
    candidates = random.sample(SERVER_PORTS, len(SERVER_PORTS))
    found = list(islice((port for port in candidates if port not in _given and port_is_free(port)), count))
    _given.update(found)
    return found


def wait_until(ready: Callable[[], bool], seconds: float, complaint: str) -> None:
    """Ask until the answer is yes.

    Raises:
        Unavailable: with the complaint as its text, when the time is over.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise Unavailable(complaint)
        time.sleep(0.1)


def inherited_environment() -> dict[str, str]:
    """The caller's environment without what would reach into a private broker, such as another node's name."""
    ours = ("RABBITMQ_", "ERL_", "WEIR_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def write_if_changed(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)


def source_version(packages: Iterable[Path]) -> str:
    """Return what changes whenever a Python file below these folders does."""
    seen = hashlib.sha256()
    for path in sorted(path for package in packages for path in package.rglob("*.py")):
        seen.update(f"{path} {path.stat().st_mtime_ns}".encode())
    return seen.hexdigest()[:16]
