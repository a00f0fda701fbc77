"""Why a record is not kept: a stable word for each reason, and what it means."""

import re

import msgspec

from shared.errors import InvalidRecord

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


class Rejected(msgspec.Struct, frozen=True, omit_defaults=False):
    """One record that will not be kept: its place in the submission, why, and the field (None: the whole record)."""

    index: int
    code: str
    field: str | None


def invalid(error: msgspec.ValidationError) -> InvalidRecord:
    """Say in our words what is wrong, and never with the sender's own text in it."""
    text = str(error)
    if text.startswith(_UNKNOWN_FIELD):  # the only text that holds a name of the sender's
        return rejection("unknown_field", safe_name(text[len(_UNKNOWN_FIELD) :].removesuffix("`")))
    code = next((code for part, code in _CODES if part in text), "invalid")
    found = _FIELD_AT_PATH.search(text) or _FIELD_IN_TEXT.search(text)
    return InvalidRecord(code, found[1] if found else None, EXPLANATIONS.get(code, "is not valid"))


def rejection(code: str, field: str | None) -> InvalidRecord:
    """Make the error that goes with a code."""
    return InvalidRecord(code, field, EXPLANATIONS[code])


def safe_name(name: str) -> str | None:
    """A field's name may be repeated when it is a plain identifier; anything else would be an echo."""
    return name if re.fullmatch(r"[A-Za-z_]\w{0,31}", name, re.ASCII) else None


EXPLANATIONS = {
    "missing": "is required",
    "unknown_field": "is not a field of this record",
    "not_finite": "must be a finite number in the range of a 64-bit float, written as in JSON: 0.5 and not .5, no nan, no +",
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
