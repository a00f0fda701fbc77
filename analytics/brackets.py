"""Exact ranks without reading everything: the blocks of ordered copies say between which two values a rank lies."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.ranks import Finder
from shared.cold.ordered import BLOCK, Blocks, Counts, Values

Indices = NDArray[np.intp]

_HELD_ROWS = 4096

#: Rows that are read together where not all can be held; a block may have more.
_ROWS_AT_ONCE = 1 << 18


class Ordered(NamedTuple):
    """Values in blocks, each block's known by its lowest, its highest and their number."""

    #: Records of BLOCK, of which low, high, rows and entries are looked at.
    blocks: Blocks
    #: Takes ascending places among the blocks; returns their values, and how many rows have each.
    read: Callable[[Indices], tuple[Values, Counts]]

    def each(self, places: Indices) -> Iterator[Values]:
        """Yield all values of some blocks, some hundred thousand at a time; from one block to the next they may fall."""
        groups = np.cumsum(self.blocks["rows"][places], dtype=np.int64) // _ROWS_AT_ONCE
        for some in np.split(places, np.flatnonzero(np.diff(groups)) + 1) if len(places) else ():
            yield np.repeat(*self.read(some))


class OrderedFinder(Finder):
    """Finds ranks among values that come by `add`, as a Finder does, and others that are in order already."""

    _ordered: Sequence[Ordered] = ()

    def put(self, ordered: Iterable[Ordered]) -> None:
        """Give values that are in order already, once: of these no more is read than is needed."""
        self._ordered = [*self._ordered, *ordered]

    def settle(self, ranks: Iterable[int]) -> None:
        if self._ordered and self.kept is not None:
            wanted, values = sorted(set(ranks)), np.concatenate([np.empty(0), *self.kept])
            found = at_ranks(values, self._ordered, wanted, self._room, self._step)
            self._found = dict(zip(wanted, found, strict=True))
            self._is_first, self._brackets = False, []
            return
        for one in self._ordered if not self.is_settled else ():
            for values in one.each(np.arange(len(one.blocks))):
                self.add(values)
                self._step()
        super().settle(ranks)


def at_ranks(
    values: Values,
    ordered: Sequence[Ordered],
    ranks: Sequence[int],
    room: int,
    step: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the values at these places (from 0) of all values in ascending order: of those in hand, and of the others.

    Only blocks that may hold a value at one of the places are read, those of one bracket at a time: together where there
    is room for so many values, or else some at a time, more than once. Calls `step` after each part that is read.
    """
    parts = [*ordered, held(values)] if len(values) else ordered
    blocks = np.concatenate([part.blocks for part in parts])
    lows, highs = _through(blocks, "low"), _through(blocks, "high")
    brackets: defaultdict[tuple[float, float], list[int]] = defaultdict(list)
    for rank in ranks:
        brackets[_bracket(lows, highs, rank)].append(rank)
    found: dict[int, float] = {}
    for (low, high), inside in brackets.items():
        if low == high:
            found |= dict.fromkeys(inside, low)
            continue
        wanted = (blocks["high"] >= low) & (blocks["low"] <= high)
        below = int(blocks["rows"][blocks["high"] < low].sum(dtype=np.int64))
        if blocks["entries"][wanted].sum(dtype=np.int64) <= room:
            found |= _look_up(_read(parts, wanted, step), below, inside)
        else:
            found |= _narrow(parts, wanted, (low, high), below, inside, room, step)
    return [found[rank] for rank in ranks]


def held(values: Values) -> Ordered:
    """Put values in hand beside those in files."""
    found = np.sort(values + 0.0)
    starts = np.arange(0, len(found), _HELD_ROWS)
    ends = np.append(starts[1:], len(found))
    blocks = np.zeros(len(starts), BLOCK)
    blocks["low"], blocks["high"] = found[starts], found[ends - 1]
    blocks["rows"] = blocks["entries"] = ends - starts

    def read(places: Indices) -> tuple[Values, Counts]:
        taken = np.concatenate([found[starts[place] : ends[place]] for place in places])
        return taken, np.ones(len(taken), np.uint32)

    return Ordered(blocks, read)


class _Through(NamedTuple):
    """One end of each block, ascending, and how many rows the blocks up to there have."""

    ends: Values
    rows: NDArray[np.int64]

    def at(self, rank: int) -> float:
        return float(self.ends[_place(self.rows, rank)])


def _through(blocks: Blocks, end: str) -> _Through:
    order = np.argsort(blocks[end])
    return _Through(blocks[end][order], np.cumsum(blocks["rows"][order], dtype=np.int64))


def _bracket(lows: _Through, highs: _Through, rank: int) -> tuple[float, float]:
    """Return two values between which the one at that place lies, both included.

    At most the rows of blocks that begin below a value are below it: with the blocks in order of their lowest values,
    the one in which these rows come to exceed the rank begins at or below what is looked for. Likewise from above.
    """
    return lows.at(rank), highs.at(rank)


def _place(through: NDArray[np.int64], rank: int) -> np.intp:
    """Return the first of several groups up to whose end there are more rows than `rank`."""
    return np.searchsorted(through, rank, "right")


def _look_up(read: tuple[Values, Counts], below: int, ranks: Sequence[int]) -> dict[int, float]:
    """Find these ranks in what was read: below them are the blocks below, and of what was read the lesser."""
    values, counts = read
    order = np.argsort(values)
    through = np.cumsum(counts[order], dtype=np.int64)
    return {rank: float(values[order[_place(through, rank - below)]]) for rank in ranks}


def _narrow(
    parts: Sequence[Ordered],
    wanted: NDArray[np.bool_],
    bracket: tuple[float, float],
    below: int,
    ranks: Sequence[int],
    room: int,
    step: Callable[[], None],
) -> dict[int, float]:
    """Find these ranks in what is not held together: the blocks are read as often as a Finder has to look."""
    (low, high), finder, is_first = bracket, Finder(room, step, bracket), True
    while not finder.is_settled:
        for part, places in _places(parts, wanted):
            for values in part.each(places):
                finder.add(values[(values >= low) & (values <= high)])
                below += int((values < low).sum()) if is_first else 0
                step()
        finder.settle([rank - below for rank in ranks])
        is_first = False
    return {rank: finder[rank - below] for rank in ranks}


def _read(parts: Sequence[Ordered], wanted: NDArray[np.bool_], step: Callable[[], None]) -> tuple[Values, Counts]:
    found: list[tuple[Values, Counts]] = []
    for part, places in _places(parts, wanted):
        found.append(part.read(places))
        step()
    values, counts = zip(*found, strict=True)
    return np.concatenate(values), np.concatenate(counts)


def _places(parts: Sequence[Ordered], wanted: NDArray[np.bool_]) -> Iterator[tuple[Ordered, Indices]]:
    """Say which blocks of which part are wanted."""
    start = 0
    for part in parts:
        places = np.flatnonzero(wanted[start : start + len(part.blocks)])
        if len(places):
            yield part, places
        start += len(part.blocks)
