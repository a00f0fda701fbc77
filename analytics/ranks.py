"""Finds the values at given ranks among many, exactly and in bounded memory, however many there are.

Values come in pieces, as often as needed. As long as there is room they are kept; beyond that they are counted in
intervals, of which those with a wanted rank are looked at again: kept if they fit by now, counted more finely if not.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from shared.cold.ordered import Values

Keys = NDArray[np.uint64]

#: Intervals into which a bracket is cut: the first one into sixteenths of each power of two.
_FIRST_BITS, _NEXT_BITS = 16, 12
_SIGN = np.uint64(1 << 63)
_ALL = (1 << 64) - 1


def keys(values: Values) -> Keys:
    """Map floats to integers in the same order (IEEE 754: as bits, negative ones are in reverse)."""
    bits = np.ascontiguousarray(values).view(np.uint64)
    return bits ^ np.where(bits >> np.uint64(63), np.uint64(_ALL), _SIGN)


def value(key: int) -> float:
    """The way back."""
    bits = key ^ (1 << 63) if key >> 63 else key ^ _ALL
    return float(np.uint64(bits).view(np.float64))


class Bracket:
    """The values between two keys, both included: kept, or counted in 2**bits intervals of equal width."""

    def __init__(self, low: int, high: int, below: int, bits: int | None) -> None:
        self.low = low
        self.high = high
        #: How many values are less than all of these.
        self.below = below
        self.kept: list[Values] = []
        self.counts: NDArray[np.int64] | None = None
        if bits is not None:
            self.count_from_now(bits)

    def count_from_now(self, bits: int) -> None:
        """Give up what is kept for its counts."""
        width = (self.high - self.low).bit_length()
        self.shift = max(width - bits, 0)
        self.counts = np.zeros(1 << min(bits, width), np.int64)
        kept, self.kept = self.kept, []
        for values in kept:
            self._count(keys(values))

    def add(self, values: Values, found: Keys | None) -> None:
        """Take the values; `found` are their keys, None where all of them are meant."""
        if found is not None:
            inside = (found >= np.uint64(self.low)) & (found <= np.uint64(self.high))
            values, found = values[inside], found[inside]
        if self.counts is None:
            self.kept.append(values)
        else:
            self._count(keys(values) if found is None else found)

    def _count(self, found: Keys) -> None:
        assert self.counts is not None
        places = ((found - np.uint64(self.low)) >> np.uint64(self.shift)).astype(np.int64)
        self.counts += np.bincount(places, minlength=len(self.counts))

    def intervals(self, ranks: list[int]) -> Iterable[tuple[int, int, int, int]]:
        """Yield low, high, below and size of each interval that holds one of the ranks."""
        assert self.counts is not None
        until = self.below + np.cumsum(self.counts)
        for place in np.unique(np.searchsorted(until, ranks, side="right")).tolist():
            low = self.low + (place << self.shift)
            size = int(self.counts[place])
            yield low, min(low + (1 << self.shift) - 1, self.high), int(until[place]) - size, size


class Finder:
    """Give it all values by `add`, then the ranks by `settle`; again and again, until it has found them.

    Settling calls `step` between the parts of its work; what that raises ends it.
    """

    def __init__(
        self,
        room: int,
        step: Callable[[], None] = lambda: None,
        between: tuple[float, float] | None = None,
    ) -> None:
        """`between` are two floats between which all values lie, both included."""
        low, high = (0, _ALL) if between is None else keys(np.array(between)).tolist()
        self._room = room
        self._step = step
        self._size = 0
        self._brackets = [Bracket(low, high, 0, None)]
        self._is_first = True
        self._found: dict[int, float] = {}

    def add(self, values: Values) -> None:
        if self._is_first:
            first = self._brackets[0]
            first.add(values, None)
            self._size += len(values)
            if first.counts is None and self._size > self._room:
                first.count_from_now(_FIRST_BITS)
        elif self._brackets:
            found = keys(values)
            for bracket in self._brackets:
                bracket.add(values, found)

    @property
    def kept(self) -> list[Values] | None:
        """All values, while they are kept."""
        is_all = self._is_first and self._brackets[0].counts is None
        return self._brackets[0].kept if is_all else None

    @property
    def is_settled(self) -> bool:
        return not self._is_first and not self._brackets

    def settle(self, ranks: Iterable[int]) -> None:
        """Find the values of these ranks (0 is the least), or where to look for them the next time."""
        if self.is_settled:
            return
        wanted = sorted(set(ranks) - self._found.keys())
        narrower: list[tuple[int, int, int, int]] = []
        for place, bracket in enumerate(self._brackets):
            following = self._brackets[place + 1].below if place + 1 < len(self._brackets) else None
            inside = [rank for rank in wanted if bracket.below <= rank and (following is None or rank < following)]
            self._step()
            if inside and bracket.counts is None:
                self._pick(bracket, inside)
            elif inside:
                narrower += bracket.intervals(inside)
        self._is_first = False
        self._brackets = self._narrow(narrower, wanted)

    def __getitem__(self, rank: int) -> float:
        return self._found[rank]

    def _pick(self, bracket: Bracket, ranks: list[int]) -> None:
        values = np.concatenate(bracket.kept) if len(bracket.kept) != 1 else bracket.kept[0].copy()
        bracket.kept.clear()
        places = [rank - bracket.below for rank in ranks]
        values.partition(places)
        self._found.update(zip(ranks, values[places].tolist(), strict=True))

    def _narrow(self, intervals: list[tuple[int, int, int, int]], wanted: list[int]) -> list[Bracket]:
        """Make brackets of intervals: the smallest are kept, as many as there is room for."""
        brackets, room = [], self._room
        for low, high, below, size in sorted(intervals, key=lambda interval: interval[3]):
            if low == high:
                self._found |= {rank: value(low) for rank in wanted if below <= rank < below + size}
                continue
            room -= size
            brackets.append(Bracket(low, high, below, None if room >= 0 else _NEXT_BITS))
        return sorted(brackets, key=lambda bracket: bracket.low)
