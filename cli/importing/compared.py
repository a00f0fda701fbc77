"""Readings of a file that are stored already: told by what is stored, and not by how the file was cut."""

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from cli.importing.readings_file import Chunk


class Occurrences:
    """The readings of one device that a file has brought so far.

    Of readings that are equal in every digit, as many are left out as are stored; a file that holds two of them has
    two stored. 8 bytes of memory for each reading.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[float, float, NDArray[np.int64]]] = []
        self._lock = threading.Lock()

    def new(self, chunk: Chunk, stored: Sequence[int]) -> list[int]:
        """Return the places in a chunk of what is not stored yet.

        Args:
            chunk: readings of this device.
            stored: for each reading of the chunk, how many equal ones were stored when it was looked for. They may be
                ones that this very file brought, in a chunk before.
        """
        moments = [_moment(text) for text in chunk.timestamp]
        values = [_value(text) for axis in (chunk.x, chunk.y, chunk.z) for text in axis]
        count = len(moments)
        rows = zip(moments, values[:count], values[count : 2 * count], values[2 * count :], strict=True)
        hashes = np.fromiter(map(hash, rows), np.int64, count)
        first, last = min(moments), max(moments)
        with self._lock:
            used = np.zeros(count, np.int64)
            for begin, end, seen in self._seen:
                if begin <= last and end >= first:
                    used += np.searchsorted(seen, hashes, "right") - np.searchsorted(seen, hashes, "left")
            self._seen.append((first, last, np.sort(hashes)))
        before: Counter[int] = Counter()
        found = []
        for place, (key, earlier) in enumerate(zip(hashes.tolist(), used.tolist(), strict=True)):
            if earlier + before[key] >= stored[place]:
                found.append(place)
            before[key] += 1
        return found


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
