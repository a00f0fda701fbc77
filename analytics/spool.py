"""Where rows of PostgreSQL wait on the worker's disk: a file without a name, of so many bytes at most."""

from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO

from shared.errors import WeirError

#: As much is written, and read, at a time.
BLOCK_BYTES = 1 << 20

#: Of one file, and a job has two at most. About 80 million events, of which a user and a time are copied. Beyond it the
#: disk, which others use too, is not the place: the events of so many days are better asked for once they are sealed.
MOST_BYTES = 4 << 30


class Spool:
    """Takes what COPY writes; `file` is to be read once all of it is there and flushed.

    Raises:
        WeirError: the rows are more than there is room for, in the file or on the disk.
    """

    def __init__(self) -> None:
        try:
            self.file: IO[bytes] = TemporaryFile(buffering=BLOCK_BYTES)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise _no_room(error) from error
        self._room = MOST_BYTES

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise WeirError(
                f"it would copy more than {MOST_BYTES:,} bytes of events that are not sealed yet to the worker's disk; "
                "ask for fewer days, or again when older ones are sealed"
            )
        try:
            return self.file.write(data)
        except OSError as error:
            raise _no_room(error) from error

    def flush(self) -> None:
        try:
            self.file.flush()
        except OSError as error:
            raise _no_room(error) from error

    def close(self) -> None:
        with suppress(OSError):  # what did not go to the disk before is told, and wanted by nobody
            self.file.close()


def _no_room(error: OSError) -> WeirError:
    return no_room("the events that are not sealed yet", error.strerror or type(error).__name__)


def no_room(what: str, reason: str) -> WeirError:
    """The error of a job for which there is no room on the disk."""
    return WeirError(
        f"the worker's disk does not take {what} ({reason}); "
        "ask for fewer days, or again when there is room in its folder for temporary files"
    )
