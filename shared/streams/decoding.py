"""From bytes to records: one JSON object, an array, lines or columns, each bad record told apart from its neighbours."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, TypeVar

import msgspec

from shared.errors import InvalidRecord, TooLarge
from shared.streams.mending import mended, without_byte_order_mark
from shared.streams.rejections import Rejected, invalid, rejection, safe_name
from shared.streams.timestamps import has_long_fraction, normalized

Record = TypeVar("Record", bound=msgspec.Struct)
Value = TypeVar("Value")

NDJSON = "application/x-ndjson"
#: Every name under which one JSON object per line is sent; none of them is registered.
LINES = frozenset(
    f"application/{prefix}{name}" for prefix in ("", "x-") for name in ("ndjson", "jsonl", "jsonlines", "json-lines")
)

#: What a timestamp is rejected with that may be good once it is written in another form.
_OF_TIMESTAMPS = ("not_a_timestamp", "timestamp_without_offset")
#: What msgspec raises for a body that is no JSON; a ValidationError, its subclass, means that it is, but no record.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)

#: A name that the sender made up is cut here when columns become rows: it stands in each of them.
_NAME = 64


class Decoded(NamedTuple, Generic[Record]):
    """The valid records of a submission, where each stood in it, and the others."""

    records: Sequence[Record]
    indices: Sequence[int]
    rejected: list[Rejected]


class Decoder(Generic[Record]):
    """Decodes one kind of record.

    Whole submissions take the fast path first; only one with something wrong in it is split, and then each record is
    decoded by itself, so that it gets the same verdict in every format.
    """

    def __init__(self, kind: type[Record], time_field: str) -> None:
        self.fields = frozenset(kind.__struct_fields__)
        self._time_field = time_field
        self._one = msgspec.json.Decoder(kind)
        self._many = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]

    def one(self, body: bytes) -> Record:
        """Decode a single object. Raises InvalidRecord (code `malformed` when it is no JSON at all)."""
        if has_long_fraction(body):
            body = self._with_timestamp_normalized(body)
        try:
            return _decode(self._one, body)
        except msgspec.ValidationError as error:
            fault = invalid(error)
        if fault.code not in _OF_TIMESTAMPS:
            raise fault
        try:
            return _decode(self._one, self._with_timestamp_normalized(body))
        except msgspec.ValidationError as error:
            raise invalid(error) from error

    def _with_timestamp_normalized(self, body: bytes) -> bytes:
        """Write the record's own timestamp as `normalized` does, and leave whatever else has that form as it is."""
        try:
            fields = _object.decode(body)
            text = _text.decode(fields[self._time_field])
        except (*_NO_JSON, KeyError):
            return body
        named = {name: bytes(value) for name, value in fields.items()}
        named[self._time_field] = msgspec.json.encode(normalized(text))
        return b"{" + b",".join(msgspec.json.encode(name) + b":" + value for name, value in named.items()) + b"}"

    def array(self, body: bytes, limit: int | None) -> Decoded[Record]:
        """Decode an array of objects. Raises InvalidRecord when it is no array, TooLarge when it is longer."""
        try:
            records = self._many.decode(body)
        except _NO_JSON:
            return self.each(split_array(body, limit), limit)
        if has_long_fraction(body):
            return self.each(split_array(body, limit), limit)
        require_at_most(limit, len(records))
        return Decoded(records, range(len(records)), [])

    def lines(self, body: bytes, limit: int | None) -> Decoded[Record]:
        """Decode one object per line; empty lines do not count. Raises TooLarge."""
        lines = split_lines(body)
        require_at_most(limit, len(lines))
        try:
            records = [self._one.decode(line) for line in lines]
        except _NO_JSON:
            return self.each(lines, limit)
        if has_long_fraction(body):
            return self.each(lines, limit)
        return Decoded(records, range(len(records)), [])

    def each(self, bodies: Sequence[bytes], limit: int | None) -> Decoded[Record]:
        """Decode objects one by one. Raises TooLarge before it begins: this takes its time."""
        require_at_most(limit, len(bodies))
        records: list[Record] = []
        indices: list[int] = []
        rejected: list[Rejected] = []
        for index, body in enumerate(bodies):
            try:
                records.append(self.one(body))
                indices.append(index)
            except InvalidRecord as error:
                rejected.append(Rejected(index, error.code, error.field))
        return Decoded(records, indices, rejected)


def split_lines(body: bytes) -> list[bytes]:
    """Split lines, without the empty ones."""
    return [line for line in body.split(b"\n") if line.strip()]


def split_array(body: bytes, limit: int | None = None) -> list[bytes]:
    """Split an array without a look into its elements. Raises InvalidRecord when it is none, TooLarge."""
    try:
        elements = _decode(_array, body)
    except msgspec.ValidationError as error:
        raise rejection("not_an_array", None) from error
    require_at_most(limit, len(elements))
    return [bytes(element) for element in elements]


def split_columns(body: bytes, fields: AbstractSet[str], limit: int | None = None) -> list[bytes]:
    """Turn columns into objects, one per row. A column that is null has a null in every row.

    Of the columns that are none of the schema's fields the first one stands for all, and not with its whole name: it
    is enough to reject each row, and all of them in each row could be far more than was sent.

    Raises:
        InvalidRecord: one is no column, or not as long as the others.
        TooLarge: there are more rows than the limit.
    """
    try:
        columns = _decode(_object, body)
    except msgspec.ValidationError as error:
        raise rejection("not_an_object", None) from error
    except InvalidRecord as error:
        raise malformed(body) from error
    cells: dict[str, list[bytes]] = {}
    for name, column in columns.items():
        if bytes(column) != b"null":
            try:
                cells[name] = split_array(bytes(column))
            except InvalidRecord as error:
                raise rejection("not_an_array", safe_name(name)) from error
    same_length(cells)
    count = len(next(iter(cells.values()))) if cells else 1
    require_at_most(limit, count)
    unknown = next((name for name in columns if name not in fields), None)
    nulls = [b"null"] * count
    named = [
        (msgspec.json.encode(name[:_NAME]) + b":", cells.get(name, nulls))
        for name in columns
        if name in fields or name == unknown
    ]
    return [b"{" + b",".join([name + values[row] for name, values in named]) + b"}" for row in range(count)]


def same_length(columns: Mapping[str, Sequence[object] | None]) -> None:
    """Raise InvalidRecord unless all columns that are there are equally long."""
    lengths = {name: len(values) for name, values in columns.items() if values is not None}
    for name, length in lengths.items():
        if length != next(iter(lengths.values())):
            raise rejection("unequal_columns", safe_name(name))


def require_at_most(limit: int | None, records: int) -> None:
    """Raise TooLarge when a submission brings more records than the limit."""
    if limit is not None and records > limit:
        raise TooLarge(f"a submission may bring {limit} records at most")


def items(body: bytes, media_type: str, fields: AbstractSet[str]) -> list[bytes]:
    """Return the records of a submission, each as JSON and as it was sent as far as JSON can say it."""
    body = without_byte_order_mark(body)
    if media_type in LINES:
        return split_lines(body)
    return split_columns(body, fields) if is_object(body) else split_array(body)


def is_object(body: bytes) -> bool:
    """Whether a body is columns; otherwise it should be an array."""
    return body.lstrip()[:1] == b"{"


def malformed(body: bytes) -> InvalidRecord:
    """Make the error of a body that is no JSON: where each of its lines is, say how to send lines."""
    first, _, rest = body.lstrip().partition(b"\n")
    if rest.strip() and is_object(first):
        try:
            _object.decode(first)
        except _NO_JSON:
            return rejection("malformed", None)
        return InvalidRecord("malformed", None, f"is not one JSON value; send lines as Content-Type: {NDJSON}")
    return rejection("malformed", None)


def _decode(decoder: msgspec.json.Decoder[Value], body: bytes) -> Value:
    """Decode a body, also one that holds what JSON does not have. Raises ValidationError, or InvalidRecord."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except _NO_JSON as error:
        fault = error
    try:
        return decoder.decode(mended(body))
    except msgspec.ValidationError:
        raise
    except _NO_JSON:
        raise rejection("malformed", None) from fault
