"""Timestamps as people and programs write them, brought into the one form that everything reads.

One rule for every way in (bodies, windows, files, other producers): what is finer than a microsecond is cut off, never
rounded, so a record stays in its own second and day. 23:59:60 in UTC, which RFC 3339 has for leap seconds, is the last
microsecond of its day. An offset may be short, as PostgreSQL writes it: +00, +0530.
"""

import re
from datetime import UTC, datetime, timedelta

import numpy as np

_TIMESTAMP = re.compile(
    r"(?P<minute>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r"(?P<offset>[Zz]|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_LEAP_SECOND = "60"
#: A time of day with more than six digits behind its seconds. The same is found without a regular expression below.
_LONG_FRACTION = re.compile(rb"\d:\d\d\.\d{7}")
#: Bodies above so many bytes are looked through with numpy, which takes a tenth of the time and begins later.
_SMALL = 2_000


def normalized(text: str) -> str:
    """Return a timestamp in the form YYYY-MM-DDTHH:MM:SS.ffffff±HH:MM; whatever is none comes back as it is."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        return text
    second, fraction, offset = found["second"] or "00", (found["fraction"] or "")[:6], found["offset"] or ""
    if len(offset) > 1:
        offset = f"{offset[:3]}:{offset[3:].removeprefix(':') or '00'}"
    if second == _LEAP_SECOND:
        second, fraction = "59", "999999"
        if not _ends_a_day(f"{found['minute']}:{second}{offset}"):
            return text
    minute, offset = found["minute"].upper(), offset.upper()
    return f"{minute}:{second}{'.' if fraction else ''}{fraction}{offset}"


def _ends_a_day(text: str) -> bool:
    """Whether a moment is in the last second of a day in UTC, after which alone a leap second can come."""
    try:
        moment = datetime.fromisoformat(text.upper())
        following = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        return False
    return (following.hour, following.minute, following.second) == (0, 0, 0)


def has_long_fraction(body: bytes) -> bool:
    """Whether a body holds a time of day that is finer than a microsecond, or a text that looks like one."""
    if len(body) <= _SMALL:
        return _LONG_FRACTION.search(body) is not None
    data = np.frombuffer(body, np.uint8)
    dots = np.flatnonzero(data == ord("."))
    dots = dots[(dots >= 4) & (dots < len(data) - 7)]  # noqa: PLR2004 - there is room for the digits around it
    dots = dots[data[dots - 3] == ord(":")]
    around = data[dots[:, None] + [-4, -2, -1, 1, 2, 3, 4, 5, 6, 7]]
    return bool(((around >= ord("0")) & (around <= ord("9"))).all(axis=1).any())
