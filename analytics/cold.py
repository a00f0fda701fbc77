"""Cold readings, out of sealed files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, text

from analytics.brackets import Indices, Ordered
from analytics.parts import TIME, Piece, Summary, Values, microseconds
from shared.cold import manifest, ordered_manifest
from shared.cold.manifest import ColdFile
from shared.cold.manifest import Summary as DeviceSummary
from shared.cold.ordered import BlockDamaged, Blocks, Counts, unpack
from shared.cold.ordered_manifest import OrderedDevices
from shared.cold.store import Store
from shared.errors import ColdFileDamaged
from shared.exact_sum import ExactSum
from shared.questions import AXES
from shared.scope import Scope
from shared.streams.readings import READINGS

#: Devices of which the manifest is asked for what it knows; of more the files are as quick: docs/analytics.md.
_FEW = 200


class Devices(NamedTuple):
    """Some devices in one file, summed up: what is known of each would be too much to hold of many days.

    `first` and `last` are times of readings, both included, of whichever device.
    """

    rows: int
    first: datetime
    last: datetime
    #: By axis.
    summaries: Mapping[str, Summary]

    @classmethod
    def of(cls, some: Sequence[DeviceSummary]) -> Self:
        rows = sum(one.rows for one in some)
        summaries = {
            axis: Summary(
                rows,
                min(one.min[place] for one in some),
                max(one.max[place] for one in some),
                ExactSum([part for one in some for part in one.sum[place]]).parts(),
            )
            for place, axis in enumerate(AXES)
        }
        first, last = min(one.first for one in some), max(one.last for one in some)
        return cls(rows, first, last, summaries)


class Cold:
    """The readings of a scope in one sealed file."""

    tier: Literal["hot", "cold"] = "cold"

    def __init__(
        self,
        store: Store,
        file: ColdFile,
        scope: Scope,
        devices: Devices | None = None,
        in_order: OrderedDevices | None = None,
    ) -> None:
        self._store = store
        self._file = file
        self._scope = scope
        self._devices = devices
        self._in_order = in_order
        # Of other devices in the file, the times would be theirs as well.
        known = file if scope.device_keys is None else devices
        self._is_whole = known is not None and _is_inside(scope, known.first, known.last)
        self._is_empty = not _overlaps(scope, (known or file).first, (known or file).last)

    @property
    def file_id(self) -> str:
        return str(self._file.id)

    @property
    def expected(self) -> int:
        return (self._devices or self._file).rows

    def within(self, start: datetime, end: datetime) -> "Cold":
        return Cold(self._store, self._file, self._scope.within(start, end), self._devices, self._in_order)

    @property
    def summaries(self) -> Mapping[str, Summary]:
        """What the manifest says of an axis, where all of the devices' readings lie in the window."""
        return self._devices.summaries if self._devices and self._is_whole else {}

    @property
    def ordered(self) -> Mapping[str, Sequence[Ordered]]:
        """The ordered copies, where all of the devices' readings lie in the window."""
        if self._in_order is None or not self._is_whole:
            return {}
        return {axis: [_ordered(self._store, self._in_order, place)] for place, axis in enumerate(AXES)}

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Yield every reading once, a row group at a time. Raises ColdFileDamaged or ColdUnavailable.

        The file is not opened where the manifest says that nothing of it lies in the window.
        """
        if self._is_empty:
            return
        wanted = list(dict.fromkeys([*columns, *(() if self._is_whole else (TIME,))]))
        scope = self._scope
        window: dict[str, Any] = {} if self._is_whole else {"start": scope.start, "end": scope.end}
        for table in self._store.pieces(self._file, wanted, device_keys=scope.device_keys, **window):
            if len(table):
                found = {name: _column(table, name) for name in wanted}
                newest = self.newest if self._is_whole else int(found[TIME].max())
                yield Piece({name: found[name] for name in columns}, len(table), newest)

    @property
    def newest(self) -> int:
        """Of all that the file holds of the scope."""
        return microseconds((self._devices or self._file).last)


def parts(connection: Connection, store: Store, scope: Scope, *, ranks_only: bool = False) -> list[Cold]:
    """Return the files with readings of a scope; the snapshot may be left before they are read. Raises WeirError.

    Where only ranks are wanted beside what the manifest knows, parts come with what is in order. Memory grows with the
    files, and not with the devices in them.
    """
    files = manifest.files(connection, READINGS.name, scope.start, scope.end, scope.device_keys)
    if not _is_of_few(connection, scope):
        return [Cold(store, file, scope) for file in files]
    in_order = _in_order(connection, scope) if ranks_only else {}
    by_id = {file.id: file for file in files}
    known = manifest.summaries(connection, READINGS.name, scope.device_keys, scope.start, scope.end)
    scopes: dict[tuple[int, ...], Scope] = {}
    found: list[Cold] = []
    for file_id, devices in groupby(known, attrgetter("file")):
        for some, ordered in _apart(list(devices), in_order.get(file_id)):
            keys = tuple(one.device_key for one in some)
            # Mostly those of the day before.
            own = scopes.setdefault(keys, replace(scope, device_keys=keys))
            found.append(Cold(store, by_id[file_id], own, Devices.of(some), ordered))
    return found


def _is_of_few(connection: Connection, scope: Scope) -> bool:
    if scope.device_keys is not None:
        return len(scope.device_keys) <= _FEW
    counted = text("SELECT count(*) FROM (SELECT FROM devices LIMIT :most) d")
    return int(connection.execute(counted, {"most": _FEW + 1}).scalar_one()) <= _FEW


def _in_order(connection: Connection, scope: Scope) -> dict[UUID, OrderedDevices]:
    """Return what is in order of the scope's devices, by file."""
    found = ordered_manifest.devices(connection, READINGS.name, scope.device_keys, scope.start, scope.end)
    return {one.copy.file: one for one in found}


def _apart(
    devices: Sequence[DeviceSummary], in_order: OrderedDevices | None
) -> Iterator[tuple[Sequence[DeviceSummary], OrderedDevices | None]]:
    """Yield a file's devices: those in order, and those that are to be read."""
    ordered = frozenset[int]() if in_order is None else in_order.device_keys
    for is_ordered in (True, False):
        some = [one for one in devices if (one.device_key in ordered) is is_ordered]
        if some:
            yield some, in_order if is_ordered else None


def _ordered(store: Store, devices: OrderedDevices, place: int) -> Ordered:
    """Return an axis of some devices. Its blocks are read from their file; that raises as `pieces` does."""
    copy, blocks = devices.copy, devices.blocks[place]

    def read(places: Indices) -> tuple[Values, Counts]:
        found: list[tuple[Values, Counts]] = []
        try:
            with store.within(copy), store.source(copy.path) as source:
                for neighbours in _neighbours(blocks[places]):
                    found += _unpacked(source, neighbours)
        except BlockDamaged as error:
            raise ColdFileDamaged(copy.path, str(error)) from error
        return np.concatenate([values for values, _ in found]), np.concatenate([counts for _, counts in found])

    return Ordered(blocks, read)


def _neighbours(blocks: Blocks) -> list[Blocks]:
    """Put blocks together that follow each other in their file."""
    ends = blocks["offset"] + blocks["bytes"]
    return np.split(blocks, np.flatnonzero(blocks["offset"][1:] != ends[:-1]) + 1)


def _unpacked(source: Any, blocks: Blocks) -> Iterator[tuple[Values, Counts]]:
    """Read blocks that follow each other."""
    start = int(blocks[0]["offset"])
    data = source.read_at(int(blocks[-1]["offset"] + blocks[-1]["bytes"]) - start, start)
    for block in blocks:
        first = int(block["offset"]) - start
        yield unpack(data[first : first + int(block["bytes"])], block)


def _is_inside(scope: Scope, first: datetime, last: datetime) -> bool:
    return (scope.start is None or scope.start <= first) and (scope.end is None or last < scope.end)


def _overlaps(scope: Scope, first: datetime, last: datetime) -> bool:
    return (scope.start is None or scope.start <= last) and (scope.end is None or first < scope.end)


def _column(table: Any, name: str) -> Any:
    """Times come as datetime64, in microseconds."""
    column = table[name].to_numpy()
    return column.astype("datetime64[us]").view(np.int64) if name == TIME else column
