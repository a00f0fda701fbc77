"""How far a job is, and whether anybody still waits for it: a job reports at each of its steps."""

import time
from typing import Protocol

from shared.data_version import Version

#: Seconds between two reports that reach the database.
EVERY = 1.0


class Reports(Protocol):
    """Where a job's reports go."""

    def began(self, version: Version) -> None:
        """Write down which data the job sees."""

    def reached(self, percent: int) -> None:
        """Write down how far it is. Raises JobCancelled."""


class Progress:
    """Counts what is done of a known or estimated amount of work.

    `done` raises JobCancelled, a second after the job was cancelled at most, if it is called as often.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._expected = 0.0
        self._done = 0.0
        self._reported = time.monotonic()

    def saw(self, version: Version) -> None:
        self._reports.began(version)

    def expect(self, work: float) -> None:
        """Add to what there is to do."""
        self._expected += work

    def step(self) -> None:
        """Say that work goes on, where it is part of a whole that is told when it is done. Raises as `done` does."""
        self.done(0)

    def done(self, work: float) -> None:
        """Add to what is done; more than expected counts as nearly all."""
        self._done += work
        now = time.monotonic()
        if now - self._reported >= EVERY:
            self._reported = now
            self._reports.reached(min(int(100 * self._done / max(self._expected, self._done, 1.0)), 99))
