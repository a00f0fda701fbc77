"""Which ordered copies there are, and the bounds of their blocks: what a rank is looked up in."""

import builtins
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Row, text

from shared.cold.ordered import BLOCK, Blocks


class OrderedCopy(NamedTuple):
    """A file that holds the values of a cold file, of its larger devices, axis by axis in order."""

    #: The cold file, and its day.
    file: UUID
    day: date
    #: Below the store's address.
    path: str
    bytes: int
    sha256: builtins.bytes


class OrderedDevice(NamedTuple):
    """One device in an ordered copy; its blocks are per axis, in the stream's order."""

    copy: OrderedCopy
    device_key: int
    blocks: tuple[Blocks, ...]


_COPY = "o.file, f.day, o.path, o.bytes, o.sha256"
_ALL = text(f"""
    SELECT {_COPY} FROM cold_ordered o JOIN cold_files f ON f.id = o.file WHERE f.stream = :stream ORDER BY f.day
""")  # noqa: S608
#: Only of devices all of whose rows lie in the window.
_DEVICES = text(f"""
    SELECT {_COPY}, b.device_key, b.blocks
    FROM cold_files f
    JOIN cold_ordered o ON o.file = f.id
    JOIN cold_blocks b ON b.file = f.id
    JOIN cold_summaries s ON s.file = f.id AND s.device_key = b.device_key
    WHERE f.stream = :stream AND b.device_key = ANY(CAST(:keys AS integer[]))
      AND (CAST(:start AS timestamptz) IS NULL OR s.first >= :start)
      AND (CAST(:end AS timestamptz) IS NULL OR s.last < :end)
    ORDER BY f.day, b.device_key
""")  # noqa: S608
_ENTER = text("INSERT INTO cold_ordered (file, path, bytes, sha256) VALUES (:file, :path, :bytes, :sha256)")
_ENTER_BLOCKS = text("INSERT INTO cold_blocks (file, device_key, blocks) VALUES (:file, :key, :blocks)")
_RETIRE = text("INSERT INTO cold_leftovers (path, was_live) SELECT path, true FROM cold_ordered WHERE file = :file")


def copies(connection: Connection, stream: str) -> list[OrderedCopy]:
    """Return every ordered copy of a stream's live files, by day."""
    return [_copy(row) for row in connection.execute(_ALL, {"stream": stream})]


def devices(
    connection: Connection,
    stream: str,
    device_keys: Collection[int],
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[OrderedDevice]:
    """Return what is there in order of these devices, by day, where all that a file holds of one lies in the window."""
    wanted = {"stream": stream, "keys": list(device_keys), "start": start, "end": end}
    return [
        OrderedDevice(_copy(row), row.device_key, tuple(np.frombuffer(one, BLOCK) for one in row.blocks))
        for row in connection.execute(_DEVICES, wanted)
    ]


def enter(connection: Connection, copy: OrderedCopy, blocks: Mapping[int, Sequence[Blocks]]) -> None:
    """Make a copy count, with each device's blocks. Raises IntegrityError when its file is live no more."""
    connection.execute(_ENTER, copy._asdict())
    found = [{"file": copy.file, "key": key, "blocks": [one.tobytes() for one in axes]} for key, axes in blocks.items()]
    if found:
        connection.execute(_ENTER_BLOCKS, found)


def retire(connection: Connection, file: UUID) -> None:
    """Let go of a file's copy, as the file itself is: whoever reads it has time to finish."""
    connection.execute(_RETIRE, {"file": file})


def _copy(row: Row[Any]) -> OrderedCopy:
    return OrderedCopy(row.file, row.day, row.path, row.bytes, bytes(row.sha256))
