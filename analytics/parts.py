"""Where readings come from: parts, each of which yields its own in pieces and as often as asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from analytics.brackets import Ordered
from shared.questions import EPOCH

Values = NDArray[np.float64]

TIME = "time"
MICROSECOND = timedelta(microseconds=1)


class Piece(NamedTuple):
    """Some readings, a hundred thousand or so: equally long columns, in any order of rows.

    Axes are floats; `time` is in microseconds since 1970, as `newest` is, the latest of them.
    """

    columns: dict[str, NDArray[Any]]
    rows: int
    newest: int


class Summary(NamedTuple):
    """What is known of one axis without reading it. `sums` are floats that add up to the exact sum."""

    rows: int
    min: float
    max: float
    sums: Sequence[float]


class Part(Protocol):
    """Readings of one place."""

    @property
    def tier(self) -> Literal["hot", "cold"]: ...

    @property
    def expected(self) -> int:
        """About how many readings there are."""

    @property
    def summaries(self) -> Mapping[str, Summary]:
        """By axis: what need not be computed from the pieces."""

    @property
    def ordered(self) -> Mapping[str, Sequence[Ordered]]:
        """By axis: its values in order, where they need not be read to be ranked."""

    @property
    def newest(self) -> int:
        """The latest reading's time, of a part with summaries."""

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Yield every reading once, with these columns. Raises WeirError."""

    def within(self, start: datetime, end: datetime) -> Self:
        """The same, of a shorter window."""


class Kept:
    """Readings in memory."""

    summaries: Mapping[str, Summary] = {}
    ordered: Mapping[str, Sequence[Ordered]] = {}
    newest = 0

    def __init__(self, tier: Literal["hot", "cold"], pieces: list[Piece]) -> None:
        self.tier = tier
        self._pieces = pieces
        self.expected = sum(piece.rows for piece in pieces)

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        for piece in self._pieces:
            yield piece._replace(columns={name: piece.columns[name] for name in columns})

    def within(self, start: datetime, end: datetime) -> "Kept":
        """Needs pieces with their time."""
        return Kept(self.tier, [_cut(piece, start, end) for piece in self._pieces])


def keep(part: Part, columns: Sequence[str], room: int, step: Callable[[], None]) -> Part:
    """Read a part into memory, if it has no more readings than there is room for. Calls `step` after each piece."""
    if part.expected > 2 * room:
        return part
    pieces, rows = [], 0
    for piece in part.pieces(columns):
        rows += piece.rows
        if rows > room:
            return part
        pieces.append(piece)
        step()
    return Kept(part.tier, pieces)


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - EPOCH) // MICROSECOND


def moment(time: int) -> datetime:
    return EPOCH + time * MICROSECOND


def _cut(piece: Piece, start: datetime, end: datetime) -> Piece:
    times = piece.columns[TIME]
    inside = (times >= microseconds(start)) & (times < microseconds(end))
    if inside.all():
        return piece
    rows = int(inside.sum())
    newest = int(times[inside].max()) if rows else 0
    return Piece({name: column[inside] for name, column in piece.columns.items()}, rows, newest)
