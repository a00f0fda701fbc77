"""The numbers of all readings of some parts together, in memory that does not grow with them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analytics.figures import Axis, of_piece
from analytics.parts import TIME, Part, Values
from analytics.progress import Progress
from shared.questions import MAGNITUDE, Question


@dataclass
class Totals:
    """Each axis's numbers, and what they are made of. Times are in microseconds since 1970."""

    axes: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: By tier.
    rows: Counter[str] = field(default_factory=Counter)
    #: Only told where pieces come with their time.
    oldest: int | None = None
    newest: int | None = None


def totals(parts: Sequence[Part], question: Question, progress: Progress, room: int, *, timed: bool = False) -> Totals:
    """Read the parts once or, where there is not room for the values of all axes, some times more. Raises WeirError."""
    found = Totals()
    axes = {name: Axis(question, room // len(question.names), progress.step) for name in question.names}
    for part in parts:
        _read(part, question, axes, found, progress, timed=timed)
    left = [part for part in parts if not _is_ranked(part, question, timed=timed)]
    while still_open := _settle(axes):
        again = question if MAGNITUDE in still_open else question.only(tuple(still_open))
        progress.expect(sum(part.expected for part in left))
        for part in left:
            for values in _values(part, again, Totals(), progress):
                for name, axis in still_open.items():
                    axis.look(values[name])
    found.axes = {name: axis.numbers() for name, axis in axes.items()}
    return found


def _read(
    part: Part, question: Question, axes: Mapping[str, Axis], found: Totals, progress: Progress, *, timed: bool
) -> None:
    if _is_ranked(part, question, timed=timed):
        for name, axis in axes.items():
            axis.take(part.summaries[name], part.ordered[name])
        found.rows[part.tier] += part.expected
        found.newest = part.newest if found.newest is None else max(part.newest, found.newest)
        progress.done(part.expected)
        return
    known = part.summaries
    for name in axes.keys() & known.keys():
        axes[name].summarise(known[name])
    for values in _values(part, question, found, progress, timed=timed):
        for name, axis in axes.items():
            axis.add(values[name], is_summarised=name in known)


def _is_ranked(part: Part, question: Question, *, timed: bool) -> bool:
    """Whether a part's readings need not be looked at one by one."""
    ranks_only = question.is_of_ranks and not timed
    return ranks_only and all(name in part.summaries and name in part.ordered for name in question.names)


def _settle(axes: Mapping[str, Axis]) -> dict[str, Axis]:
    """Return the axes whose values are to be looked at again."""
    for axis in axes.values():
        axis.settle()
    return {name: axis for name, axis in axes.items() if not axis.is_settled}


def _values(
    part: Part, question: Question, found: Totals, progress: Progress, *, timed: bool = False
) -> Iterator[dict[str, Values]]:
    columns = (*question.columns, TIME) if timed else question.columns
    for piece in part.pieces(columns):
        if not piece.rows:
            continue
        found.rows[part.tier] += piece.rows
        found.newest = piece.newest if found.newest is None else max(piece.newest, found.newest)
        if timed:
            oldest = int(piece.columns[TIME].min())
            found.oldest = min(oldest, found.oldest if found.oldest is not None else oldest)
        yield of_piece(piece.columns, question)
        progress.done(piece.rows)
