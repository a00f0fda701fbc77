"""Gathers the newest readings of a page out of sorted files."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.places import Found, moment_of, since_1970
from api.queries import Hot, Wanted
from shared.cold.manifest import ColdFile
from shared.cold.store import Store

Rows = NDArray[np.void]
Mask = NDArray[np.bool_]

_AXES = ("x", "y", "z")
_ROW = np.dtype([("time", "i8"), ("key", "i4"), ("x", "f8"), ("y", "f8"), ("z", "f8")])
_BEFORE_ALL = int(np.iinfo(np.int64).min)


class Tail(NamedTuple):
    """The newest readings of a file from before `end`, unpacked: all that are newer than `oldest`.

    Times are microseconds since 1970.
    """

    end: int
    rows: Rows
    ids: dict[int, str]
    oldest: int


class _Group(NamedTuple):
    """A row group, and the newest time in it."""

    newest: int
    number: int


class Gathered:
    """The readings of a page so far. It is given one file after another, the newest day first."""

    def __init__(self, wanted: Wanted, hot: Hot) -> None:
        self._wanted = wanted
        #: Of those alike the place's, how many are still to be passed over.
        self._skip = wanted.place.alike - hot.skipped if wanted.place else 0
        self._rows: Rows = np.empty(0, _ROW)
        self._ids: dict[int, str] = {}
        #: Nothing older comes into the page: it is outside the window, or the page is full without it.
        self._oldest = since_1970(hot.rows[-1].time if len(hot.rows) >= wanted.limit else wanted.start)

    def found(self) -> list[Found]:
        rows = self._rows.tolist()
        return [Found(moment_of(time), key, x, y, z, self._ids[key]) for time, key, x, y, z in rows]

    def tail(self) -> Tail:
        """Give what was found as the tail of the one file that it is of."""
        is_all = len(self._rows) < self._wanted.limit
        return Tail(since_1970(self._wanted.end), self._rows, self._ids, _BEFORE_ALL if is_all else self._oldest)

    def may_need(self, file: ColdFile) -> bool:
        return since_1970(file.last) >= self._oldest

    def take(self, tail: Tail) -> bool:
        """Take what belongs to the page; return whether that is all its file has for it, and nothing is taken if not."""
        rows = tail.rows[tail.rows["time"] > tail.oldest]
        rows = rows[self._mask(rows["time"], rows["key"])]
        spare = len(rows) - self._at_place(rows["time"], rows["key"]).sum()
        if self._oldest <= tail.oldest and spare < self._wanted.limit:
            return False
        self._add(rows, tail.ids)
        return True

    def read(self, store: Store, file: ColdFile) -> None:
        """Take what is newest in a file. Raises ColdFileDamaged, ColdUnavailable."""
        with store.within(file):
            parquet = store.open(file)
            for group in sorted(self._groups(parquet), reverse=True):
                if group.newest >= self._oldest:
                    self._unpack(parquet, group.number)

    def _groups(self, parquet: Any) -> Iterator[_Group]:
        names = parquet.schema_arrow.names
        for number in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(number)
            keys, times = (group.column(names.index(name)).statistics for name in ("device_key", "time"))
            if self._wanted.key is None or keys.min <= self._wanted.key <= keys.max:
                yield _Group(since_1970(times.max), number)

    def _unpack(self, parquet: Any, number: int) -> None:
        """Unpack times and devices of a row group, and the rest only where any of them belongs to the page."""
        outer = parquet.read_row_group(number, columns=["device_key", "time"], use_threads=False)
        keys = outer["device_key"].to_numpy()
        times = outer["time"].to_numpy().astype("datetime64[us]").view(np.int64)
        places = np.flatnonzero(self._mask(times, keys))
        if not len(places):
            return
        inner = parquet.read_row_group(number, columns=["device_id", *_AXES], use_threads=False).take(places)
        rows = np.empty(len(places), _ROW)
        rows["time"], rows["key"] = times[places], keys[places]
        for name in _AXES:
            rows[name] = inner[name].to_numpy()
        found, firsts = np.unique(rows["key"], return_index=True)
        ids = inner["device_id"].take(firsts).to_pylist()
        self._add(rows, dict(zip(found.tolist(), ids, strict=True)))

    def _mask(self, times: NDArray[np.int64], keys: NDArray[np.int32]) -> Mask:
        wanted = self._wanted
        mask: Mask = (times >= self._oldest) & (times < since_1970(wanted.end))
        if wanted.key is not None:
            mask &= keys == wanted.key
        if wanted.place is not None:
            mask &= (times < since_1970(wanted.place.moment)) | (keys <= wanted.place.key)
        return mask & (times >= self._enough(times[mask], keys[mask]))

    def _enough(self, times: NDArray[np.int64], keys: NDArray[np.int32]) -> int:
        """Say which time need not be looked behind: that many readings are not older, even without those passed over."""
        count = self._wanted.limit + int(self._at_place(times, keys).sum())
        return int(np.partition(times, -count)[-count]) if len(times) > count else self._oldest

    def _at_place(self, times: NDArray[np.int64], keys: NDArray[np.int32]) -> Mask:
        place = self._wanted.place
        if place is None:
            return np.zeros(len(times), np.bool_)
        found: Mask = (times == since_1970(place.moment)) & (keys == place.key)
        return found

    def _add(self, rows: Rows, ids: dict[int, str]) -> None:
        together = np.concatenate([self._rows, rows[self._behind_place(rows)]])
        order = np.lexsort([together[name] for name in ("z", "y", "x")] + [-together["key"], -together["time"]])
        self._rows = together[order[: self._wanted.limit]]
        self._ids |= ids
        if len(self._rows) >= self._wanted.limit:
            self._oldest = max(self._oldest, int(self._rows[-1]["time"]))

    def _behind_place(self, rows: Rows) -> Mask:
        """Which rows are not before the place, and not among those alike that are passed over."""
        place = self._wanted.place
        alike = self._at_place(rows["time"], rows["key"])
        if place is None or not alike.any():
            return np.ones(len(rows), np.bool_)
        before = np.zeros(len(rows), np.bool_)
        for name in _AXES:
            before |= alike & (rows[name] < getattr(place, name))
            alike = alike & (rows[name] == getattr(place, name))
        passed_over = np.flatnonzero(alike)[: self._skip]
        self._skip -= len(passed_over)
        before[passed_over] = True
        return ~before
