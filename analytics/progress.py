"""How far a job is, and whether anybody still waits for it: a job reports at each of its steps, and may rest there."""

import time
from typing import Protocol

from analytics.pace import Pace
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

    `done` raises JobCancelled, a second or two after the job was cancelled, if it is called as often. It also keeps the
    pace.
    """

    def __init__(self, reports: Reports, pace: Pace | None = None) -> None:
        self._reports = reports
        self._pace = pace
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
        if self._pace:
            self._pace.keep()
        now = time.monotonic()
        if now - self._reported >= EVERY:
            self._reported = now
            self._reports.reached(min(int(100 * self._done / max(self._expected, self._done, 1.0)), 99))
