"""Where rows of PostgreSQL wait on the disk: a file without a name, of so many bytes at most."""

from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from shared.errors import NoRoom

#: As much is written, and read, at a time.
BLOCK_BYTES = 1 << 20


class Room(NamedTuple):
    """How much a spool may take, and what its errors say: of which rows, on whose disk, and what to ask for instead."""

    most_bytes: int
    rows: str
    disk: str
    less: str

    def refused(self, what: str, reason: str) -> NoRoom:
        """The error of a disk that does not take something."""
        return NoRoom(
            f"{self.disk} does not take {what} ({reason}); "
            f"ask for {self.less}, or again when there is room in its folder for temporary files"
        )


class Spool:
    """Takes what COPY writes; `file` is to be read once all of it is there and flushed.

    Raises:
        NoRoom: the rows are more than there is room for, in the file or on the disk.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._left = room.most_bytes
        try:
            self.file: IO[bytes] = TemporaryFile(buffering=BLOCK_BYTES)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise self._refused(error) from error

    @property
    def closed(self) -> bool:
        return self.file.closed

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise NoRoom(
                f"it would copy more than {self._room.most_bytes:,} bytes of {self._room.rows} to {self._room.disk}; "
                f"ask for {self._room.less}, or again when older ones are sealed"
            )
        try:
            return self.file.write(data)
        except OSError as error:
            raise self._refused(error) from error

    def flush(self) -> None:
        try:
            self.file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        with suppress(OSError):  # what did not go to the disk before is told, and wanted by nobody
            self.file.close()

    def _refused(self, error: OSError) -> NoRoom:
        return self._room.refused(f"the {self._room.rows}", error.strerror or type(error).__name__)
