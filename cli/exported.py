"""A downloaded file on its way to disk: it has its name only once it is whole."""

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import WeirError


class Format(NamedTuple):
    """How a file is asked for, and how many rows are in one: of its lines, or of the whole when it is no text."""

    media_type: str
    rows: Callable[[int], int] | None


FORMATS = {
    "csv": Format("text/csv", lambda lines: lines - 1),
    "json": Format("application/json", lambda lines: max(0, lines - 2)),
    "ndjson": Format("application/x-ndjson", lambda lines: lines),
    "arrow": Format("application/vnd.apache.arrow.stream", None),
    "parquet": Format("application/vnd.apache.parquet", None),
}


def format_of(path: Path, name: str | None) -> str:
    """Choose the format: the one named, or the one that the file's name says. Raises WeirError."""
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == ["gz"]
    found = name or next(iter(suffixes[-2:-1] if packed else suffixes[-1:]), "")
    if found not in FORMATS:
        raise WeirError(f"the file's name says no format; say --format {'|'.join(FORMATS)}")
    if packed and FORMATS[found].rows is None:
        raise WeirError(f"{found} is packed already; leave out .gz")
    return found


class Written:
    """A file under a working name beside its own. Counts what goes into it: bytes, and lines that end outside quotes."""

    def __init__(self, file: BinaryIO, *, is_csv: bool) -> None:
        self._file = file
        self._is_csv = is_csv
        self._is_quoted = False
        self.lines = 0
        self.bytes = 0

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self.bytes += len(piece)
        self.lines += self._ends(piece)

    def _ends(self, piece: bytes) -> int:
        """Count the lines that end in a piece. Only in CSV can one end within quotes."""
        if not self._is_csv:
            return piece.count(b"\n")
        parts = piece.split(b'"')
        unquoted = parts[int(self._is_quoted) :: 2]
        self._is_quoted ^= len(parts) % 2 == 0
        return sum(part.count(b"\n") for part in unquoted)


@contextmanager
def whole(path: Path, *, is_csv: bool = False) -> Iterator[Written]:
    """Write a file, which is there when the body is through and not before; .gz is packed.

    Raises:
        WeirError: it cannot be written. Nothing is left of it, and what was there under its name still is.
    """
    working = path.with_name(f".{path.name}.part")
    try:
        with working.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                    yield Written(packed, is_csv=is_csv)  # type: ignore[arg-type]
            else:
                yield Written(raw, is_csv=is_csv)
            raw.flush()
            os.fsync(raw.fileno())
        working.replace(path)
    except OSError as error:
        raise WeirError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        working.unlink(missing_ok=True)


def rows_in(path: Path, name: str, lines: int) -> int:
    """Say how many rows are in a file that was written."""
    count = FORMATS[name].rows
    if count is not None:
        return count(lines)
    if name == "parquet":
        return int(pq.read_metadata(path).num_rows)
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as batches:
        return sum(batch.num_rows for batch in batches)
