"""From bytes to records: one JSON object, an array, lines or columns, each bad record told apart from its neighbours."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from shared.errors import InvalidRecord

Record = TypeVar("Record", bound=msgspec.Struct)

NDJSON = "application/x-ndjson"

#: What msgspec says of a record, and the stable word we say instead: its texts may change with its version.
_CODES = (
    ("missing required field", "missing"),
    ("unknown field", "unknown_field"),
    ("out of range", "out_of_range"),
    ("timezone component", "timestamp_without_offset"),
    ("datetime", "not_a_timestamp"),
    ("UUID", "not_a_uuid"),
    ("Expected `float`", "not_a_number"),
    ("Expected `array", "not_an_array"),
    ("Expected `object`", "not_an_object"),
)
_FIELD_AT_PATH = re.compile(r"at `\$(?:\[\.*\d*\])*\.(\w+)")
_FIELD_IN_TEXT = re.compile(r"field `([A-Za-z_]\w{0,31})`", re.ASCII)

#: Stands where JSON would have NaN or Infinity: no schema accepts it, so its field is found like any other bad one.
_NOT_FINITE = object()


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
    """
    Decodes one kind of record.

    Whole submissions take the fast path first; only one with something wrong in it is looked at record by record.
    """

    def __init__(self, kind: type[Record]) -> None:
        self._kind = kind
        self._one = msgspec.json.Decoder(kind)
        self._many = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]

    def one(self, body: bytes) -> Record:
        """Decode a single object. Raises InvalidRecord (code `malformed` when it is no JSON at all)."""
        try:
            return self._one.decode(body)
        except msgspec.ValidationError as error:
            raise invalid(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.convert(lenient(body))

    def array(self, body: bytes) -> Decoded[Record]:
        """Decode an array of objects. Raises InvalidRecord when it is no array."""
        try:
            records = self._many.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            items = lenient(body)
            if not isinstance(items, list):
                raise InvalidRecord("not_an_array", None, "the body must be a JSON array") from None
            return self.each(items)
        return Decoded(records, range(len(records)), [])

    def lines(self, body: bytes) -> Decoded[Record]:
        """Decode one object per line; empty lines do not count."""
        lines = [line for line in body.split(b"\n") if line.strip()]
        try:
            records = [self._one.decode(line) for line in lines]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._sift(self.one, lines)
        return Decoded(records, range(len(records)), [])

    def each(self, items: Iterable[object]) -> Decoded[Record]:
        """Convert objects that are parsed already, one by one."""
        return self._sift(self.convert, items)

    def convert(self, item: object) -> Record:
        """Convert one parsed object under the same rules as `one`. Raises InvalidRecord."""
        if isinstance(item, dict):
            for name, value in item.items():
                if value is _NOT_FINITE or (isinstance(value, float) and not math.isfinite(value)):
                    raise InvalidRecord("not_finite", _safe(name), "must be a finite number")
        try:
            return msgspec.convert(item, self._kind)
        except msgspec.ValidationError as error:
            raise invalid(error) from error

    def _sift(self, decode: Any, items: Iterable[Any]) -> Decoded[Record]:
        records: list[Record] = []
        indices: list[int] = []
        rejected: list[Rejected] = []
        for index, item in enumerate(items):
            try:
                records.append(decode(item))
                indices.append(index)
            except InvalidRecord as error:
                rejected.append(Rejected(index, error.code, error.field))
        return Decoded(records, indices, rejected)


def lenient(body: bytes) -> Any:
    """
    Parse JSON that may hold NaN or Infinity, so that the field that does can be named.

    Raises:
        InvalidRecord: `malformed`, it is no JSON in UTF-8.
    """
    try:
        return json.loads(body.decode(), parse_constant=lambda _: _NOT_FINITE)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise InvalidRecord("malformed", None, "the body is not valid JSON in UTF-8") from error


def invalid(error: msgspec.ValidationError) -> InvalidRecord:
    """Say in our words what is wrong, and never with the sender's own text in it."""
    text = str(error)
    code = next((code for part, code in _CODES if part in text), "invalid")
    found = _FIELD_AT_PATH.search(text) or _FIELD_IN_TEXT.search(text)
    return InvalidRecord(code, found[1] if found else None, EXPLANATIONS.get(code, "is not valid"))


def _safe(name: str) -> str | None:
    """A field's name may be repeated when it is a plain identifier; anything else would be an echo."""
    return name if re.fullmatch(r"[A-Za-z_]\w{0,31}", name, re.ASCII) else None


EXPLANATIONS = {
    "missing": "is required",
    "unknown_field": "is not a field of this record",
    "out_of_range": "is outside the range of a 64-bit float",
    "not_finite": "must be a finite number",
    "timestamp_without_offset": "needs an offset from UTC, such as Z or +02:00",
    "not_a_timestamp": "must be an RFC 3339 date and time, such as 2026-01-31T12:00:00Z",
    "timestamp_too_old": "is earlier than any reading this service accepts",
    "timestamp_too_far_ahead": "is too far in the future",
    "not_a_uuid": "must be a UUID",
    "not_a_number": "must be a number",
    "not_an_array": "must be an array",
    "not_an_object": "must be an object",
    "unequal_columns": "must be as long as the other columns",
    "malformed": "is not valid JSON in UTF-8",
    "unknown_device": "no device has this id",
}
