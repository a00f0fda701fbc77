"""Exact ranks without reading everything: the blocks of ordered copies say between which two values a rank lies."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.cold.ordered import BLOCK, Blocks, Counts, Values

Indices = NDArray[np.intp]

_HELD_ROWS = 4096

#: Blocks that are read together where all are.
_AT_ONCE = 64


class Ordered(NamedTuple):
    """Values in blocks, each block's known by its lowest, its highest and their number."""

    #: Records of BLOCK, of which low, high and rows are looked at.
    blocks: Blocks
    #: Takes ascending places among the blocks; returns their values, and how many rows have each.
    read: Callable[[Indices], tuple[Values, Counts]]

    def all(self) -> Iterator[Values]:
        """Yield all values, some hundred thousand at a time."""
        for start in range(0, len(self.blocks), _AT_ONCE):
            yield np.repeat(*self.read(np.arange(start, min(start + _AT_ONCE, len(self.blocks)))))


def at_ranks(
    values: Values, ordered: Sequence[Ordered], ranks: Sequence[int], step: Callable[[], None] = lambda: None
) -> list[float]:
    """Return the values at these places (from 0) of all values in ascending order: of those in hand, and of the others.

    Only blocks that may hold a value at one of the places are read, those of one bracket at a time. Calls `step` after
    each part that is read.
    """
    parts = [*ordered, held(values)] if len(values) else ordered
    blocks = np.concatenate([part.blocks for part in parts])
    lows, highs = _through(blocks, "low"), _through(blocks, "high")
    brackets: defaultdict[tuple[float, float], list[int]] = defaultdict(list)
    for rank in ranks:
        brackets[_bracket(lows, highs, rank)].append(rank)
    found: dict[int, float] = {}
    for (low, high), inside in brackets.items():
        found |= dict.fromkeys(inside, low) if low == high else _look_up(parts, blocks, low, high, inside, step)
    return [found[rank] for rank in ranks]


def held(values: Values) -> Ordered:
    """Put values in hand beside those in files."""
    found = np.sort(values + 0.0)
    starts = np.arange(0, len(found), _HELD_ROWS)
    ends = np.append(starts[1:], len(found))
    blocks = np.zeros(len(starts), BLOCK)
    blocks["low"], blocks["high"], blocks["rows"] = found[starts], found[ends - 1], ends - starts

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


def _look_up(
    parts: Sequence[Ordered],
    blocks: Blocks,
    low: float,
    high: float,
    ranks: Sequence[int],
    step: Callable[[], None],
) -> dict[int, float]:
    """Read what may lie in a bracket, and find these ranks there: below them are the blocks below, and what was read."""
    values, counts = _read(parts, (blocks["high"] >= low) & (blocks["low"] <= high), step)
    order = np.argsort(values)
    through = np.cumsum(counts[order], dtype=np.int64)
    below = int(blocks["rows"][blocks["high"] < low].sum(dtype=np.int64))
    return {rank: float(values[order[_place(through, rank - below)]]) for rank in ranks}


def _read(parts: Sequence[Ordered], wanted: NDArray[np.bool_], step: Callable[[], None]) -> tuple[Values, Counts]:
    found: list[tuple[Values, Counts]] = []
    start = 0
    for part in parts:
        places = np.flatnonzero(wanted[start : start + len(part.blocks)])
        if len(places):
            found.append(part.read(places))
            step()
        start += len(part.blocks)
    values, counts = zip(*found, strict=True)
    return np.concatenate(values), np.concatenate(counts)
