"""The dead-letter breaker: a bad deploy must not pour everything that fails into the dead letters."""

#: Of this share of failing messages on it is open, and below the other it closes.
OPENS, CLOSES = 0.9, 0.5
#: Messages after which it may close, unless it opens after fewer.
ENOUGH = 100
#: Without a failing message for so many seconds it closes, and opens again after a tenth of the usual number.
QUIET_SECONDS = 60.0


class Breaker:
    """Counts messages of which no record could be written.

    It opens after `in_a_row` of them without a good one between, or when they are nine in ten of the last `10 × in_a_row`.
    While it is open such messages are parked, and good ones go on. It closes when more than half of what comes is good,
    or when nothing has failed for a minute.
    """

    def __init__(self, in_a_row: int) -> None:
        self.is_open = False
        #: Why it opened last.
        self.reason = ""
        self._limit = in_a_row
        self._window = 10 * in_a_row
        self._in_a_row = 0
        self._good = self._dead = 0
        self._last_dead = 0.0

    def open(self, now: float, reason: str) -> None:
        """Open at once, whatever was counted."""
        self.is_open, self.reason, self._last_dead = True, reason, now
        self._good = self._dead = 0

    def count(self, *, good: int, dead: int, now: float) -> None:
        """Count messages that were written, and those that were dead-lettered or parked."""
        self._in_a_row = 0 if good else self._in_a_row + dead
        self._good += good
        self._dead += dead
        if dead:
            self._last_dead = now
        total = self._good + self._dead
        if not self.is_open:
            share_is_known = total >= self._window // 2
            if self._in_a_row >= self._limit or (share_is_known and self._dead >= OPENS * total):
                counts = f"{self._in_a_row} in a row, {self._dead} of the last {total}"
                self.open(now, f"nearly every message fails ({counts})")
        elif total >= min(ENOUGH, self._limit) and self._dead < CLOSES * total:
            self._close(in_a_row=0)
        if total > self._window:
            self._good //= 2
            self._dead //= 2

    def look_at_the_clock(self, now: float) -> None:
        """Close after a minute in which nothing failed."""
        if self.is_open and now >= self._last_dead + QUIET_SECONDS:
            self._close(in_a_row=self._limit - max(self._limit // 10, 1))

    def _close(self, *, in_a_row: int) -> None:
        self.is_open = False
        self._good = self._dead = 0
        self._in_a_row = in_a_row
