"""The lines that are not stored: said in their order, and written down as they stand in the file."""

import re
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from cli.importing.columns import NAMESPACE, REJECT_COLUMNS
from cli.importing.events_file import EventsFile
from cli.importing.files import Input
from cli.importing.lines import Record, Reject, records
from cli.importing.readings_file import ReadingsFile
from shared.errors import WeirError
from shared.streams.rejections import EXPLANATIONS

#: How many are said on the terminal.
LISTED = 20
SAID = EXPLANATIONS | {
    "columns": "has too few or too many columns",
    "quote_not_closed": "has a quote that is never closed, or closed more than 128 KiB further down",
    "text_behind_quote": "has text behind a closing quote; within quotes, a quote is written as two",
    "line_too_long": "is too long to be a record",
    "not_utf_8": "holds bytes that are no UTF-8",
    "property_twice": "names a property that has a column of its own, too",
    "not_a_name": "must be UTF-8 without control characters, 200 at most",
}
#: Longest shape that is shown.
_SHOWN = 40
_SHAPES = ((re.compile(r"[^\W\d_]"), "a"), (re.compile(r"\d"), "9"), (re.compile(r"[^\x20-\x7e]"), "?"))


class Rejects:
    """The rejected lines of a file. 8 bytes of memory for each.

    Args:
        path: where to write them; None: nowhere.
    """

    def __init__(self, path: Path | None, source: Input) -> None:
        if path is not None and path.exists() and source.path.exists() and path.samefile(source.path):
            raise WeirError("--rejects names the file to import itself")
        self._source = source
        self._path = path
        try:
            self._out: TextIO | None = (
                path.open("w", encoding="utf-8", errors="surrogateescape", newline="") if path else None
            )
        except OSError as error:
            raise WeirError(f"{path} cannot be written: {error.strerror}") from error
        self._reasons: list[tuple[str | None, str]] = []
        self._lines = array("Q")

    def close(self) -> None:
        """Let go of the file. What could not be written was said by `report`."""
        if self._out is not None:
            with suppress(OSError):
                self._out.close()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, reject: Reject) -> None:
        reason = (reject.field, reject.code)
        if reason not in self._reasons:  # of which there are a few dozen at most
            self._reasons.append(reason)
        self._lines.append(reject.line << 16 | self._reasons.index(reason))

    def report(self, file: ReadingsFile | EventsFile, delimiter: str) -> Iterator[str]:
        """Write them down, and yield a sentence about each of the first ones. Reads the file again.

        Raises:
            WeirError: it cannot be read, or they cannot be written.
        """
        header = [*_columns(file), _own(file.table.header, delimiter, file)]
        self._write(delimiter.join(header))
        for count, (record, field, code) in enumerate(self.found(delimiter), 1):
            if self._out is not None:
                self._write(_line(record, (field or "", code), file, delimiter))
            if count <= LISTED:
                yield _sentence(record, field, code, file)
            elif count == LISTED + 1:
                yield "more lines are rejected" + (
                    f", see {self._path}" if self._path else "; --rejects FILE lists all"
                )
                if self._out is None:
                    return
        self._write(None)

    def found(self, delimiter: str) -> Iterator[tuple[Record, str | None, str]]:
        """Yield each with its record, its field and its code, in the order of the file."""
        wanted = iter(sorted(self._lines))
        following = next(wanted, None)
        with self._source.lines() as text:
            for record in records(text, delimiter):
                if following is None:
                    return
                if record.line == following >> 16:
                    yield record, *self._reasons[following & 0xFFFF]
                    following = next(wanted, None)

    def _write(self, line: str | None) -> None:
        """Write a line where there is a file for it; None: all are written. Raises WeirError."""
        if self._out is None:
            return
        try:
            if line is None:
                self._out.flush()
            else:
                self._out.write(line + "\n")
        except OSError as error:
            raise WeirError(f"{self._path} cannot be written: {error.strerror}") from error


def _line(record: Record, reason: tuple[str, str], file: ReadingsFile | EventsFile, delimiter: str) -> str:
    """Put before a rejected line where it was and why, and for an event where its id comes from."""
    # Of the file that it was rejected from at first.
    line = record.cells[0] if file.table.before and record.cells else str(record.line)
    values = [line, *reason]
    if isinstance(file, EventsFile):
        values.append(file.namespace_of(record))
    return delimiter.join([*values, _own(record.raw, delimiter, file).rstrip("\r\n")])


def _columns(file: ReadingsFile | EventsFile) -> list[str]:
    return [*REJECT_COLUMNS, NAMESPACE] if isinstance(file, EventsFile) else list(REJECT_COLUMNS)


def _own(raw: str, delimiter: str, file: ReadingsFile | EventsFile) -> str:
    """Leave out the columns that say what was wrong the last time."""
    return raw.split(delimiter, file.table.before)[-1]


def _sentence(record: Record, field: str | None, code: str, file: ReadingsFile | EventsFile) -> str:
    place = file.fields.get(field or "")
    name = f"{field} " if field else ""
    said = f"line {record.line}: {name}{SAID.get(code, code)}"
    if place is None or not record.cells or len(record.cells) <= place:
        return said
    cell = record.cells[place]
    return f"{said}; it is empty" if not cell.strip() else f"{said}; it looks like {shape(cell)}"


def shape(text: str) -> str:
    """Show what a value looks like and not what it is: 9 for a digit, a for a letter."""
    shown = text[:_SHOWN]
    for pattern, instead in _SHAPES:
        shown = pattern.sub(instead, shown)
    return shown + ("…" if len(text) > _SHOWN else "")
