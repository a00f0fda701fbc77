"""Files of events: CSV lines gathered into chunks that come out the same on every run."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from cli.csv_file import Reject, cells, header
from shared.errors import InvalidRecord, WeirError
from shared.streams import events
from shared.streams.decoding import rejection
from shared.streams.stream import JSON, TimeBounds

COLUMNS = ("event_id", "user_id", "event_type", "occurred_at")
#: Holds a JSON object, as exports write it.
PROPERTIES = "properties"
#: A chunk is closed once it is so long, whatever its lines are: half of what the API takes in one body.
CHUNK_BYTES = 2 * 1024 * 1024
#: No cell of an event that can be stored is longer; what is would only fill the request.
LONGEST_CELL = 17 * 1024

#: An event in which nothing but its properties can be wrong.
_PROBE = b'{"event_id":"%s","user_id":"u","event_type":"t","occurred_at":"2000-01-01T00:00:00Z","properties":%%s}'
_PROBE %= str(UUID(int=0)).encode()
_ANY_TIME = TimeBounds(-(1 << 63), (1 << 63) - 1)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(slots=True)
class Chunk:
    """Lines as events: what becomes one submission."""

    lines: list[int] = field(default_factory=list)
    values: list[tuple[str, ...]] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, line: int, values: tuple[str, ...], event: bytes) -> None:
        self.lines.append(line)
        self.values.append(values)
        self.events.append(event)
        self.size_bytes += len(event) + 1

    def key(self) -> str:
        """The same events have the same key, so that the API remembers what became of them."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def encoded(self) -> bytes:
        """The chunk as the API takes it."""
        return b"[" + b",".join(self.events) + b"]"

    def reject(self, index: int, field: str | None, code: str) -> Reject:
        return Reject(self.lines[index], field, code, self.values[index])


class Events:
    """The events of a file. What is in other columns becomes properties, as text; an empty cell is none. A column of
    the name `properties` holds a JSON object, whose members become properties as they are.

    An id that is no UUID becomes the UUIDv5 of a namespace and the id. The namespace, unless it is named, follows from
    the header and the first line: so a copy of the file, and the file when it has grown, has the same ids, and another
    file with ids from 1 on has others.

    Raises:
        WeirError: the header lacks a column, or names one twice.
    """

    def __init__(self, lines: Iterator[str], namespace: str | None = None) -> None:
        self.columns = tuple(header(lines, COLUMNS))
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise WeirError(f"the first line names a column twice: {', '.join(twice)}")
        self._first = next(lines, "")
        self._rest = lines
        beginning = [self.columns, cells(self._first)] if namespace is None else namespace
        digest = hashlib.sha256(msgspec.json.encode(beginning)).hexdigest()
        self.namespace = uuid5(NAMESPACE_URL, f"weir:events:{digest}")

    def chunks(self, limit: int) -> Iterator[Chunk | Reject]:
        """Gather lines into chunks of up to `limit`; a line with too few or too many columns is a reject, and so is one
        with bytes that are no UTF-8: nobody would miss what was in their place.

        Where a chunk begins and ends depends on the lines alone, never on time: its key must come out the same.
        """
        chunk, width = Chunk(), len(self.columns)
        for number, line in enumerate(self._lines(), start=2):
            values = cells(line)
            if len(values) != width:
                if line.strip():
                    yield Reject(number, None, "columns", tuple([*values, *[""] * width][:width]))
                continue
            if "\N{REPLACEMENT CHARACTER}" in line:
                yield Reject(number, None, "not_utf_8", tuple(values))
                continue
            try:
                event = self._event(values)
            except InvalidRecord as error:
                yield Reject(number, error.field, error.code, tuple(values))
                continue
            chunk.add(number, tuple(values), event)
            if len(chunk.lines) == limit or chunk.size_bytes >= CHUNK_BYTES:
                yield chunk
                chunk = Chunk()
        if chunk.lines:
            yield chunk

    def _lines(self) -> Iterator[str]:
        yield self._first
        yield from self._rest

    def _event(self, values: list[str]) -> bytes:
        """Encode a line. Raises InvalidRecord where its properties would spoil more than itself."""
        event: dict[str, object] = {}
        properties: dict[str, str | msgspec.Raw] = {}
        for name, value in zip(self.columns, values, strict=True):
            if name in COLUMNS:
                event[name] = value[:LONGEST_CELL]
            elif value:
                found = _properties(value) if name == PROPERTIES else {name: value[:LONGEST_CELL]}
                if not found.keys().isdisjoint(properties):
                    raise InvalidRecord("property_twice", PROPERTIES, "names what a column names, too")
                properties |= found
        event["event_id"] = self._id(values[self.columns.index("event_id")])
        return msgspec.json.encode(event | {"properties": properties})

    def _id(self, text: str) -> str:
        """A cell that is empty stays so, for the API to say so."""
        if not text:
            return text
        try:
            return str(UUID(text))
        except ValueError:
            return str(uuid5(self.namespace, text))


def _properties(cell: str) -> dict[str, msgspec.Raw]:
    """Read a JSON object; its values stay as they are written, so that no number changes. Raises InvalidRecord."""
    try:
        found = _members.decode(cell)
    except msgspec.ValidationError as error:
        raise rejection("not_an_object", PROPERTIES) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise rejection("malformed", PROPERTIES) from error
    # Where there may be too much of it, the API's rules are asked here: nested deeply enough, it spoils its whole chunk.
    if len(cell) > events.PROPERTIES_BYTES or cell.count("{") + cell.count("[") > events.PROPERTIES_DEPTH:
        judged = events.decode(_PROBE % cell.encode(), JSON, 0, _ANY_TIME).encode({})
        if judged.rejected:
            raise rejection(judged.rejected[0].code, PROPERTIES)
    return found
