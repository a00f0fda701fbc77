"""Files of events: lines gathered into chunks that come out the same on every run."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from cli.importing.columns import NAMESPACE, REJECT_COLUMNS, Layout, MissingColumns, Table
from cli.importing.lines import Record, Reject
from cli.importing.properties import PROPERTIES, properties_of
from cli.importing.times import Clock
from shared.errors import InvalidRecord, WeirError
from shared.streams.rejections import rejection

COLUMNS = ("event_id", "user_id", "event_type", "occurred_at")
#: A chunk is closed once it is so long, whatever its lines are: half of what the API takes in one body.
CHUNK_BYTES = 2 * 1024 * 1024
#: No cell of an event that can be stored is longer; what is would only fill the request.
LONGEST_CELL = 17 * 1024

#: What the id of an event without one is made of.
IdFrom = Literal["content", "line"]


@dataclass(slots=True)
class Chunk:
    """Lines as events: what becomes one submission."""

    lines: list[int] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, line: int, event: bytes) -> None:
        self.lines.append(line)
        self.events.append(event)
        self.size_bytes += len(event) + 1

    def key(self) -> str:
        """The same events have the same key, so that the API remembers what became of them."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def encoded(self) -> bytes:
        """The chunk as the API takes it."""
        return b"[" + b",".join(self.events) + b"]"

    def shown(self, index: int) -> dict[str, object]:
        """Return an event as it was understood."""
        return msgspec.json.decode(self.events[index], type=dict[str, object])

    def reject(self, index: int, field: str | None, code: str) -> Reject:
        return Reject(self.lines[index], field, code)


class EventsFile:
    """The events of a file. What is in other columns becomes properties, as text; an empty cell is none. A column of
    the name `properties` holds a JSON object, whose members become properties as they are.

    An id that is no UUID becomes the UUIDv5 of a namespace and the id. The namespace, unless it is named, follows from
    the header and the first line: so a copy of the file, and the file when it has grown, has the same ids, and another
    file with ids from 1 on has others. A file without ids takes them from the content of each line, or from its number.

    Raises:
        MissingColumns: no column is known to hold one of the fields of an event.
        WeirError: the columns are not what was said of them.
    """

    def __init__(
        self,
        lines: Iterator[str],
        layout: Layout | None = None,
        clock: Clock | None = None,
        *,
        namespace: str | None = None,
        id_from: IdFrom | None = None,
    ) -> None:
        self._layout = layout or Layout()
        self._clock = clock or Clock()
        self._id_from = id_from
        #: Lines left out for lack of a value: none, for what is missing of an event is a property.
        self.missing = 0
        self.table = Table(lines, self._layout, COLUMNS, {})
        self._fields, self._constants = self._found(dict(self._layout.mapping))
        self._times = [self.table.index(name) for name in self._layout.time_columns]
        used = {*range(self.table.before), *self._fields.values(), *self._times}
        self._properties = [(place, name) for place, name in enumerate(self.table.names) if place not in used]
        self._records = self.table.records()
        self._first = next(self._records, None)
        self._beginning = namespace

    @property
    def fields(self) -> dict[str, int]:
        """Of each field of ours, the place of the column that holds it, as far as one does."""
        return self._fields

    @property
    def ignored(self) -> list[str]:
        """Columns that are no part of an event: none."""
        return []

    @cached_property
    def namespace(self) -> UUID:
        """Where ids that are no UUIDs come from. Raises WeirError where it cannot follow from the first line."""
        beginning: object = self._beginning
        if beginning is None and self._id_from == "content":
            beginning = ["content"]
        elif beginning is None:
            first = self._first
            if first is not None and first.fault:
                raise WeirError(
                    f"line {first.line} cannot be read: it has a quote that is not closed, or text behind one. The ids of "
                    "this file's events follow from it, so that they would be others once it is mended: mend it, or "
                    "name where the ids come from, by --namespace NAME"
                )
            beginning = [self.table.names, first.cells if first else [""]]
        digest = hashlib.sha256(msgspec.json.encode(beginning)).hexdigest()
        return uuid5(NAMESPACE_URL, f"weir:events:{digest}")

    def namespace_of(self, record: Record) -> str:
        """Return the namespace of a rejected line; nothing where its file has none, and so nothing of it is stored."""
        try:
            return str(self._namespace_of(record.cells))
        except (WeirError, IndexError):
            return ""

    def chunks(self, limit: int) -> Iterator[Chunk | Reject]:
        """Gather lines into chunks of up to `limit`; a line with too few or too many columns is a reject, and so is one
        with bytes that are no UTF-8: nobody would miss what was in their place.

        Where a chunk begins and ends depends on the lines alone, never on time: its key must come out the same.
        """
        chunk, width = Chunk(), len(self.table.names)
        for record in self._all():
            number, raw, cells, fault = record
            if fault or len(cells) != width:
                if fault or raw.strip():
                    yield Reject(number, None, fault or "columns")
                continue
            if not raw.isascii() and any("\N{REPLACEMENT CHARACTER}" in cell for cell in cells):
                yield Reject(number, None, "not_utf_8")
                continue
            try:
                event = self._event(record)
            except InvalidRecord as error:
                yield Reject(number, error.field, error.code)
                continue
            chunk.add(number, event)
            if len(chunk.lines) == limit or chunk.size_bytes >= CHUNK_BYTES:
                yield chunk
                chunk = Chunk()
        if chunk.lines:
            yield chunk

    def _all(self) -> Iterator[Record]:
        if self._first is not None:
            yield self._first
            yield from self._records

    def _event(self, record: Record) -> bytes:
        """Encode a line. Raises InvalidRecord where its properties would spoil more than itself."""
        cells, missing = record.cells, self._layout.missing
        if missing:
            cells = ["" if cell.strip() in missing else cell for cell in cells]
        event: dict[str, object] = {name: cells[place][:LONGEST_CELL] for name, place in self._fields.items()}
        event |= self._constants
        if self._times:
            event["occurred_at"] = " ".join([cells[place].strip() for place in self._times])
        if not self._clock.is_plain:
            event["occurred_at"] = self._clock.convert([str(event["occurred_at"])])[0]
        properties: dict[str, str | msgspec.Raw] = {}
        for place, name in self._properties:
            value = cells[place]
            if value:
                found = properties_of(value) if name == PROPERTIES else {name: value[:LONGEST_CELL]}
                if not found.keys().isdisjoint(properties):
                    raise InvalidRecord("property_twice", PROPERTIES, "names what a column names, too")
                properties |= found
        event["event_id"] = self._id(record, cells, event, properties)
        return msgspec.json.encode(event | {"properties": properties})

    def _id(self, record: Record, cells: list[str], event: dict[str, object], properties: Mapping[str, object]) -> str:
        """Make the id of an event. A cell that is empty stays so, for the API to say so."""
        if self._id_from == "content":
            text = msgspec.json.encode([*(event[name] for name in COLUMNS[1:]), properties]).decode()
        elif self._id_from == "line":
            text = cells[0] if self.table.is_of_rejects else str(record.line)
        else:
            text = str(event["event_id"])
            if not text:
                return text
            try:
                return str(UUID(text))
            except ValueError:
                pass
        return str(uuid5(self._namespace_of(cells), text))

    def _namespace_of(self, cells: list[str]) -> UUID:
        """Return the namespace of a line. A rejected line keeps that of its file, so that it is the same event.

        Raises:
            InvalidRecord: it is no UUID.
            WeirError: it cannot follow from the first line.
        """
        if self._beginning is None and self.table.before > len(REJECT_COLUMNS) and cells[len(REJECT_COLUMNS)]:
            try:
                return UUID(cells[len(REJECT_COLUMNS)])
            except ValueError as error:
                raise rejection("not_a_uuid", NAMESPACE) from error
        return self.namespace

    def _found(self, mapping: dict[str, str]) -> tuple[dict[str, int], dict[str, str]]:
        """Say where each field stands, or what it always is. Raises WeirError."""
        unknown = sorted(mapping.keys() - set(COLUMNS))
        if unknown:
            raise WeirError(f"--map knows the fields {', '.join(COLUMNS)}, and no {', '.join(unknown)}")
        if self._id_from and ("event_id" in mapping or "event_id" in self.table.names):
            raise WeirError("the file has ids of its own: leave out --event-id")
        places: dict[str, int] = {}
        constants: dict[str, str] = {}
        lacking = []
        for name in COLUMNS:
            if name in mapping and mapping[name].startswith("="):
                constants[name] = mapping[name][1:]
            elif name in mapping:
                places[name] = self.table.index(mapping[name])
            elif name in self.table.names:
                places[name] = self.table.index(name)
            elif not (name == "event_id" and self._id_from) and not (
                name == "occurred_at" and self._layout.time_columns
            ):
                lacking.append(name)
        if lacking:
            raise MissingColumns(f"no column is known to hold {', '.join(lacking)}", lacking, self.table.names)
        if self._layout.time_columns:
            places.pop("occurred_at", None)
        return places, constants
