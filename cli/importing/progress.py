"""How far an import is, on one line of a terminal, or on a new line every few seconds where there is none."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

#: Seconds between two updates: on a terminal, and elsewhere.
EVERY, EVERY_LINE = 0.2, 5.0


class Progress:
    """Says what is done, how many rows of it, and how many a second."""

    def __init__(self, out: TextIO, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._quiet = quiet
        self._clock = clock
        self._is_terminal = out.isatty()
        self._began = self._said = clock()
        self._width = 0

    def say(self, doing: str, rows: int, share: float) -> None:
        """Tell how far it is, if it is time to."""
        now = self._clock()
        if self._quiet or now - self._said < (EVERY if self._is_terminal else EVERY_LINE):
            return
        self._said = now
        rate = rows / max(now - self._began, 1e-9)
        line = f"{doing}: {rows:,} rows, {min(share, 1.0):.0%} of the file, {rate:,.0f} rows/s"
        if self._is_terminal:
            self._out.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._out.write(line + "\n")
        self._out.flush()

    def clear(self) -> None:
        """Leave the terminal's line empty, for what comes next."""
        if self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()
            self._width = 0


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    shown = Progress(sys.stderr, quiet=quiet)
    try:
        yield shown
    finally:
        shown.clear()
