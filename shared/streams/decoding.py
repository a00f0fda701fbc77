"""From bytes to records: one JSON object, an array, lines or columns, each bad record told apart from its neighbours."""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, TypeVar

import msgspec

from shared.errors import InvalidRecord, TooLarge
from shared.streams.mending import mended

Record = TypeVar("Record", bound=msgspec.Struct)
Value = TypeVar("Value")

NDJSON = "application/x-ndjson"

#: What msgspec says of a record, and the stable word we say instead: its texts may change with its version.
_CODES = (
    ("missing required field", "missing"),
    ("out of range", "not_finite"),
    ("timezone component", "timestamp_without_offset"),
    ("datetime", "not_a_timestamp"),
    ("UUID", "not_a_uuid"), ("Expected `uuid`", "not_a_uuid"),
    ("Expected `float`", "not_a_number"),
    ("Expected `array", "not_an_array"),
    ("Expected `object", "not_an_object"),
    ("of length >= 1", "empty"), ("of length <=", "too_long"),
    ("Expected `int` ", "out_of_range"),
    ("Expected `int | str`", "not_a_text_or_integer"), ("Expected `str`", "not_a_text"),
)  # fmt: skip
_UNKNOWN_FIELD = "Object contains unknown field `"
_FIELD_AT_PATH = re.compile(r"at `\$\.(\w+)")
_FIELD_IN_TEXT = re.compile(r"field `(\w+)`")

#: What msgspec raises for a body that is no JSON; a ValidationError, its subclass, means that it is, but no record.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])

#: A name that the sender made up is cut here when columns become rows: it stands in each of them.
_NAME = 64


class Rejected(msgspec.Struct, frozen=True, omit_defaults=False):
    """One record that will not be kept: its place in the submission, why, and the field (None: the whole record)."""

    index: int
    code: str
    field: str | None


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

    def __init__(self, kind: type[Record]) -> None:
        self.fields = frozenset(kind.__struct_fields__)
        self._one = msgspec.json.Decoder(kind)
        self._many = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]

    def one(self, body: bytes) -> Record:
        """Decode a single object. Raises InvalidRecord (code `malformed` when it is no JSON at all)."""
        try:
            return _decode(self._one, body)
        except msgspec.ValidationError as error:
            raise invalid(error) from error

    def array(self, body: bytes, limit: int | None) -> Decoded[Record]:
        """Decode an array of objects. Raises InvalidRecord when it is no array, TooLarge when it is longer."""
        try:
            records = self._many.decode(body)
        except _NO_JSON:
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
    cells: dict[str, list[bytes]] = {}
    for name, column in columns.items():
        if bytes(column) != b"null":
            try:
                cells[name] = split_array(bytes(column))
            except InvalidRecord as error:
                raise rejection("not_an_array", _safe(name)) from error
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
            raise rejection("unequal_columns", _safe(name))


def require_at_most(limit: int | None, records: int) -> None:
    """Raise TooLarge when a submission brings more records than the limit."""
    if limit is not None and records > limit:
        raise TooLarge(f"a submission may bring {limit} records at most")


def items(body: bytes, media_type: str, fields: AbstractSet[str]) -> list[bytes]:
    """Return the records of a submission, each as JSON and as it was sent as far as JSON can say it."""
    if media_type == NDJSON:
        return split_lines(body)
    return split_columns(body, fields) if is_object(body) else split_array(body)


def is_object(body: bytes) -> bool:
    """Whether a body is columns; otherwise it should be an array."""
    return body.lstrip()[:1] == b"{"


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


def invalid(error: msgspec.ValidationError) -> InvalidRecord:
    """Say in our words what is wrong, and never with the sender's own text in it."""
    text = str(error)
    if text.startswith(_UNKNOWN_FIELD):  # the only text that holds a name of the sender's
        return rejection("unknown_field", _safe(text[len(_UNKNOWN_FIELD) :].removesuffix("`")))
    code = next((code for part, code in _CODES if part in text), "invalid")
    found = _FIELD_AT_PATH.search(text) or _FIELD_IN_TEXT.search(text)
    return InvalidRecord(code, found[1] if found else None, EXPLANATIONS.get(code, "is not valid"))


def rejection(code: str, field: str | None) -> InvalidRecord:
    """Make the error that goes with a code."""
    return InvalidRecord(code, field, EXPLANATIONS[code])


def _safe(name: str) -> str | None:
    """A field's name may be repeated when it is a plain identifier; anything else would be an echo."""
    return name if re.fullmatch(r"[A-Za-z_]\w{0,31}", name, re.ASCII) else None


EXPLANATIONS = {
    "missing": "is required",
    "unknown_field": "is not a field of this record",
    "not_finite": "must be a finite number in the range of a 64-bit float",
    "timestamp_without_offset": "needs an offset from UTC, such as Z or +02:00",
    "not_a_timestamp": "must be an RFC 3339 date and time, such as 2026-01-31T12:00:00Z",
    "timestamp_too_old": "is earlier than anything this service accepts",
    "timestamp_too_far_ahead": "is too far in the future",
    "not_a_uuid": "must be a UUID",
    "not_a_number": "must be a number",
    "not_an_array": "must be an array",
    "not_an_object": "must be an object",
    "empty": "must not be empty",
    "too_long": "is longer than 200 characters",
    "out_of_range": "must be an integer of 64 bits",
    "not_a_text_or_integer": "must be a text or an integer",
    "not_a_text": "must be a text",
    "unstorable_text": "holds NUL or half a surrogate pair, which cannot be stored",
    "too_many_bytes": "takes more than 16 KiB as JSON",
    "too_deep": "is nested more than 32 levels deep",
    "unequal_columns": "must be as long as the other columns",
    "malformed": "is not valid JSON in UTF-8",
    "unknown_device": "no device has this id",
}
