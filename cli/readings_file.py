"""Files of readings: CSV lines gathered into chunks that come out the same on every run."""

import csv
import gzip
import hashlib
import math
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from io import BufferedReader, TextIOWrapper
from operator import itemgetter

import msgspec

from shared.errors import WeirError

COLUMNS = ("device", "timestamp", "x", "y", "z")
GZIP_MAGIC = b"\x1f\x8b"
LONGEST_HEADER = 64 * 1024
#: No number and no timestamp is longer; what is would only fill the request.
LONGEST_VALUE = 64
#: Lines held back over all devices: where very many take turns, their chunks are cut short.
WAITING_LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that is not stored, and why. `values` are its device, timestamp, x, y and z as they stand in the file."""

    line: int
    field: str | None
    code: str
    values: tuple[str, ...]


@dataclass(slots=True)
class Chunk:
    """Lines of one device, still text: what becomes one submission."""

    device: str
    lines: list[int] = field(default_factory=list)
    timestamp: list[str] = field(default_factory=list)
    x: list[str] = field(default_factory=list)
    y: list[str] = field(default_factory=list)
    z: list[str] = field(default_factory=list)

    def add(self, line: int, timestamp: str, x: str, y: str, z: str) -> None:
        self.lines.append(line)
        self.timestamp.append(timestamp)
        self.x.append(x)
        self.y.append(y)
        self.z.append(z)

    def key(self) -> str:
        """The same lines at the same place have the same key, so that sending them again stores nothing."""
        content = [self.device, self.lines[0], self.timestamp, self.x, self.y, self.z]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()

    def encoded(self) -> bytes:
        """The chunk in columns, as the API takes it. What is no number stays text, for the API to say so."""
        timestamp = [text if len(text) <= LONGEST_VALUE else "" for text in self.timestamp]
        x, y, z = _numbers(self.x), _numbers(self.y), _numbers(self.z)
        return msgspec.json.encode({"timestamp": timestamp, "x": x, "y": y, "z": z})

    def reject(self, index: int, field: str | None, code: str) -> Reject:
        values = (self.device, self.timestamp[index], self.x[index], self.y[index], self.z[index])
        return Reject(self.lines[index], field, code, values)

    def reject_all(self, field: str, code: str) -> list[Reject]:
        return [self.reject(index, field, code) for index in range(len(self.lines))]


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


def chunks(lines: Iterator[str], limit: int, waiting_limit: int = WAITING_LIMIT) -> Iterator[Chunk | Reject]:
    """Gather lines by device into chunks of up to `limit`; a line with too few or too many columns is a reject.

    Where a chunk begins and ends depends on the lines alone, never on time: its key must come out the same.

    Raises:
        WeirError: the header lacks a column.
    """
    header = [name.strip().lower() for name in _fields(next(lines, ""))]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise WeirError(f"the first line must name the columns {','.join(COLUMNS)}; missing: {', '.join(missing)}")
    pick = itemgetter(*(header.index(name) for name in COLUMNS))
    waiting: dict[str, Chunk] = {}
    count = 0
    for number, line in enumerate(lines, start=2):
        fields = _fields(line)
        if len(fields) != len(header):
            if line.strip():
                yield Reject(number, None, "columns", pick([*fields, *[""] * len(header)]))
            continue
        device, timestamp, x, y, z = pick(fields)
        chunk = waiting.get(device)
        if chunk is None:
            chunk = waiting[device] = Chunk(device)
        chunk.add(number, timestamp, x, y, z)
        count += 1
        if len(chunk.lines) == limit:
            count -= limit
            yield waiting.pop(device)
        elif count == waiting_limit:
            count = 0
            yield from waiting.values()
            waiting.clear()
    yield from waiting.values()


def _fields(line: str) -> list[str]:
    """Each line by itself: a quote that is never closed costs its own line and not those below it."""
    line = line.rstrip("\r\n")
    return next(csv.reader([line])) if '"' in line else line.split(",")


def _numbers(texts: list[str]) -> list[float | str]:
    try:
        numbers: list[float | str] = list(map(float, texts))
    except ValueError:
        return [_number(text) for text in texts]
    plain = all(map(math.isfinite, numbers)) and "_" not in "".join(texts)  # type: ignore[arg-type]
    return numbers if plain else [_number(text) for text in texts]


def _number(text: str) -> float | str:
    """Python reads nan, inf and 1_000 as numbers; JSON has none of them."""
    try:
        number = float(text)
    except ValueError:
        return text[:LONGEST_VALUE]
    return number if math.isfinite(number) and "_" not in text else text[:LONGEST_VALUE]
