"""The order in which readings are listed, newest first, and the places in it where a page may begin."""

import base64
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self
from uuid import UUID

from shared.errors import InvalidRecord
from shared.streams.stream import PG_EPOCH, microseconds

#: Later than any place, with room for the microsecond after it.
_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST_KEY = 2_147_483_647


class Found(NamedTuple):
    """A stored reading. Of one time the newest device comes first; x, y, z only make the order one that stays."""

    time: datetime
    key: int
    x: float
    y: float
    z: float
    id: UUID | str

    @property
    def rank(self) -> tuple[float, ...]:
        return (-microseconds(self.time), -self.key, self.x, self.y, self.z)


class Place(NamedTuple):
    """Where a page begins: behind so many readings that are just like this one.

    It says nothing of where those are, so it stays the same place when they are sealed.
    """

    time: int
    key: int
    x: float
    y: float
    z: float
    alike: int

    @property
    def moment(self) -> datetime:
        """Raises OverflowError outside the years 1 to 9999."""
        return PG_EPOCH + timedelta(microseconds=self.time)

    @classmethod
    def after(cls, shown: Sequence[Found], before: Self | None) -> Self:
        """The place behind a page that began at the place before."""
        last = shown[-1]
        alike = sum(one[:5] == last[:5] for one in shown)
        place = cls(microseconds(last.time), *last[1:5], alike)
        return place._replace(alike=alike + before.alike) if before and place[:5] == before[:5] else place

    def token(self) -> str:
        return base64.urlsafe_b64encode("|".join(map(repr, self)).encode()).decode().rstrip("=")

    @classmethod
    def of(cls, token: str) -> Self:
        """Read a token. Raises InvalidRecord."""
        try:
            time, key, x, y, z, alike = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().split("|")
            place = cls(int(time), int(key), float(x), float(y), float(z), int(alike))
            plausible = (
                place.moment < _END_OF_TIME and 0 < place.key <= _LARGEST_KEY and 0 < place.alike <= _LARGEST_KEY
            )
        except (ValueError, OverflowError) as error:
            raise InvalidRecord("invalid_cursor", "cursor", "must be taken from a Link header") from error
        if not plausible or not all(map(math.isfinite, place[2:5])):
            raise InvalidRecord("invalid_cursor", "cursor", "must be taken from a Link header")
        return place


def since_1970(moment: datetime) -> int:
    """Microseconds since 1970, as cold files have a time."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """The way back. Raises OverflowError outside the years 1 to 9999."""
    return _EPOCH + microseconds * _MICROSECOND
