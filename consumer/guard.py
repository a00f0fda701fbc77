"""Stops the dead letters when nearly everything fails: a bad deploy must back up in the queue, not pour into them."""

#: Messages looked back upon, about, for the share of dead ones.
WINDOW = 10_000
SHARE = 0.9


class Guard:
    """Counts messages of which no record could be written.

    It trips after `in_a_row` of them without a good one between, or when they are nine in ten of the last thousands.
    While it is tripped such messages are held back and good ones go on; enough good ones reset it, as does a restart.
    """

    def __init__(self, in_a_row: int) -> None:
        self._limit = in_a_row
        self._in_a_row = 0
        self._good = self._dead = 0

    @property
    def is_tripped(self) -> bool:
        total = self._good + self._dead
        return self._in_a_row >= self._limit or (total >= WINDOW // 2 and self._dead >= SHARE * total)

    @property
    def reason(self) -> str:
        return (
            f"nearly every message fails ({self._in_a_row} in a row, {self._dead} of the last {self._good + self._dead}):"
            " they are held back and nothing more is dead-lettered"
        )

    def count(self, *, good: int, dead: int) -> None:
        self._in_a_row = 0 if good else self._in_a_row + dead
        self._good += good
        self._dead += dead
        if self._good + self._dead > WINDOW:
            self._good //= 2
            self._dead //= 2
