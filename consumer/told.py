"""What a message of ours tells in its headers: enough to count it, without a look into its body."""

from typing import NamedTuple, Self
from uuid import UUID

from shared.broker.content import Message
from shared.broker.messages import MINUTE, REACHED, RECORDS, SERIES
from shared.errors import InvalidRecord

#: Minutes since 1970 of the year 9999, the last that a timestamptz of ours needs to hold.
_LAST_MINUTE = 253_402_300_800 // 60
#: More records than a series of one minute can reach, with room in PostgreSQL's bigint.
_MOST_REACHED = 1 << 48


class Told(NamedTuple):
    """Records, the minute in which they were accepted, and how far their series had come with them."""

    records: int
    minute: int
    series: UUID | None
    reached: int

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read them. Raises InvalidRecord."""
        headers = message.properties.headers or {}
        records, minute = headers.get(RECORDS), headers.get(MINUTE)
        if not (isinstance(records, int) and isinstance(minute, int) and 0 < records < _MOST_REACHED):
            raise InvalidRecord("malformed", None, "a header is missing or of another type")
        if not 0 < minute < _LAST_MINUTE:
            raise InvalidRecord("malformed", None, "the minute of the message is not plausible")
        series, reached = headers.get(SERIES), headers.get(REACHED)
        if series is None:
            return cls(records, minute, None, 0)
        try:
            if isinstance(series, str) and isinstance(reached, int) and records <= reached < _MOST_REACHED:
                return cls(records, minute, UUID(series), reached)
        except ValueError:
            pass
        raise InvalidRecord("malformed", None, "the series of the message is not plausible")
