"""A question about readings, beside whose they are: of which time, which axes, and which numbers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Self

from shared.errors import InvalidRecord

AXES = ("x", "y", "z")
MAGNITUDE = "magnitude"

MOST_QUANTILES = 50
MOST_BINS = 1000
MOST_BUCKETS = 10_000
#: In one answer, with all its buckets and devices, so that it stays some megabytes.
MOST_NUMBERS = 500_000
#: What the answer of one device says beside its numbers, such as `as_of` and `newest`.
_BESIDES = 10
SHORTEST_BUCKET, LONGEST_BUCKET = timedelta(milliseconds=1), timedelta(days=3660)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SHORT = re.compile(r"(\d{1,9})(ms|s|m|h|d|w)", re.ASCII)
#: ISO 8601 without years and months, which are not always as long.
_ISO = re.compile(
    r"P(?:(?P<weeks>\d{1,9})W|(?=.)(?:(?P<days>\d{1,9})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9}(?:\.\d{1,6})?)S)?)?)",
    re.ASCII,
)
#: What `float` takes besides, such as 0_1 and digits of other scripts, nobody means.
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Question:
    """What is asked of a scope. `quantiles` are in order and each once; without `bucket` there are none."""

    start: datetime | None = None
    end: datetime | None = None
    axes: tuple[str, ...] = AXES
    magnitude: bool = False
    quantiles: tuple[float, ...] = ()
    histogram: int | None = None
    bucket: timedelta | None = None

    def as_json(self) -> dict[str, Any]:
        """Return only what is asked beyond the usual: equal questions are equal as JSON."""
        found: dict[str, Any] = {name: moment and moment.isoformat() for name, moment in self._window()}
        if self.axes != AXES:
            found["axes"] = list(self.axes)
        if self.magnitude:
            found["magnitude"] = True
        if self.quantiles:
            found["quantiles"] = list(self.quantiles)
        if self.histogram:
            found["histogram"] = self.histogram
        if self.bucket:
            found["bucket"] = self.bucket.total_seconds()
        return found

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Self:
        """The way back; what is left out is as usual."""
        start, end, bucket = (found.get(name) for name in ("start", "end", "bucket"))
        return cls(
            start and datetime.fromisoformat(start),
            end and datetime.fromisoformat(end),
            tuple(found.get("axes", AXES)),
            bool(found.get("magnitude")),
            tuple(found.get("quantiles", ())),
            found.get("histogram"),
            timedelta(seconds=bucket) if bucket else None,
        )

    def _window(self) -> tuple[tuple[str, datetime | None], ...]:
        return ("start", self.start), ("end", self.end)

    @property
    def names(self) -> tuple[str, ...]:
        """The axes of the answer."""
        return (*self.axes, MAGNITUDE) if self.magnitude else self.axes

    @property
    def columns(self) -> tuple[str, ...]:
        """What has to be read for them."""
        return AXES if self.magnitude else self.axes

    def only(self, axes: tuple[str, ...]) -> Self:
        """The same of fewer axes, without magnitude."""
        return replace(self, axes=axes, magnitude=False)

    @property
    def is_of_ranks(self) -> bool:
        """Whether nothing is asked that needs each reading: only quantiles, and what can be added up."""
        return not self.magnitude and self.histogram is None

    def require_bounded(self, devices: int = 1) -> None:
        """Look whether the answer of so many devices, each by itself, may be as long as the question tells.

        Raises InvalidRecord when it would be too long.
        """
        buckets = self._buckets()
        if buckets > self.most_buckets():
            raise InvalidRecord(
                "too_many", "bucket", f"makes {buckets} buckets of the window, {self.most_buckets()} at most"
            )
        numbers = devices * (self._numbers_once + buckets * self._numbers_of_bucket)
        if devices > 1 and numbers > MOST_NUMBERS:
            raise InvalidRecord(
                "too_many", "group_by", f"makes {numbers} numbers of {devices} devices, {MOST_NUMBERS} at most"
            )

    def most_buckets(self, devices: int = 1) -> int:
        """How many there may be of each of so many devices."""
        left = MOST_NUMBERS // max(devices, 1) - self._numbers_once
        return max(min(MOST_BUCKETS, left // self._numbers_of_bucket), 0)

    def _buckets(self) -> int:
        """How many the window makes; 1 at least where an end of it is open, as long as any are asked for."""
        if not self.bucket:
            return 0
        if not self.start or not self.end:
            return 1
        return -((EPOCH - self.end) // self.bucket) - (self.start - EPOCH) // self.bucket

    @property
    def _numbers_of_bucket(self) -> int:
        return len(self.names) * (5 + len(self.quantiles))

    @property
    def _numbers_once(self) -> int:
        edges_and_counts = 2 * self.histogram + 1 if self.histogram else 0
        return _BESIDES + self._numbers_of_bucket + len(self.names) * edges_and_counts


def fraction(quantile: float) -> Fraction:
    """A quantile is the decimal number that was written: 0.1 is a tenth, and not the float next to it."""
    return Fraction(repr(quantile))


def axes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the axes in their order. Raises InvalidRecord."""
    wanted = {name.strip() for name in names}
    if not wanted or not wanted <= set(AXES):
        raise InvalidRecord("unknown", "axes", "must be one or more of x, y, z")
    return tuple(name for name in AXES if name in wanted)


def quantiles(numbers: Iterable[str | float]) -> tuple[float, ...]:
    """Return them in order, each once. Raises InvalidRecord."""
    try:
        found = sorted({_quantile(number) for number in numbers})
    except ValueError as error:
        raise InvalidRecord("not_a_number", "quantiles", "must be numbers between 0 and 1") from error
    if not found or not all(0 <= one <= 1 for one in found):
        raise InvalidRecord("out_of_range", "quantiles", "must be numbers between 0 and 1")
    if len(found) > MOST_QUANTILES:
        raise InvalidRecord("too_many", "quantiles", f"must be {MOST_QUANTILES} at most")
    return tuple(found)


def _quantile(number: str | float) -> float:
    """Raises ValueError."""
    if isinstance(number, str) and not _DECIMAL.fullmatch(number.strip()):
        raise ValueError(number)
    return float(number) or 0.0  # which has no sign


def bucket(words: str) -> timedelta:
    """Read 15m, 1h, 1d or an ISO 8601 duration. Raises InvalidRecord."""
    try:
        span = _span(words)
    except OverflowError:
        span = None
    if span is None:
        raise InvalidRecord("not_a_duration", "bucket", "must look like 15m, 1h, 1d or PT15M")
    if not SHORTEST_BUCKET <= span <= LONGEST_BUCKET:
        raise InvalidRecord("out_of_range", "bucket", "must be between 1ms and 3660d")
    return span


def _span(words: str) -> timedelta | None:
    if short := _SHORT.fullmatch(words):
        return timedelta(**{_UNITS[short[2]]: int(short[1])})
    if iso := _ISO.fullmatch(words):
        return timedelta(**{unit: float(number) for unit, number in iso.groupdict().items() if number})
    return None
