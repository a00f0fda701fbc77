"""CSV as RFC 4180 has it: lines of a file, and the records in them. A cell in quotes may go over several lines."""

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, TextIOWrapper
from typing import NamedTuple

from shared.errors import WeirError

GZIP_MAGIC = b"\x1f\x8b"
#: How files begin that people take for CSV, and what to do with them.
_OTHERS = {
    b"\xff\xfe": "is UTF-16; make it UTF-8 first, for example with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "is UTF-16; make it UTF-8 first, for example with iconv -f UTF-16 -t UTF-8",
    b"PK\x03\x04": "is a ZIP file or a spreadsheet; save the table as CSV in UTF-8 first",
    b"PAR1": "is a Parquet file; make it CSV first",
    b"\xfd7zXZ": "is packed with xz; unpack it first, for example with xz -dc FILE | weir import … -",
    b"\x28\xb5\x2f\xfd": "is packed with zstd; unpack it first, for example with zstd -dc FILE | weir import … -",
    b"BZh": "is packed with bzip2; unpack it first, for example with bzip2 -dc FILE | weir import … -",
}
#: No line of a record that can be stored is longer. A longer one is rejected, and never in memory as a whole.
LONGEST_LINE = 1024 * 1024
#: A quote that is not closed within so many characters is an error of its first line, not a cell that goes on.
LONGEST_CELL = 128 * 1024


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that is not stored, and why. `line` is its first line in the file, from 1 on."""

    line: int
    field: str | None
    code: str


class Record(NamedTuple):
    """A record: its first line, from 1 on, its text as it stands in the file, and its cells, or the code of a fault."""

    line: int
    raw: str
    cells: list[str]
    fault: str | None


def lines(raw: BufferedReader) -> Generator[str, None, None]:
    """Yield the lines of a file, plain or gzipped, each with its line ending. Bytes that are no UTF-8 are kept as
    surrogates, so that a line can be written as it was. A longer line than LONGEST_LINE is cut there.

    Raises:
        WeirError: it cannot be read, from the start or from somewhere on.
    """
    try:
        unpacked = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP_MAGIC else raw
        begins = unpacked.peek(8)
        for magic, meaning in _OTHERS.items():
            if begins.startswith(magic):
                raise WeirError(f"the file {meaning}")
        text = TextIOWrapper(unpacked, encoding="utf-8", errors="surrogateescape", newline="")
        try:
            line = text.readline(LONGEST_LINE).removeprefix("\ufeff")
            while line:
                yield line
                while len(line) >= LONGEST_LINE and not line.endswith(("\n", "\r")):
                    line = text.readline(LONGEST_LINE)
                line = text.readline(LONGEST_LINE)
        finally:
            text.detach()  # the file is the caller's to close
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise WeirError("the file is damaged or cut off: it cannot be unpacked to its end") from error
    except OSError as error:
        raise WeirError(f"the file cannot be read: {error.strerror}") from error


def records(lines: Iterator[str], delimiter: str) -> Generator[Record, None, None]:
    """Split lines into records.

    A quote that is never closed, or text behind a closing quote, costs the line that it is in: the next line is read
    as if it stood alone. An empty line is a record with one empty cell.
    """
    numbered = enumerate(lines, 1)
    make = partial(tuple.__new__, Record)
    for number, line in numbered:
        if '"' not in line and len(line) < LONGEST_LINE:
            text = line if line.isascii() else _text(line)
            yield make((number, line, text.rstrip("\r\n").split(delimiter), None))
            continue
        waiting = deque([(number, line)])
        while waiting:
            yield _record(waiting, numbered, delimiter)


def _record(waiting: deque[tuple[int, str]], numbered: Iterator[tuple[int, str]], delimiter: str) -> Record:
    """Take one record off. Lines that were looked at, and are none of its own, are left waiting."""
    taken: list[tuple[int, str]] = []

    def feed() -> Iterator[str]:
        size = 0
        while size < LONGEST_CELL or not taken:
            following = waiting.popleft() if waiting else next(numbered, None)
            if following is None:
                return
            taken.append(following)
            size += len(following[1])
            yield _text(following[1])

    fault, cells = None, []
    if len(waiting[0][1]) >= LONGEST_LINE:
        taken.append(waiting.popleft())
        fault = "line_too_long"
    else:
        try:
            cells = next(csv.reader(feed(), delimiter=delimiter, strict=True))
        except csv.Error as error:
            fault = _fault(str(error))
            waiting.extendleft(reversed(taken[1:]))
            del taken[1:]
    if not cells and fault is None:
        cells = [""]
    return Record(taken[0][0], "".join(line for _, line in taken), cells, fault)


def _text(line: str) -> str:
    """Return a line as text. Bytes that are no UTF-8 spoil the cell that they are in, and no other."""
    return line if line.isascii() else line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _fault(message: str) -> str:
    if "unexpected end" in message:
        return "quote_not_closed"
    return "line_too_long" if "field larger" in message else "text_behind_quote"
