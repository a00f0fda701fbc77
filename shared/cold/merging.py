"""Sorted rows of two origins made one sequence."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


class Merger:
    """Takes the rows of one origin as they come, and draws those of the other, an older file, from its tables."""

    def __init__(self, order: tuple[str, ...], older: Iterator[pa.Table]) -> None:
        self._order = order
        self._older = filter(len, older)
        self._waiting: pa.Table | None = next(self._older, None)

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """Take a table that is not empty; yield what comes before the last of these rows, and the rows themselves."""
        last = self._key(table, len(table) - 1)
        while self._waiting is not None:
            if self._key(self._waiting, len(self._waiting) - 1) > last:
                cut = self._place(self._waiting, last)
                yield self._sorted(table, self._waiting.slice(0, cut))
                self._waiting = self._waiting.slice(cut)
                return
            bound = self._key(self._waiting, len(self._waiting) - 1)
            cut = self._place(table, bound)
            yield self._sorted(table.slice(0, cut), self._waiting)
            table = table.slice(cut)
            self._waiting = next(self._older, None)
        yield table

    def rest(self) -> Iterator[pa.Table]:
        """Yield what comes after all that was added."""
        while self._waiting is not None:
            yield self._waiting
            self._waiting = next(self._older, None)

    def _key(self, table: pa.Table, row: int) -> tuple[Any, ...]:
        return tuple(table[name][row].as_py() for name in self._order)

    def _place(self, table: pa.Table, key: tuple[Any, ...]) -> int:
        """Return how many rows are not greater than the key."""
        low, high = 0, len(table)
        while low < high:
            middle = (low + high) // 2
            if self._key(table, middle) <= key:
                low = middle + 1
            else:
                high = middle
        return low

    def _sorted(self, one: pa.Table, other: pa.Table) -> pa.Table:
        if not len(one) or not len(other):
            return one if len(one) else other
        both = pa.concat_tables([one, other]).unify_dictionaries()
        return both.take(pc.sort_indices(both, sort_keys=[(name, "ascending") for name in self._order]))
