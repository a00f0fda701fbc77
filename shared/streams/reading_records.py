"""What a device and a gateway may send: one reading, or many by column."""

from uuid import UUID

import msgspec

from shared.streams.stream import Timestamp


class Reading(msgspec.Struct, forbid_unknown_fields=True):
    """What a device sends. Without a timestamp it counts as taken when it was accepted."""

    x: float
    y: float
    z: float
    timestamp: Timestamp | None = None


class DeviceReading(Reading, forbid_unknown_fields=True, kw_only=True):
    """What a gateway sends: a reading that names its device."""

    device_id: UUID


class Columns(msgspec.Struct, forbid_unknown_fields=True):
    """Many readings of one device, column by column."""

    x: list[float]
    y: list[float]
    z: list[float]
    timestamp: list[Timestamp | None] | None = None


class DeviceColumns(Columns, forbid_unknown_fields=True, kw_only=True):
    """Many readings of several devices, column by column."""

    device_id: list[UUID]
