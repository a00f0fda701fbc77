"""The same numbers, but for histograms, per bucket: spans of equal length, counted from 1970-01-01 UTC."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from analytics.figures import Axis, of_piece
from analytics.parts import MICROSECOND, TIME, Part, Piece, moment
from analytics.progress import Progress
from analytics.totals import totals
from shared.errors import InvalidRecord
from shared.questions import Question


class Buckets:
    """Makes the buckets of a question, from parts that are read once more, as much at a time as there is room for."""

    def __init__(self, question: Question, progress: Progress, room: int, most: int) -> None:
        assert question.bucket
        self._most = most
        self._question = replace(question, histogram=None)
        self._width = question.bucket // MICROSECOND
        self._progress = progress
        self._room = room
        self._rows = max(room // (len(question.columns) + 1), 1)

    def of(self, parts: Sequence[Part], oldest: int, newest: int, rows: int) -> list[dict[str, Any]]:
        """Return the buckets with readings in them, in order. `oldest` and `newest` are in microseconds since 1970.

        Raises:
            InvalidRecord: they are more than `most`.
        """
        first, last = oldest // self._width, newest // self._width
        spans = min(math.ceil(rows / self._rows), last - first + 1)
        edges = [first + (last - first + 1) * place // spans for place in range(spans + 1)]
        found: list[dict[str, Any]] = []
        for start, end in pairwise(edges):
            for one in self._span(parts, start, end):
                found.append(one)
                if len(found) > self._most:
                    raise InvalidRecord(
                        "too_many", "bucket", f"makes more than {self._most} buckets; ask for longer ones"
                    )
        return found

    def _span(self, parts: Sequence[Part], start: int, end: int) -> Iterator[dict[str, Any]]:
        """The buckets from one to another; halved as long as there are too many readings in them."""
        inside = [part.within(moment(start * self._width), moment(end * self._width)) for part in parts]
        pieces = self._gather(inside)
        if pieces is not None:
            yield from self._sorted(pieces)
        elif end - start > 1:
            middle = (start + end) // 2
            yield from self._span(parts, start, middle)
            yield from self._span(parts, middle, end)
        else:
            yield self._bucket(start, totals(inside, self._question, self._progress, self._room).axes)

    def _gather(self, parts: Sequence[Part]) -> list[Piece] | None:
        pieces, rows = [], 0
        for part in parts:
            for piece in part.pieces((*self._question.columns, TIME)):
                self._progress.done(piece.rows)
                rows += piece.rows
                if rows > self._rows:
                    return None
                pieces.append(piece)
        return pieces

    def _sorted(self, pieces: list[Piece]) -> Iterator[dict[str, Any]]:
        if not any(piece.rows for piece in pieces):
            return
        columns = {name: np.concatenate([one.columns[name] for one in pieces]) for name in pieces[0].columns}
        buckets = columns.pop(TIME) // self._width
        order = np.argsort(buckets, kind="stable")
        buckets = buckets[order]
        axes = {name: values[order] for name, values in of_piece(columns, self._question).items()}
        starts = np.concatenate([[0], np.flatnonzero(np.diff(buckets)) + 1, [len(buckets)]]).tolist()
        for start, end in pairwise(starts):
            found = {name: self._numbers(values[start:end]) for name, values in axes.items()}
            yield self._bucket(int(buckets[start]), found)

    def _bucket(self, number: int, found: dict[str, Any]) -> dict[str, Any]:
        start, end = (moment(place * self._width).isoformat() for place in (number, number + 1))
        return {"start": start, "end": end, **found}

    def _numbers(self, values: Any) -> dict[str, Any]:
        axis = Axis(self._question, len(values), self._progress.step)
        axis.add(values)
        axis.settle()
        return axis.numbers()
