"""A scope: records of which stream, of whom, and of which time."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from shared.streams import READINGS, Stream


@dataclass(frozen=True)
class Scope:
    """Records of these devices (None: all) with start <= time < end; None leaves that end open."""

    device_keys: tuple[int, ...] | None
    start: datetime | None = None
    end: datetime | None = None
    stream: Stream = READINGS

    def of_device(self, key: int) -> Self:
        return replace(self, device_keys=(key,))

    def within(self, start: datetime, end: datetime) -> Self:
        """The part of it that lies in a shorter window."""
        return replace(
            self,
            start=start if self.start is None else max(start, self.start),
            end=end if self.end is None else min(end, self.end),
        )

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """Return what follows WHERE, with %(names)s, and the parameters."""
        found: list[str] = []
        if self.device_keys is not None and len(self.device_keys) == 1:
            found.append("device_key = %(key)s")
        elif self.device_keys is not None:
            found.append("device_key = ANY(%(keys)s)")
        if self.start is not None:
            found.append("time >= %(start)s")
        if self.end is not None:
            found.append("time < %(end)s")
        keys = list(self.device_keys or ())
        parameters = {"key": keys[0] if keys else None, "keys": keys, "start": self.start, "end": self.end}
        return " AND ".join(found) or "true", parameters
