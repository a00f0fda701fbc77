"""How fast a job goes: at full speed where there is room, and mostly at rest while others need the processors."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

#: Seconds of processor time between two looks whether somebody else needs it. Short: whoever waits meanwhile waits long.
STEP = 0.02
#: A job that waited for a processor longer than this share of what it ran has company. Its own threads, and the session that
#: PostgreSQL has for it, make it wait as well where processors are few (decision 0018).
COMPANY = 0.5
#: Seconds for which company is taken to stay: a job that rests most of the time meets nobody.
STAYS = 1.0
#: Seconds of rest for each of processor time (decision 0018).
REST = 11.0
#: Longest rest at once, in seconds, for meanwhile nobody can cancel the job.
LONGEST = 1.0

Clock = Callable[[], float]


def waited() -> float:
    """Return for how many seconds this thread could have run and had no processor.

    Linux tells it (/proc/<pid>/schedstat, see sched-stats in its documentation); elsewhere it is 0.
    """
    with suppress(OSError, ValueError, IndexError):
        told = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text()
        return int(told.split()[1]) / 1e9
    return 0.0


class Pace:
    """Has a job rest where it has to share the processors, for no longer than `budget` in total.

    Being last in line is not enough: whoever gets a processor keeps it for some milliseconds, whatever its niceness, and
    a request from socket to 202 waits for a processor a dozen times.
    """

    def __init__(
        self,
        budget: timedelta,
        *,
        ran: Clock = time.process_time,
        waited: Clock = waited,
        now: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._left = budget.total_seconds()
        self._ran = ran
        self._waited = waited
        self._now = now
        self._sleep = sleep
        self._company_until = 0.0
        #: By thread: what the process had run, and the thread waited, when it was here last. What one thread waited says
        #: nothing beside another's, and DuckDB reads with whichever is free.
        self._known: dict[int, tuple[float, float]] = {}
        self._begin()

    def keep(self) -> None:
        """Rest, if it is time to: to be called often."""
        ran = self._ran() - self._ran_before
        if ran < STEP:
            return
        now = self._now()
        if self._has_waited():
            self._company_until = now + STAYS
        if now < self._company_until and self._left > 0:
            seconds = min(REST * ran, LONGEST, self._left)
            self._left -= seconds
            self._company_until += seconds
            self._sleep(seconds)
        self._begin()

    def _has_waited(self) -> bool:
        """Whether this thread waited for long since it was here last; of one that is here first it is not known."""
        known = self._known.get(threading.get_ident())
        if known is None:
            return False
        ran, waited = known
        return self._waited() - waited > COMPANY * (self._ran() - ran)

    def _begin(self) -> None:
        self._ran_before = self._ran()
        self._known[threading.get_ident()] = self._ran_before, self._waited()
