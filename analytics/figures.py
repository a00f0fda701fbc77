"""The numbers of one axis: min, max, count, sum, median, quantiles and histogram, exact."""

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.brackets import Ordered, OrderedFinder
from analytics.parts import Summary, Values
from shared.exact_sum import ExactSum
from shared.questions import MAGNITUDE, Question, fraction

_HALF = Fraction(1, 2)


def magnitudes(columns: dict[str, Values]) -> Values:
    """Return the lengths of the vectors (x, y, z): hypot(hypot(x, y), z), which overflows only where the length does."""
    with np.errstate(over="ignore"):
        return np.hypot(np.hypot(columns["x"], columns["y"]), columns["z"])


class Axis:
    """Takes the values of one axis in pieces, and then tells its numbers.

    Give all values by `add`, then `settle`; while not `is_settled`, give all values again by `look` and settle again.
    Settling calls `step` between the parts of its work; what that raises ends it.
    """

    def __init__(self, question: Question, room: int, step: Callable[[], None]) -> None:
        self._quantiles = question.quantiles
        self._bins = question.histogram
        self._low, self._high, self.count = math.inf, -math.inf, 0
        self._sum = ExactSum()
        self._is_finite = True
        self._finder = OrderedFinder(room, step)
        self._histogram: Histogram | None = None
        self._is_counted = False

    def add(self, values: Values, *, is_summarised: bool = False) -> None:
        """Take values, of which `summary` tells the rest where that is known already."""
        if not len(values):
            return
        self._finder.add(values)
        if is_summarised:
            return
        self._bound(len(values), float(values.min()), float(values.max()))
        if self._is_finite:
            self._sum.add(values)

    def summarise(self, summary: Summary) -> None:
        """Take what is known of values that come by `add`, too."""
        self._bound(summary.rows, summary.min, summary.max)
        self._sum.add(summary.sums)

    def take(self, summary: Summary, ordered: Sequence[Ordered]) -> None:
        """Take values that are in order, and do not come by `add` or `look`."""
        self.summarise(summary)
        self._finder.put(ordered)

    def look(self, values: Values) -> None:
        """Take values a second time, and further on."""
        if not self._finder.is_settled:
            self._finder.add(values)
        if self._histogram and not self._is_counted:
            self._histogram.add(values)

    def settle(self) -> None:
        """Make of the values what can be made of them so far."""
        if self._histogram is None and self._bins and self.count:
            self._histogram = Histogram(self._low, self._high, self._bins)
            kept = self._finder.kept
            for values in kept or ():
                self._histogram.add(values)
            self._is_counted = kept is not None
        else:
            self._is_counted = True
        self._finder.settle(self._ranks())

    @property
    def is_settled(self) -> bool:
        return self._finder.is_settled and self._is_counted

    def numbers(self) -> dict[str, Any]:
        """Return them by name, None where there is none: of nothing, or beyond a float."""
        found: dict[str, Any] = {
            "min": _number(self._low) if self.count else None,
            "max": _number(self._high) if self.count else None,
            "count": self.count,
            "sum": self._sum.rounded() if self._is_finite else None,
            "median": self._at(_HALF),
        }
        if self._quantiles:
            found["quantiles"] = {_written(one): self._at(fraction(one)) for one in self._quantiles}
        if self._bins:
            found["histogram"] = self._histogram.as_json() if self._histogram else {"edges": [], "counts": []}
        return found

    def _bound(self, count: int, low: float, high: float) -> None:
        self.count += count
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._is_finite = self._is_finite and math.isfinite(self._high)

    def _ranks(self) -> Iterable[int]:
        """The ranks between which the quantiles lie."""
        for quantile in (_HALF, *map(fraction, self._quantiles)) if self.count else ():
            place = quantile * (self.count - 1)
            yield from (math.floor(place), math.ceil(place))

    def _at(self, quantile: Fraction) -> float | None:
        """Interpolate between the two values next to the quantile, exactly, and round once.

        Of n values in order, the quantile q is at the place q * (n - 1), counted from 0: what percentile_cont means,
        and numpy's "linear".
        """
        if not self.count:
            return None
        place = quantile * (self.count - 1)
        lower, upper = self._finder[math.floor(place)], self._finder[math.ceil(place)]
        if lower == upper or not math.isfinite(upper):
            return _number(lower if place == math.floor(place) else upper)
        share = place - math.floor(place)
        return _number(float(Fraction(lower) * (1 - share) + Fraction(upper) * share))


class Histogram:
    """Counts values in equally wide bins between the least and the greatest.

    Bin i holds edges[i] <= value < edges[i + 1], the last one its end, too. An edge is the float next to where it is.
    """

    def __init__(self, low: float, high: float, bins: int) -> None:
        self._edges = np.array(_edges(low, high, bins))
        self._counts = np.zeros(bins, np.int64)

    def add(self, values: Values) -> None:
        bins = len(self._counts)
        self._counts += np.bincount(np.searchsorted(self._edges[1:-1], values, side="right"), minlength=bins)

    def as_json(self) -> dict[str, Sequence[float | int | None]]:
        edges: NDArray[np.float64] = self._edges
        return {"edges": [_number(edge) for edge in edges.tolist()], "counts": self._counts.tolist()}


def _edges(low: float, high: float, bins: int) -> list[float]:
    if not math.isfinite(high):
        return [low] * bins + [high]
    start, width = Fraction(low), (Fraction(high) - Fraction(low)) / bins
    return [float(start + width * place) for place in range(bins + 1)]


def _number(number: float) -> float | None:
    """Of a length beyond a float there is no number; and 0 has no sign, or it would depend on the order of the rows."""
    return number + 0.0 if math.isfinite(number) else None


def _written(quantile: float) -> str:
    """The quantile as its own name: 0.5, 0, 1."""
    return repr(quantile).removesuffix(".0")


def of_piece(columns: dict[str, Any], question: Question) -> dict[str, Values]:
    """Return the values of each axis that is asked for."""
    found: dict[str, Values] = {name: columns[name] for name in question.axes}
    if question.magnitude:
        found[MAGNITUDE] = magnitudes(columns)
    return found
