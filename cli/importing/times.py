"""Timestamps of files, in whatever form they are, as RFC 3339 has them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from functools import partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.errors import WeirError

#: Microseconds in one unit.
UNITS = {"s": Decimal(1_000_000), "ms": Decimal(1_000), "us": Decimal(1), "ns": Decimal("0.001")}
AUTO = "auto"
#: The unit of a number by the digits before its point: each means a moment from 2001 to 2286, and no other one does.
_DIGITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}

_NUMBER = re.compile(r"-?(\d+)(?:\.\d*)?", re.ASCII)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d):?(\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Clock:
    """Reads the timestamps of one file.

    Attributes:
        form: s, ms, us or ns since 1970; auto, which tells these by the number of digits; a format of strptime; None:
            RFC 3339, with or without an offset.
        zone: of times without an offset; None: such times are left as they are, for the API to refuse.
        second: whether the second one is meant of a local time that comes twice, when clocks go back; None: neither is.
    """

    form: str | None = None
    zone: tzinfo | None = None
    second: bool | None = None

    @property
    def is_plain(self) -> bool:
        """Whether timestamps go to the API as they are."""
        return self.form is None and self.zone is None

    def convert(self, texts: list[str]) -> list[str]:
        """Return each as RFC 3339; what cannot be read stays as it is, for the API to refuse."""
        return texts if self.is_plain else [self._converted(text) for text in texts]

    def _converted(self, text: str) -> str:
        text = text.strip()
        try:
            return self._read(text)
        except (ValueError, OverflowError, InvalidOperation):
            return text

    def _read(self, text: str) -> str:
        if self.form in UNITS:
            return _since_1970(text, self.form)
        if self.form == AUTO:
            number = _NUMBER.fullmatch(text)
            if number:
                return _since_1970(text, _DIGITS.get(len(number[1]), ""))
        is_iso = self.form in {None, AUTO}
        moment = datetime.fromisoformat(text) if is_iso else datetime.strptime(text, str(self.form))  # noqa: DTZ007
        if moment.tzinfo is not None:
            return text if is_iso else moment.isoformat()  # the API reads it to the last digit
        if self.zone is None:
            return moment.isoformat()
        return self._placed(moment, self.zone)

    def _placed(self, local: datetime, zone: tzinfo) -> str:
        """Give a local time its offset; none where it does not exist, or comes twice and neither is chosen."""
        first, second = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
        if first.utcoffset() == second.utcoffset():
            return first.isoformat()
        if self.second is None or first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local:
            return local.isoformat()
        return (second if self.second else first).isoformat()


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name, or a fixed offset such as +02:00. Raises WeirError."""
    offset = _OFFSET.fullmatch(name)
    if offset:
        sign = -1 if offset[1] == "-" else 1
        return timezone(sign * timedelta(hours=int(offset[2]), minutes=int(offset[3])))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WeirError(
            "--time-zone must be a name of the IANA database such as Europe/Berlin, UTC, or an offset such as +02:00"
        ) from error


def form_of(text: str) -> str:
    """Check a --time-format. Raises WeirError."""
    if text in UNITS or text == AUTO or "%" in text:
        try:
            if "%" in text:
                datetime.strptime(_EPOCH.strftime(text), text)  # noqa: DTZ007 - only to see whether it can be read
        except (ValueError, re.error) as error:
            raise WeirError(f"--time-format cannot be used: {error}") from error
        return text
    raise WeirError("--time-format must be s, ms, us, ns, auto, or a pattern such as '%d/%m/%Y %H:%M:%S'")


def _since_1970(text: str, unit: str) -> str:
    if not _NUMBER.fullmatch(text) or not unit:
        raise ValueError("no number of a known unit")
    microseconds = int((Decimal(text) * UNITS[unit]).to_integral_value("ROUND_FLOOR"))
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()


#: Forms that are tried to help a person on, the most common first.
COMMON = (
    "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d-%m-%Y %H:%M:%S",
    "%d/%m/%Y %H.%M.%S", "%m/%d/%Y %H.%M.%S", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%Y%m%d%H%M%S",
    "%Y%m%d %H%M%S", "%m/%d/%Y %I:%M:%S %p", "%d %b %Y %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%a %b %d %H:%M:%S %Y",
)  # fmt: skip


def guessed(texts: list[str]) -> tuple[list[str], bool] | None:
    """Say which forms read all of these timestamps, and whether a time zone has to be named with them; None: nothing
    is known that does. RFC 3339 needs no form.
    """
    if not texts:
        return None
    if all(_reads(lambda text: _since_1970(text, _unit(text)), text) for text in texts):
        return [AUTO], False
    if all(_reads(datetime.fromisoformat, text) for text in texts):
        return [], any(datetime.fromisoformat(text).tzinfo is None for text in texts)
    found = [form for form in COMMON if all(_reads(partial(_matched, form), text) for text in texts)]
    return (found, not any("%z" in form for form in found)) if found else None


def _matched(form: str, text: str) -> datetime:
    return datetime.strptime(text, form)  # noqa: DTZ007 - only to see whether it can be read


def _unit(text: str) -> str:
    number = _NUMBER.fullmatch(text)
    return _DIGITS.get(len(number[1]), "") if number else ""


def _reads(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except (ValueError, OverflowError, InvalidOperation):
        return False
    return True
