"""A segment: the events that a question is about, by their type or by one of their properties."""

import math
import re
from typing import NamedTuple

from shared.errors import InvalidRecord

#: Properties are at most this deep.
_DEPTH = 32
_LONGEST = 1000
#: A number as JSON writes it (RFC 8259).
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?P<rest>(?:\.\d+)?(?:[eE][+-]?\d+)?)", re.ASCII)


class Segment(NamedTuple):
    """Events whose field at `path` is this text or boolean; or this number, where it is one.

    Integers are equal as integers, whatever their size; other numbers as 64-bit floats.
    """

    #: ("event_type",), or ("properties", name, name within it, ...).
    path: tuple[str, ...]
    value: str

    @property
    def is_number(self) -> bool:
        return _NUMBER.fullmatch(self.value) is not None

    @property
    def integer(self) -> str | None:
        """The value in the one way to write an integer, if it is written as one."""
        found = _NUMBER.fullmatch(self.value)
        return str(int(self.value)) if found and not found["rest"] else None

    @property
    def number(self) -> float | None:
        """The value as a float, if it is a number that one can hold."""
        return float(self.value) if self.is_number and math.isfinite(float(self.value)) else None


def parse(text: str) -> Segment:
    """Read `event_type:VALUE` or `properties.NAME:VALUE`; NAME.NAME reaches into an object, VALUE may hold colons.

    Raises:
        InvalidRecord: it is neither.
    """
    where, _, value = text.partition(":")
    path = tuple(where.split("."))
    known = path == ("event_type",) or (path[0] == "properties" and 1 < len(path) <= _DEPTH and all(path))
    if not (known and value and len(text) <= _LONGEST and "\0" not in text):
        raise InvalidRecord("invalid_segment", "segment", "must be event_type:VALUE or properties.NAME:VALUE")
    return Segment(path, value)
