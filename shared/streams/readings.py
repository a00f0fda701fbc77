"""The stream of readings: one (x, y, z) of a device at a time."""

import math
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.streams.decoding import (
    LINES,
    Decoded,
    Decoder,
    is_object,
    items,
    require_at_most,
    same_length,
    split_columns,
)
from shared.streams.mending import signed, without_byte_order_mark
from shared.streams.reading_records import Columns, DeviceColumns, DeviceReading, Reading
from shared.streams.rejections import Rejected, rejection
from shared.streams.stream import PG_EPOCH, Cold, Encoded, Stream, Submission, TimeBounds, microseconds
from shared.streams.timestamps import has_long_fraction

#: One row as a binary COPY tuple: five fields, each after its length in bytes.
_TUPLE = struct.Struct(">h ii iq id id id")
_TUPLES = np.dtype(
    [
        ("fields", ">i2"),
        ("key_bytes", ">i4"), ("key", ">i4"),
        ("time_bytes", ">i4"), ("time", ">i8"),
        ("x_bytes", ">i4"), ("x", ">f8"),
        ("y_bytes", ">i4"), ("y", ">f8"),
        ("z_bytes", ">i4"), ("z", ">f8"),
    ]
)  # fmt: skip

#: Length of one row in bytes.
ROW_BYTES = _TUPLE.size

Column = Sequence[float] | NDArray[np.float64]

_reading = Decoder(Reading, "timestamp")
_device_reading = Decoder(DeviceReading, "timestamp")
_columns = msgspec.json.Decoder(Columns)
_device_columns = msgspec.json.Decoder(DeviceColumns)


def encode_one(body: bytes, key: int, now: int, bounds: TimeBounds) -> bytes:
    """Encode one reading of the device `key`, taken `now` (microseconds) unless it says otherwise.

    Raises:
        InvalidRecord: it breaks the schema or its timestamp is implausible.
    """
    reading = _reading.one(signed(without_byte_order_mark(body)))
    moment = now
    if reading.timestamp is not None:
        moment = microseconds(reading.timestamp)
        if moment < bounds.earliest:
            raise rejection("timestamp_too_old", "timestamp")
        if moment > bounds.latest:
            raise rejection("timestamp_too_far_ahead", "timestamp")
    return _TUPLE.pack(5, 4, key, 8, moment, 8, reading.x, 8, reading.y, 8, reading.z)


def decode_of_device(
    body: bytes, media_type: str, now: int, bounds: TimeBounds, key: int, limit: int | None = None
) -> Encoded:
    """Encode a batch of one device's readings. Raises InvalidRecord when it is no batch at all, or TooLarge."""
    columns, indices, rejected = _decode(body, media_type, limit, _reading, _columns)
    return _encode(columns, indices, rejected, [key] * len(columns.x), now, bounds)


def decode(body: bytes, media_type: str, now: int, bounds: TimeBounds, limit: int | None = None) -> Submission:
    """Decode a batch in which each reading names its device. Raises as `decode_of_device` does."""
    columns, indices, rejected = _decode(body, media_type, limit, _device_reading, _device_columns)
    device_ids: list[UUID] = columns.device_id  # type: ignore[attr-defined]

    def encode(keys: Mapping[UUID, int]) -> Encoded:
        return _encode(columns, indices, rejected, [keys.get(device_id, 0) for device_id in device_ids], now, bounds)

    return Submission(frozenset(device_ids), partial(items, body, media_type, _device_reading.fields), encode)


def pack(keys: ArrayLike, times: ArrayLike, x: Column, y: ArrayLike, z: ArrayLike) -> NDArray[np.void]:
    """Make binary COPY tuples of columns, one record each; times are as `microseconds` returns them."""
    rows = np.empty(len(x), _TUPLES)
    rows["fields"] = 5
    rows["key_bytes"] = 4
    for name in ("time", "x", "y", "z"):
        rows[f"{name}_bytes"] = 8
    rows["key"], rows["time"] = keys, times
    rows["x"], rows["y"], rows["z"] = x, y, z
    return rows


def table_of(rows: bytes) -> NDArray[np.void]:
    """Return binary COPY tuples as a table with `key`, `time`, `x`, `y` and `z`, without a copy. Raises ValueError."""
    return np.frombuffer(rows, _TUPLES)


def count(rows: bytes) -> int:
    """Count binary COPY tuples. Raises ValueError when they are cut."""
    records, rest = divmod(len(rows), ROW_BYTES)
    if rest:
        raise ValueError("the rows are cut")
    return records


def unpack(rows: bytes) -> list[tuple[int | None, dict[str, Any]]]:
    """Turn binary COPY tuples back into records, each after its device's key. What JSON cannot say becomes text.

    Raises:
        ValueError: they are cut or garbled, or from outside the years 1 to 9999.
    """
    found = table_of(rows)
    sizes = (("fields", 5), ("key_bytes", 4), *((f"{name}_bytes", 8) for name in ("time", "x", "y", "z")))
    if not all((found[name] == size).all() for name, size in sizes):
        raise ValueError("the rows are garbled")
    try:
        times = [PG_EPOCH + timedelta(microseconds=time) for time in found["time"].tolist()]
    except OverflowError as error:
        raise ValueError("a time is beyond the calendar") from error
    axes = ([_sayable(value) for value in found[name].tolist()] for name in ("x", "y", "z"))
    rest = zip(times, *axes, strict=True)
    records = [{"timestamp": time, "x": x, "y": y, "z": z} for time, x, y, z in rest]
    return list(zip(found["key"].tolist(), records, strict=True))


def _sayable(value: float) -> float | str:
    return value if math.isfinite(value) else {"nan": "NaN", "inf": "Infinity"}.get(str(value), "-Infinity")


def _decode(
    body: bytes,
    media_type: str,
    limit: int | None,
    decoder: Decoder[Any],
    columns_decoder: msgspec.json.Decoder[Any],
) -> tuple[Columns, Sequence[int], list[Rejected]]:
    """Bring every format into columns, with the place of each row in the submission."""
    body = signed(without_byte_order_mark(body))
    if media_type in LINES:
        decoded = decoder.lines(body, limit)
    elif is_object(body):
        try:
            columns = columns_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            columns = None
        if columns is not None and not has_long_fraction(body):
            same_length(msgspec.structs.asdict(columns))
            require_at_most(limit, len(columns.x))
            return columns, range(len(columns.x)), []
        decoded = decoder.each(split_columns(body, decoder.fields, limit), limit)
    else:
        decoded = decoder.array(body, limit)
    return _to_columns(decoded), decoded.indices, decoded.rejected


def _to_columns(decoded: Decoded[Any]) -> Columns:
    records = decoded.records
    columns: dict[str, Any] = {
        name: [getattr(record, name) for record in records] for name in ("x", "y", "z", "timestamp")
    }
    if records and isinstance(records[0], DeviceReading):
        return DeviceColumns(**columns, device_id=[record.device_id for record in records])
    return DeviceColumns(**columns, device_id=[])


def _encode(
    columns: Columns,
    indices: Sequence[int],
    rejected: list[Rejected],
    keys: Sequence[int],
    now: int,
    bounds: TimeBounds,
) -> Encoded:
    """Pack the rows whose device is known (its key is not 0) and whose time is plausible."""
    times = _times(columns.timestamp, now, len(columns.x))
    rows = pack(keys, times, columns.x, columns.y, columns.z)

    faults = (
        (rows["key"] == 0, "unknown_device", "device_id"),
        (rows["time"] < bounds.earliest, "timestamp_too_old", "timestamp"),
        (rows["time"] > bounds.latest, "timestamp_too_far_ahead", "timestamp"),
    )
    good: NDArray[np.bool_] = ~np.logical_or.reduce([fault for fault, _, _ in faults])
    if good.all():
        return Encoded(rows.tobytes(), len(rows), rejected)
    seen: set[int] = set()
    for fault, code, field in faults:
        for row in np.flatnonzero(fault).tolist():
            if row not in seen:
                seen.add(row)
                rejected.append(Rejected(indices[row], code, field))
    rejected.sort(key=lambda one: one.index)
    return Encoded(rows[good].tobytes(), int(good.sum()), rejected)


def _times(timestamps: Sequence[datetime | None] | None, now: int, count: int) -> Sequence[int]:
    if timestamps is None:
        return [now] * count
    return [now if moment is None else microseconds(moment) for moment in timestamps]


READINGS = Stream(
    name="readings",
    table="readings",
    columns=("device_key", "time", "x", "y", "z"),
    count=count,
    version=1,
    decode=decode,
    unpack=unpack,
    time_field="timestamp",
    is_dated_on_arrival=True,
    cold=Cold(
        {"device_key": "int32", "time": "time", "x": "float64", "y": "float64", "z": "float64"},
        order=("device_key", "time"),
        axes=("x", "y", "z"),
    ),
)
