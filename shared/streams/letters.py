"""What stands in a dead letter: its records as JSON."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from shared.errors import InvalidRecord, TooLarge
from shared.streams.stream import COPY, JSON, Stream, TimeBounds

#: More records than any message holds.
_ANY = 1 << 31
_NO_BOUNDS = TimeBounds(0, 0)


def device_keys(stream: Stream, body: bytes, content_type: str) -> set[int]:
    """Return the keys of the devices in a body of COPY tuples; none where it is something else, or has no devices."""
    if content_type != COPY:
        return set()
    try:
        return {key for key, _ in stream.unpack(body) if key is not None}
    except ValueError:
        return set()


def records_of(
    stream: Stream, body: bytes, content_type: str, devices: Mapping[int, UUID], *, whole: bool
) -> list[bytes] | None:
    """Return the records of a letter, each as JSON and as it was sent as far as JSON can say it, or None.

    None: the body cannot be read, or it belongs to a device that nobody knows. `whole`: it is a message, not a record.
    """
    if content_type == COPY:
        try:
            return [
                msgspec.json.encode(record if key is None else {"device_id": devices[key]} | record)
                for key, record in stream.unpack(body)
            ] or None
        except (ValueError, KeyError):
            return None
    if not whole:
        # What is no JSON goes as one text, lest it become two records in an array.
        value = shown(body)
        return [msgspec.json.encode(value) if isinstance(value, str) else body]
    try:
        return stream.decode(body, content_type or JSON, 0, _NO_BOUNDS, _ANY).items()
    except (InvalidRecord, TooLarge):
        return None


def dated(stream: Stream, record: bytes, moment: datetime) -> bytes:
    """Write the moment into a record that has none and may be without; another one stays as it is, byte for byte."""
    if not stream.is_dated_on_arrival:
        return record
    value = shown(record)
    if not isinstance(value, dict) or value.get(stream.time_field) is not None:
        return record
    return msgspec.json.encode(value | {stream.time_field: moment})


def joined(records: list[bytes]) -> bytes:
    """Make the body of a JSON message."""
    return b"[" + b",".join(records) + b"]"


def shown(record: bytes) -> Any:
    """Decode a record for people; what is no JSON is shown as text."""
    try:
        return msgspec.json.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return record.decode("utf-8", "replace")


def device_of(record: bytes) -> UUID | None:
    """Return the device that a record names, if it does."""
    value = shown(record)
    try:
        return UUID(value["device_id"])
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
