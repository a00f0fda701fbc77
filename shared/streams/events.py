"""The stream of events: what a user did, and when, stored once by its id."""

import re
import struct
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec

from shared.errors import InvalidRecord
from shared.streams.decoding import LINES, Decoder, is_object, malformed, split_array, split_lines
from shared.streams.mending import without_byte_order_mark
from shared.streams.rejections import Rejected, rejection
from shared.streams.stream import (
    PG_EPOCH,
    Cold,
    Encoded,
    Stream,
    Submission,
    TimeBounds,
    Timestamp,
    count_rows,
    microseconds,
)

#: Most bytes of an event's properties as JSON, and levels in them.
PROPERTIES_BYTES, PROPERTIES_DEPTH = 16 * 1024, 32

#: Longest user id and event type, in characters.
TEXT_LIMIT = 200

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LIMIT)]
Number = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class Event(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends. A user that is a number is known by its text."""

    event_id: UUID
    occurred_at: Timestamp
    user_id: Text | Number
    event_type: Text
    properties: dict[str, Any] | None = None


#: One row as a binary COPY tuple: five fields, each after its length in bytes. jsonb begins with its version, 1.
_ID_AND_TIME = struct.Struct(">h i16s iq i")
_LENGTH = struct.Struct(">i")
_PROPERTIES = struct.Struct(">iB")
_FIELDS, _JSONB = 5, 1

_events = Decoder(Event, "occurred_at")
_encode_json = msgspec.json.Encoder().encode
#: NUL in a text as our encoder writes it, and not a backslash that `u0000` follows.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def decode(body: bytes, media_type: str, _now: int, bounds: TimeBounds, limit: int | None = None) -> Submission:
    """Decode one event, an array of them, or one per line.

    Raises:
        InvalidRecord: it is none of these.
        TooLarge: it brings more than `limit`.
    """
    body = without_byte_order_mark(body)
    if media_type in LINES:
        decoded = _events.lines(body, limit)
    elif is_object(body):
        decoded = _events.each([body], limit)
        if any(one.code == "malformed" for one in decoded.rejected):
            raise malformed(body)
    else:
        decoded = _events.array(body, limit)

    def encode(_keys: Mapping[UUID, int]) -> Encoded:
        return _encode(decoded.records, decoded.indices, decoded.rejected, bounds)

    return Submission(frozenset(), partial(items, body, media_type), encode)


def items(body: bytes, media_type: str) -> list[bytes]:
    """Return the events of a submission, each as it was sent."""
    body = without_byte_order_mark(body)
    if media_type in LINES:
        return split_lines(body)
    return [body] if is_object(body) else split_array(body)


def unpack(rows: bytes) -> list[tuple[int | None, dict[str, Any]]]:
    """Turn binary COPY tuples back into events; they have no device.

    Raises:
        ValueError: they are cut or garbled, or from outside the years 1 to 9999.
    """
    found: list[tuple[int | None, dict[str, Any]]] = []
    start = 0
    try:
        while start < len(rows):
            fields, id_bytes, event_id, time_bytes, time, length = _ID_AND_TIME.unpack_from(rows, start)
            user_id, start = _text(rows, start + _ID_AND_TIME.size, length)
            (length,) = _LENGTH.unpack_from(rows, start)
            event_type, start = _text(rows, start + _LENGTH.size, length)
            length, version = _PROPERTIES.unpack_from(rows, start)
            properties, start = _text(rows, start + _PROPERTIES.size, length - 1)
            if (fields, id_bytes, time_bytes, version) != (_FIELDS, 16, 8, _JSONB):
                raise ValueError("the rows are garbled")
            record = {
                "event_id": UUID(bytes=event_id),
                "occurred_at": PG_EPOCH + timedelta(microseconds=time),
                "user_id": user_id,
                "event_type": event_type,
                "properties": msgspec.json.decode(properties),
            }
            found.append((None, record))
    except (struct.error, OverflowError, msgspec.DecodeError, RecursionError) as error:
        raise ValueError("the rows are garbled") from error
    return found


def _text(rows: bytes, start: int, length: int) -> tuple[str, int]:
    end = start + length
    if not start <= end <= len(rows):
        raise ValueError("the rows are garbled")
    return str(rows[start:end], "utf-8"), end


def _encode(events: Sequence[Event], indices: Sequence[int], rejected: list[Rejected], bounds: TimeBounds) -> Encoded:
    """Pack the events that PostgreSQL can store and whose time is plausible."""
    rows: list[bytes] = []
    for index, event in zip(indices, events, strict=True):
        try:
            rows.append(_row(event, bounds))
        except InvalidRecord as error:
            rejected.append(Rejected(index, error.code, error.field))
    rejected.sort(key=lambda one: one.index)
    return Encoded(b"".join(rows), len(rows), rejected)


def _row(event: Event, bounds: TimeBounds) -> bytes:
    """Encode one event as a binary COPY tuple. Raises InvalidRecord."""
    moment = microseconds(event.occurred_at)
    if moment < bounds.earliest:
        raise rejection("timestamp_too_old", "occurred_at")
    if moment > bounds.latest:
        raise rejection("timestamp_too_far_ahead", "occurred_at")
    user_id, event_type = str(event.user_id), event.event_type
    if user_id.isspace():
        raise rejection("empty", "user_id")
    if event_type.isspace():
        raise rejection("empty", "event_type")
    if "\0" in user_id:
        raise rejection("unstorable_text", "user_id")
    if "\0" in event_type:
        raise rejection("unstorable_text", "event_type")
    user, kind, properties = user_id.encode(), event_type.encode(), _properties(event.properties or {})
    return b"".join(
        (
            _ID_AND_TIME.pack(_FIELDS, 16, event.event_id.bytes, 8, moment, len(user)),
            user,
            _LENGTH.pack(len(kind)),
            kind,
            _PROPERTIES.pack(1 + len(properties), _JSONB),
            properties,
        )
    )


def _properties(properties: dict[str, Any]) -> bytes:
    """Encode properties as jsonb takes them. Raises InvalidRecord."""
    encoded = _encode_json(properties)
    if len(encoded) > PROPERTIES_BYTES:
        raise rejection("too_many_bytes", "properties")
    # Brackets are counted first, and texts looked at, because nearly always that is enough.
    if encoded.count(b"{") + encoded.count(b"[") > PROPERTIES_DEPTH and _depth(properties) > PROPERTIES_DEPTH:
        raise rejection("too_deep", "properties")
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise rejection("unstorable_text", "properties")
    return encoded


def _depth(value: Any) -> int:
    """Count levels: a bare value has none."""
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


EVENTS = Stream(
    name="events",
    table="events",
    columns=("event_id", "time", "user_id", "event_type", "properties"),
    count=count_rows,
    version=1,
    decode=decode,
    unpack=unpack,
    time_field="occurred_at",
    cold=Cold(
        {"event_id": "string", "time": "time", "user_id": "string", "event_type": "words", "properties": "string"},
        order=("time", "event_id"),
    ),
    identity="event_id",
)
