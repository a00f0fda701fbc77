"""Files to import: a path, or a pipe, whose content is kept on the disk because it is read more than once."""

import os
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, cast

from cli.importing.lines import lines
from shared.errors import WeirError

#: What stands for standard input.
STANDARD_INPUT = Path("-")
#: Most bytes of a pipe, packed or not, that are kept on the disk.
PIPE_LIMIT_BYTES = 16 << 30
_PIECE_BYTES = 1 << 20


class Input:
    """A file that can be read from its start as often as needed, one reader at a time."""

    def __init__(self, path: Path, raw: BufferedReader) -> None:
        self.path = path
        self._raw = raw
        self.size_bytes = raw.seek(0, 2)

    @property
    def position_bytes(self) -> int:
        """How far it was read: packed bytes where it is packed."""
        return self._raw.tell()

    @contextmanager
    def lines(self) -> Iterator[Generator[str, None, None]]:
        """Read it from its start. Raises WeirError."""
        self._raw.seek(0)
        with closing(lines(self._raw)) as text:
            yield text


@contextmanager
def opened(path: Path) -> Iterator[Input]:
    """Open a file, a pipe or, for `-`, standard input. A pipe is read to its end first.

    Raises:
        WeirError: it cannot be read, or is longer than there is room for.
    """
    with ExitStack() as files:
        try:
            source = sys.stdin.buffer if path == STANDARD_INPUT else files.enter_context(path.open("rb"))
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                kept = files.enter_context(TemporaryFile(buffering=_PIECE_BYTES))
                _keep(source, kept)
                source = kept
        except OSError as error:
            raise WeirError(f"{path} cannot be read, or not be kept on the disk: {error.strerror}") from error
        yield Input(path, cast("BufferedReader", source))


def _keep(pipe: IO[bytes], kept: IO[bytes]) -> None:
    """Copy a pipe to its end. Raises WeirError, OSError."""
    size = 0
    while piece := pipe.read(_PIECE_BYTES):
        size += len(piece)
        if size > PIPE_LIMIT_BYTES:
            raise WeirError(f"more than {PIPE_LIMIT_BYTES:,} bytes came through the pipe; write them to a file first")
        kept.write(piece)
    kept.flush()
