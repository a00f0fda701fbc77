"""A segment: the events that a question is about, by their type or by one of their properties."""

from typing import NamedTuple

from shared.errors import InvalidRecord

#: Properties are at most this deep.
_DEPTH = 32
_LONGEST = 1000


class Segment(NamedTuple):
    """Events whose field at `path` has this text. A number or boolean has the text it has in JSON."""

    #: ("event_type",), or ("properties", name, name within it, ...).
    path: tuple[str, ...]
    value: str


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
