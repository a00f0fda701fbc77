"""CSV files, plain or gzipped: a header, and lines of which each stands for itself."""

import csv
import gzip
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper

from shared.errors import WeirError

GZIP_MAGIC = b"\x1f\x8b"
LONGEST_HEADER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that is not stored, and why. `values` are its cells as they stand in the file."""

    line: int
    field: str | None
    code: str
    values: tuple[str, ...]


def lines(raw: BufferedReader) -> Generator[str, None, None]:
    """The lines of a file, plain or gzipped.

    Raises:
        WeirError: it cannot be read, from the start or from somewhere on.
    """
    try:
        unpacked = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP_MAGIC else raw
        # Bytes that are no UTF-8 spoil the field they stand in, and no other.
        text = TextIOWrapper(unpacked, encoding="utf-8-sig", errors="replace")
        try:
            yield text.readline(LONGEST_HEADER)
            for line in text:  # noqa: UP028  `yield from` would close the file when the reader stops early
                yield line
        finally:
            text.detach()  # the file is the caller's to close
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise WeirError("the file is damaged or cut off: it cannot be unpacked to its end") from error
    except OSError as error:
        raise WeirError(f"the file cannot be read: {error.strerror}") from error


def header(lines: Iterator[str], columns: Sequence[str], instead: Mapping[str, str] | None = None) -> list[str]:
    """Take the first line off and return its names, in lower case where they are one of `columns`.

    `instead` says which other names stand for a column that is not there.

    Raises:
        WeirError: it lacks a column.
    """
    names = [name.strip() for name in cells(next(lines, ""))]
    names = [name.lower() if name.lower() in columns else name for name in names]
    for other, column in (instead or {}).items():
        names = [column if name.lower() == other and column not in names else name for name in names]
    missing = [name for name in columns if name not in names]
    if missing:
        raise WeirError(f"the first line must name the columns {','.join(columns)}; missing: {', '.join(missing)}")
    return names


def cells(line: str) -> list[str]:
    """Each line by itself: a quote that is never closed costs its own line and not those below it.

    A line with a cell longer than csv takes, 128 KiB, has no cells.
    """
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader([line])) if '"' in line else line.split(",")
    except csv.Error:
        return []
