"""Cold readings, out of sealed files."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
from sqlalchemy import Connection

from analytics.parts import TIME, Piece, Summary, microseconds
from shared.cold import manifest
from shared.cold.manifest import ColdFile
from shared.cold.manifest import Summary as DeviceSummary
from shared.cold.store import Store
from shared.questions import AXES
from shared.scope import Scope
from shared.streams.readings import READINGS

#: Devices of which the manifest is asked for what it knows; of more the files are as quick.
_FEW = 200


class Cold:
    """The readings of a scope in one sealed file."""

    tier: Literal["hot", "cold"] = "cold"

    def __init__(self, store: Store, file: ColdFile, scope: Scope, devices: Sequence[DeviceSummary] | None) -> None:
        self._store = store
        self._file = file
        self._scope = scope
        self._devices = devices
        known: Sequence[DeviceSummary | ColdFile] | None
        # Of other devices in the file, the times would be theirs as well.
        known = devices if scope.device_keys is not None else [file]
        self._is_whole = known is not None and all(_is_inside(scope, one.first, one.last) for one in known)

    @property
    def file_id(self) -> str:
        return str(self._file.id)

    @property
    def expected(self) -> int:
        return self._file.rows if self._devices is None else sum(one.rows for one in self._devices)

    def within(self, start: datetime, end: datetime) -> "Cold":
        return Cold(self._store, self._file, self._scope.within(start, end), self._devices)

    @cached_property
    def summaries(self) -> Mapping[str, Summary]:
        """What the manifest says of an axis, where all of the devices' readings lie in the window."""
        found: dict[str, Summary] = {}
        for place, axis in enumerate(AXES) if self._devices and self._is_whole else ():
            sums = [one.sum[place] for one in self._devices or ()]
            if None not in sums:  # beyond a float
                low, high = (pick(getattr(one, word)[place] for one in self._devices or ()) for pick, word in _ENDS)
                found[axis] = Summary(self.expected, low, high, [part for one in sums for part in one or ()])
        return found

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Yield every reading once, a row group at a time. Raises ColdFileDamaged or ColdUnavailable."""
        wanted = list(dict.fromkeys([*columns, *(() if self._is_whole else (TIME,))]))
        scope = self._scope
        window: dict[str, Any] = {} if self._is_whole else {"start": scope.start, "end": scope.end}
        for table in self._store.pieces(self._file, wanted, device_keys=scope.device_keys, **window):
            if len(table):
                found = {name: _column(table, name) for name in wanted}
                newest = self._newest() if self._is_whole else int(found[TIME].max())
                yield Piece({name: found[name] for name in columns}, len(table), newest)

    def _newest(self) -> int:
        """Of all that the file holds of the scope."""
        return microseconds(max(one.last for one in self._devices) if self._devices else self._file.last)


_ENDS = ((min, "min"), (max, "max"))


def parts(connection: Connection, store: Store, scope: Scope) -> list[Cold]:
    """Return the files with readings of a scope; the snapshot may be left before they are read. Raises WeirError."""
    files = manifest.files(connection, READINGS.name, scope.start, scope.end, scope.device_keys)
    devices: defaultdict[Any, list[DeviceSummary]] | None = None
    if scope.device_keys is not None and len(scope.device_keys) <= _FEW:
        devices = defaultdict(list)
        for one in manifest.summaries(connection, READINGS.name, scope.device_keys, scope.start, scope.end):
            devices[one.file].append(one)
    return [Cold(store, file, scope, None if devices is None else devices[file.id]) for file in files]


def _is_inside(scope: Scope, first: datetime, last: datetime) -> bool:
    return (scope.start is None or scope.start <= first) and (scope.end is None or last < scope.end)


def _column(table: Any, name: str) -> Any:
    """Times come as datetime64, in microseconds."""
    column = table[name].to_numpy()
    return column.astype("datetime64[us]").view(np.int64) if name == TIME else column
