"""The oracle log: on disk, what was sent and what was answered, written by those who send."""

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SYNC_SECONDS = 0.1


@dataclass(frozen=True)
class Answer:
    """What came back for one attempt: a status, or the name of what went wrong instead; when, and after how long."""

    status: int | str
    at: float
    seconds: float


@dataclass
class Sent:
    """One submission: the numbers of its records, of one stream and one device, and every answer to it."""

    id: int
    stream: str
    numbers: list[int]
    device_key: int
    keyed: bool
    digest: str
    at: float
    #: Numbers of those that can never be stored as they are.
    bad: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def accepted_at(self) -> float | None:
        """When it was answered 202 first (or, a message, confirmed), by the monotonic clock."""
        return next((one.at for one in self.answers if one.status == ACCEPTED), None)


ACCEPTED = 202
#: Longer than the API may take to publish: an answer that takes longer is one that hangs, and counts under this name.
ANSWER_SECONDS, TIMED_OUT = 15, TimeoutError.__name__


class OracleLog:
    """Lines of JSON, appended by many threads. Written before a request leaves; synced ten times a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._submissions = 0
        self._numbers = 0
        self.accepted = 0
        self._unsynced = False
        self._ended = threading.Event()
        self._syncing = threading.Thread(target=self._sync_often, name="oracle", daemon=True)
        self._syncing.start()

    def take(self, count: int) -> list[int]:
        """Give out `count` numbers that nobody else has."""
        with self._lock:
            first = self._numbers
            self._numbers += count
            return list(range(first, self._numbers))

    @property
    def numbers(self) -> int:
        return self._numbers

    def sent(
        self, stream: str, numbers: Sequence[int], device_key: int, digest: str, *, keyed: bool, bad: Sequence[int] = ()
    ) -> Sent:
        """Write down what is about to be sent."""
        with self._lock:
            now = time.monotonic()
            one = Sent(self._submissions, stream, list(numbers), device_key, keyed, digest, now, list(bad))
            self._submissions += 1
            self._write({"sent": {name: value for name, value in asdict(one).items() if name != "answers"}})
        return one

    def answered(self, sent: Sent, status: int | str, began: float) -> None:
        """Write down what came back for one attempt, which began at that moment."""
        now = time.monotonic()
        with self._lock:
            self.accepted += len(sent.numbers) if status == ACCEPTED else 0
            self._write({"answer": sent.id, "status": status, "at": now, "seconds": now - began})

    def close(self) -> None:
        self._ended.set()
        self._syncing.join()
        self._sync()
        self._file.close()

    def read(self) -> list[Sent]:
        """Read everything back from the disk."""
        self._sync()
        return list(read(self.path))

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._unsynced = True

    def _sync_often(self) -> None:
        while not self._ended.wait(SYNC_SECONDS):
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            if not self._unsynced:
                return
            self._file.flush()
            self._unsynced = False
        os.fdatasync(self._file.fileno())


def read(path: Path) -> Iterator[Sent]:
    """Read a log: every submission with its answers, in the order they were sent."""
    found: dict[int, Sent] = {}
    with path.open(encoding="utf-8") as lines:
        for text in lines:
            line = json.loads(text)
            if "sent" in line:
                found[line["sent"]["id"]] = Sent(**line["sent"])
            else:
                found[line["answer"]].answers.append(Answer(line["status"], line["at"], line["seconds"]))
    yield from found.values()


@contextmanager
def oracle_log(path: Path) -> Iterator[OracleLog]:
    log = OracleLog(path)
    try:
        yield log
    finally:
        log.close()
