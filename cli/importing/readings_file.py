"""Files of readings: lines gathered by device into chunks that come out the same on every run."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import msgspec

from cli.importing.columns import Layout, MissingColumns, Table
from cli.importing.lines import Reject
from cli.importing.times import Clock
from shared.errors import WeirError

COLUMNS = ("device", "timestamp", "x", "y", "z")
AXES = COLUMNS[2:]
#: No number and no timestamp is longer; what is would only fill the request.
LONGEST_VALUE = 64
#: Lines held back over all devices: where very many take turns, their chunks are cut short.
WAITING_LIMIT = 200_000
#: With decimal commas a point is no part of a number: it becomes a comma, for the API to refuse.
_SWAPPED = str.maketrans(",.", ".,")


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

    def only(self, places: Sequence[int]) -> "Chunk":
        """Make a chunk of some of its lines."""
        columns = (self.lines, self.timestamp, self.x, self.y, self.z)
        return Chunk(self.device, *([column[place] for place in places] for column in columns))  # type: ignore[arg-type]

    def key(self) -> str:
        """The same lines at the same place have the same key, so that sending them again stores nothing."""
        content = [self.device, self.lines[0], self.timestamp, self.x, self.y, self.z]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()

    def encoded(self) -> bytes:
        """The chunk in columns, as the API takes it. What is no number stays text, for the API to say so."""
        timestamp = [text if len(text) <= LONGEST_VALUE else "" for text in self.timestamp]
        x, y, z = _numbers(self.x), _numbers(self.y), _numbers(self.z)
        return msgspec.json.encode({"timestamp": timestamp, "x": x, "y": y, "z": z})

    def shown(self, index: int) -> dict[str, object]:
        """Return a reading as it was understood."""
        x, y, z = _numbers([self.x[index], self.y[index], self.z[index]])
        return {"device": self.device, "timestamp": self.timestamp[index], "x": x, "y": y, "z": z}

    def reject(self, index: int, field: str | None, code: str) -> Reject:
        return Reject(self.lines[index], field, code)

    def reject_all(self, field: str, code: str) -> list[Reject]:
        return [self.reject(index, field, code) for index in range(len(self.lines))]


class ReadingsFile:
    """The readings of a file.

    Args:
        device: the device of all lines; None: a column has it.
        decimal: what stands before the decimals of a number.

    Raises:
        MissingColumns: no column is known to hold one of device, timestamp, x, y and z.
        WeirError: the columns are not what was said of them.
    """

    def __init__(
        self,
        lines: Iterator[str],
        layout: Layout | None = None,
        clock: Clock | None = None,
        *,
        device: str | None = None,
        decimal: str = ".",
    ) -> None:
        self._layout = layout or Layout()
        self._clock = clock or Clock()
        self._decimal = decimal
        #: Lines left out because they lack a value.
        self.missing = 0
        # Downloads name it device_id: an id is as good.
        self.table = Table(lines, self._layout, COLUMNS, {"device_id": "device"})
        self._constants: list[str] = []
        constants = {} if device is None else {"device": f"={device}"}
        self._places = self._found(dict(self._layout.mapping) | constants)

    @property
    def fields(self) -> dict[str, int]:
        """Of each field of ours, the place of the column that holds it, as far as one does."""
        width = len(self.table.names)
        return {name: place for name, place in zip(COLUMNS, self._places, strict=True) if place < width}

    @property
    def ignored(self) -> list[str]:
        """The columns that are no part of a reading."""
        used = {*range(self.table.before), *self._places, *map(self.table.index, self._layout.time_columns)}
        return [name for place, name in enumerate(self.table.names) if place not in used]

    def chunks(self, limit: int, waiting_limit: int = WAITING_LIMIT) -> Iterator[Chunk | Reject]:
        """Gather lines by device into chunks of up to `limit`; a line with too few or too many columns is a reject.

        Where a chunk begins and ends depends on the lines alone, never on time: its key must come out the same.
        """
        pick, width = itemgetter(*self._places), len(self.table.names)
        extend, missing = self._extension(), self._layout.missing
        held = [place for place in self._places if place < width]
        waiting: dict[str, Chunk] = {}
        count = 0
        for number, raw, cells, fault in self.table.records():
            if fault or len(cells) != width:
                if fault or raw.strip():
                    yield Reject(number, None, fault or "columns")
                continue
            if missing and any(cells[place].strip() in missing for place in held):
                self.missing += 1
                continue
            if extend:
                extend(cells)
            device, timestamp, x, y, z = pick(cells)
            chunk = waiting.get(device)
            if chunk is None:
                chunk = waiting[device] = Chunk(device)
            chunk.add(number, timestamp, x, y, z)
            count += 1
            if len(chunk.lines) == limit:
                count -= limit
                yield self._read(waiting.pop(device))
            elif count == waiting_limit:
                count = 0
                yield from map(self._read, waiting.values())
                waiting.clear()
        yield from map(self._read, waiting.values())

    def _read(self, chunk: Chunk) -> Chunk:
        """Turn timestamps and numbers into what the API knows."""
        chunk.timestamp = self._clock.convert(chunk.timestamp)
        if self._decimal == ",":
            for axis in AXES:
                setattr(chunk, axis, [text.translate(_SWAPPED) for text in getattr(chunk, axis)])
        return chunk

    def _found(self, mapping: dict[str, str]) -> list[int]:
        """Say where each field stands in the cells once they are extended. Raises WeirError."""
        unknown = sorted(mapping.keys() - set(COLUMNS))
        if unknown:
            raise WeirError(f"--map knows the fields {', '.join(COLUMNS)}, and no {', '.join(unknown)}")
        width = len(self.table.names)
        if len(self._layout.time_columns) == 1:
            mapping["timestamp"] = self._layout.time_columns[0]
        places, lacking = [], []
        for name in COLUMNS:
            if name == "timestamp" and len(self._layout.time_columns) > 1:
                self._constants.append("")  # where the joined time goes
                places.append(width + len(self._constants) - 1)
            elif name in mapping:
                places.append(self._place_of(mapping[name], width))
            elif name in self.table.names:
                places.append(self.table.index(name))
            else:
                lacking.append(name)
        if lacking:
            raise MissingColumns(f"no column is known to hold {', '.join(lacking)}", lacking, self.table.names)
        return places

    def _place_of(self, text: str, width: int) -> int:
        """Return the place of a column, or of a constant: `=TEXT`, or a number that is no column's name."""
        is_number = text not in self.table.names and isinstance(_number(text), float)
        if not text.startswith("=") and not is_number:
            return self.table.index(text)
        text = text.removeprefix("=")
        self._constants.append(text.translate(_SWAPPED) if is_number and self._decimal == "," else text)
        return width + len(self._constants) - 1

    def _extension(self) -> Callable[[list[str]], None] | None:
        """Make what puts constants, and the time out of several columns, behind the cells of a line."""
        constants, width = self._constants, len(self.table.names)
        if not constants:
            return None
        if len(self._layout.time_columns) < 2:  # noqa: PLR2004 - one is no more than a column of another name
            return lambda cells: cells.extend(constants)
        parts = [self.table.index(name) for name in self._layout.time_columns]
        time = self._places[COLUMNS.index("timestamp")]
        assert time >= width

        def extend(cells: list[str]) -> None:
            cells.extend(constants)
            cells[time] = " ".join([cells[place].strip() for place in parts])

        return extend


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
