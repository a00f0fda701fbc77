"""Reduces any number of readings of a device to the few points of a chart, in constant memory."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tsdownsample import LTTBDownsampler

Method = Literal["lttb", "minmax"]
Times = NDArray[np.int64]
Values = NDArray[np.float64]

#: How many times as many readings as points lttb chooses from: the extremes of buckets of time. (MinMaxLTTB: J. Van Der
#: Donckt and others, 2023, arXiv:2305.00332)
PRESELECTED = 4

_LTTB = LTTBDownsampler()  # type: ignore[no-untyped-call]


class Points(NamedTuple):
    """One axis: times in microseconds since 1970, ascending, and the values at them."""

    times: Times
    values: Values


class Reduction:
    """Takes one axis of readings, piece by piece in any order, and gives `points` of them at most.

    As long as they are few they are kept as they are. After that there are buckets of time, equally wide, and of each
    bucket the lowest and the highest value are kept, which does not depend on the pieces.
    """

    def __init__(self, method: Method, points: int, first: int, last: int) -> None:
        """Expect readings with first <= time <= last, in microseconds since 1970."""
        self._points = points
        self._few = points * PRESELECTED if method == "lttb" else points
        count, span = self._few // 2, last - first + 1
        # In whole numbers of any size: the product is beyond 64 bits.
        self._starts = np.array([first + span * number // count for number in range(count)], np.int64)
        self._kept: list[Points] = []
        self._lowest, self._highest = _Lowest(count), _Lowest(count)
        self.readings = 0

    def add(self, piece: Points) -> None:
        """Take a piece, its times ascending."""
        self.readings += len(piece.times)
        self._kept.append(piece)
        if self.readings > self._few:
            for one in self._kept:
                self._gather(one)
            self._kept = []

    def result(self) -> Points:
        """Return what is to be drawn: all there are, or each bucket's extremes, or what lttb chooses among those."""
        found = _joined(self._kept) if self.readings <= self._few else self._extremes()
        if len(found.times) <= self._points:
            return found
        chosen = _LTTB.downsample(found.times, found.values, n_out=self._points)
        return Points(found.times[chosen], found.values[chosen])

    def _gather(self, piece: Points) -> None:
        if not len(piece.times):
            return
        places = np.searchsorted(self._starts, piece.times, side="right") - 1
        firsts = np.flatnonzero(np.diff(places, prepend=-1))
        self._lowest.add(places[firsts], firsts, piece.times, piece.values)
        self._highest.add(places[firsts], firsts, piece.times, -piece.values)

    def _extremes(self) -> Points:
        low, high = self._lowest.found(), self._highest.found()
        # Where all of a bucket are the same, lowest and highest are one reading.
        other = (low.times != high.times) | (low.values != -high.values)
        return _joined([low, Points(high.times[other], -high.values[other])])


class _Lowest:
    """The lowest value of each bucket and when it was; of equal ones the earliest."""

    def __init__(self, buckets: int) -> None:
        self._times = np.zeros(buckets, np.int64)
        self._values = np.full(buckets, np.inf)

    def add(self, buckets: NDArray[np.intp], firsts: NDArray[np.intp], times: Times, values: Values) -> None:
        """Take readings whose buckets these are; those of each begin where `firsts` says."""
        lowest = np.minimum.reduceat(values, firsts)
        equal = np.flatnonzero(values == np.repeat(lowest, np.diff(firsts, append=len(values))))
        moments = times[equal[np.searchsorted(equal, firsts)]]
        kept = self._values[buckets]
        better = (lowest < kept) | ((lowest == kept) & (moments < self._times[buckets]))
        self._values[buckets[better]] = lowest[better]
        self._times[buckets[better]] = moments[better]

    def found(self) -> Points:
        """Return those of the buckets that have any."""
        seen = np.isfinite(self._values)
        return Points(self._times[seen], self._values[seen])


def _joined(parts: Sequence[Points]) -> Points:
    times = np.concatenate([np.empty(0, np.int64), *(part.times for part in parts)])
    values = np.concatenate([np.empty(0), *(part.values for part in parts)])
    order = np.argsort(times, kind="stable")
    return Points(times[order], values[order])
