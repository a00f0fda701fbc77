"""Which ordered copies there are, and the bounds of their blocks: what a rank is looked up in."""

import builtins
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Row, text

from shared.cold.ordered import BLOCK, Blocks

#: Bytes of blocks' bounds that are held at one time: 280,000 blocks of each of three axes, at 40 bytes a block. A device
#: has 10 in a day of 10,000 readings, 64 in one of 65,536 to 262,144, and then one for every 4,096.
MOST_BYTES = 32 << 20

#: Fetched with a cursor, few at a time: a device with a thousand readings a second has 2.5 MB of them in a day.
_STREAMED = {"stream_results": True, "yield_per": 20}


class OrderedCopy(NamedTuple):
    """A file that holds the values of a cold file, of its larger devices, axis by axis in order."""

    #: The cold file, and its day.
    file: UUID
    day: date
    #: Below the store's address.
    path: str
    bytes: int
    sha256: builtins.bytes


class OrderedDevices(NamedTuple):
    """Devices in one ordered copy; their blocks are per axis, in the stream's order, one device after the other."""

    copy: OrderedCopy
    device_keys: frozenset[int]
    blocks: tuple[Blocks, ...]


class _Gathered(NamedTuple):
    """Devices in one ordered copy as they come: their blocks together, as an array for each would cost more than them."""

    copy: OrderedCopy
    device_keys: list[int]
    axes: list[bytearray]

    def add(self, device_key: int, blocks: Sequence[bytes]) -> None:
        self.device_keys.append(device_key)
        for axis, some in zip(self.axes, blocks, strict=True):
            axis.extend(some)

    def ordered(self) -> OrderedDevices:
        return OrderedDevices(
            self.copy, frozenset(self.device_keys), tuple(np.frombuffer(one, BLOCK) for one in self.axes)
        )


_COPY = "o.file, f.day, o.path, o.bytes, o.sha256"
_ALL = text(f"""
    SELECT {_COPY} FROM cold_ordered o JOIN cold_files f ON f.id = o.file WHERE f.stream = :stream ORDER BY f.day
""")  # noqa: S608
#: The largest first, and only of devices all of whose rows lie in the window. What is sorted is without the blocks; they
#: are looked up as rows are fetched, for as long as any are.
_DEVICES = text(f"""
    SELECT d.*, (SELECT b.blocks FROM cold_blocks b WHERE b.file = d.file AND b.device_key = d.device_key) AS blocks
    FROM (
        SELECT {_COPY}, b.device_key
        FROM cold_files f
        JOIN cold_ordered o ON o.file = f.id
        JOIN cold_blocks b ON b.file = f.id
        JOIN cold_summaries s ON s.file = f.id AND s.device_key = b.device_key
        WHERE f.stream = :stream
          AND (CAST(:keys AS integer[]) IS NULL OR b.device_key = ANY(CAST(:keys AS integer[])))
          AND (CAST(:start AS timestamptz) IS NULL OR s.first >= :start)
          AND (CAST(:end AS timestamptz) IS NULL OR s.last < :end)
        ORDER BY s.rows DESC, f.day, b.device_key
    ) d
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
    device_keys: Collection[int] | None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[OrderedDevices]:
    """Return what is there in order of these devices, by day, where all that a file holds of one lies in the window.

    None means all of them. Where that is more than may be held, the devices with the most rows in a file are told: they
    take longest to read.
    """
    keys = None if device_keys is None else list(device_keys)
    wanted = {"stream": stream, "keys": keys, "start": start, "end": end}
    found: dict[UUID, _Gathered] = {}
    room = MOST_BYTES
    with connection.execute(_DEVICES, wanted, execution_options=_STREAMED) as rows:
        for row in rows:
            room -= sum(map(len, row.blocks))
            if room < 0:
                break
            if row.file not in found:
                found[row.file] = _Gathered(_copy(row), [], [bytearray() for _ in row.blocks])
            found[row.file].add(row.device_key, row.blocks)
    return sorted((one.ordered() for one in found.values()), key=lambda one: one.copy.day)


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
