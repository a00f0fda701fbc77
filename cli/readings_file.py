"""Files of readings: CSV lines gathered into chunks that come out the same on every run."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter

import msgspec

from cli.csv_file import Reject, cells, header

COLUMNS = ("device", "timestamp", "x", "y", "z")
#: No number and no timestamp is longer; what is would only fill the request.
LONGEST_VALUE = 64
#: Lines held back over all devices: where very many take turns, their chunks are cut short.
WAITING_LIMIT = 200_000


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


def chunks(lines: Iterator[str], limit: int, waiting_limit: int = WAITING_LIMIT) -> Iterator[Chunk | Reject]:
    """Gather lines by device into chunks of up to `limit`; a line with too few or too many columns is a reject.

    Where a chunk begins and ends depends on the lines alone, never on time: its key must come out the same.

    Raises:
        WeirError: the header lacks a column.
    """
    names = header(lines, COLUMNS, {"device_id": "device"})  # as downloads name it: an id is as good
    pick = itemgetter(*(names.index(name) for name in COLUMNS))
    waiting: dict[str, Chunk] = {}
    count = 0
    for number, line in enumerate(lines, start=2):
        fields = cells(line)
        if len(fields) != len(names):
            if line.strip():
                yield Reject(number, None, "columns", pick([*fields, *[""] * len(names)]))
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
