"""The cell of a file of events that holds a JSON object of properties."""

from uuid import UUID

import msgspec

from shared.streams import events
from shared.streams.rejections import rejection
from shared.streams.stream import JSON, TimeBounds

#: The column's name, as exports write it.
PROPERTIES = "properties"

#: An event in which nothing but its properties can be wrong.
_PROBE = b'{"event_id":"%s","user_id":"u","event_type":"t","occurred_at":"2000-01-01T00:00:00Z","properties":%%s}'
_PROBE %= str(UUID(int=0)).encode()
_ANY_TIME = TimeBounds(-(1 << 63), (1 << 63) - 1)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def properties_of(cell: str) -> dict[str, msgspec.Raw]:
    """Read a JSON object; its values stay as they are written, so that no number changes. Raises InvalidRecord."""
    try:
        found = _members.decode(cell)
    except msgspec.ValidationError as error:
        raise rejection("not_an_object", PROPERTIES) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise rejection("malformed", PROPERTIES) from error
    # Where there may be too much of it, the API's rules are asked here: nested deeply enough, it spoils its whole chunk.
    if len(cell) > events.PROPERTIES_BYTES or cell.count("{") + cell.count("[") > events.PROPERTIES_DEPTH:
        judged = events.decode(_PROBE % cell.encode(), JSON, 0, _ANY_TIME).encode({})
        if judged.rejected:
            raise rejection(judged.rejected[0].code, PROPERTIES)
    return found
