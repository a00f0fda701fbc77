"""What rows on their way out look like: tables of Arrow, in the order of cold files."""

from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")
_AXES = [(name, pa.float64()) for name in ("x", "y", "z")]

#: Readings while hot and cold ones are brought together.
ROWS = pa.schema([("device_key", pa.int32()), ("device_id", pa.string()), ("time", TIME), *_AXES])
#: Readings as every format has them. A CSV of them is what `weir import readings` takes.
READINGS = pa.schema([("device_id", pa.string()), ("timestamp", TIME), *_AXES])

#: What a column of strings holds that needs care: any text, or JSON.
HOLDS, TEXT, JSON = b"holds", b"text", b"json"
#: Events as every format has them.
EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        pa.field("user_id", pa.string(), metadata={HOLDS: TEXT}),
        pa.field("event_type", pa.string(), metadata={HOLDS: TEXT}),
        ("occurred_at", TIME),
        pa.field("properties", pa.string(), metadata={HOLDS: JSON}),
    ]
)

#: Rows that are in hand at one time: enough that the interpreter is not what costs, and few enough to be soon done.
BATCH = 16_384


class Place(NamedTuple):
    """A device's key and a time: where rows begin, or end, in the order of cold files."""

    key: int
    time: datetime
