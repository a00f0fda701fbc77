"""A process and all it started: who they are, the memory they take, and signals to all."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals


def memory_mb(pid: int) -> float:
    """Memory of a process and all it started: PSS, which shares what they share (megabytes of 10^6)."""
    return sum(_pss(one) for one in (pid, *descendants(pid))) * 1024 / 1e6


def _pss(pid: int) -> int:
    with suppress(OSError):  # it has ended meanwhile
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def descendants(pid: int) -> list[int]:
    """Return the ids of its children, of theirs, and so on."""
    children = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += [int(child) for child in task.read_text().split()]
    return [*children, *(one for child in children for one in descendants(child))]


@contextmanager
def signalled(pid: int, before: Signals, after: Signals) -> Iterator[None]:
    """Send one signal to a process and all it started, and on leaving the other to the same ones."""
    everyone = (pid, *descendants(pid))
    try:
        _signal(everyone, before)
        yield
    finally:
        _signal(everyone, after)


def _signal(everyone: Iterable[int], number: Signals) -> None:
    for one in everyone:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(one, number)
