"""What would help with a file that is not as expected: options of the command, ready to be pasted."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from cli.importing.columns import Layout
from cli.importing.events_file import COLUMNS as EVENT_COLUMNS
from cli.importing.files import Input
from cli.importing.lines import records
from cli.importing.readings_file import AXES
from cli.importing.times import Clock, guessed

#: Records that are looked at.
SAMPLE = 20
#: Longest first line that is shown.
_SHOWN = 200
_DELIMITERS = (";", "\t", "|", ",")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_DEVICE = re.compile(r"device|sensor|station|node|mac\b|imei|serial", re.IGNORECASE)
_TIME = re.compile(r"time|date|datum|zeit|^ts$|^t$|_at$|timestamp", re.IGNORECASE)
_NO_AXIS = re.compile(r"\bid$|_id$|^id|^lat|^lon|lng|location|type|time|date|index", re.IGNORECASE)
_EVENT_NAMES = {
    "event_id": re.compile(r"event.?id|^id$|uuid", re.IGNORECASE),
    "user_id": re.compile(r"user|customer|client|account|person|visitor|^src$|email", re.IGNORECASE),
    "event_type": re.compile(r"event|action|activity|type|kind", re.IGNORECASE),
    "occurred_at": _TIME,
}


@dataclass(frozen=True)
class Told:
    """What the command was told already."""

    layout: Layout
    clock: Clock
    decimal: str = "."
    device: str | None = None
    id_from: str | None = None


@dataclass(frozen=True)
class Sample:
    """The first line of a file, its columns, and its first records under a delimiter that fits them."""

    first_line: str
    delimiter: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, source: Input, told: Told) -> "Sample":
        """Look at the beginning of a file. Raises WeirError."""
        with source.lines() as text:
            first_line = next(text, "").rstrip("\r\n")
        delimiter = told.layout.delimiter
        best = max(_DELIMITERS, key=first_line.count)
        if first_line.count(best) > 2 * first_line.count(delimiter):
            delimiter = best
        with source.lines() as text:
            rows = [one.cells for one in islice(records(text, delimiter), SAMPLE + 1) if one.cells]
        if told.layout.columns is not None:
            names: Sequence[str] = told.layout.columns
        else:
            names, rows = [name.strip() for name in rows[0]] if rows else [], rows[1:]
        return cls(first_line, delimiter, names, [row for row in rows if len(row) == len(names)])

    def column(self, place: int) -> list[str]:
        """Return the cells of a column that hold something."""
        return [row[place].strip() for row in self.rows if row[place].strip()]

    def joined(self, places: Sequence[int]) -> list[str]:
        return [" ".join(row[place].strip() for place in places) for row in self.rows]

    def place(self, name: str) -> int | None:
        lower = [one.lower() for one in self.names]
        return lower.index(name.lower()) if name.lower() in lower else None

    def numbers(self) -> list[int]:
        """Return the places of the columns that hold numbers, and nothing that only looks like one."""
        return [
            place
            for place, name in enumerate(self.names)
            if not _NO_AXIS.search(name) and self.column(place) and all(map(_NUMBER.fullmatch, self.column(place)))
        ]


def for_readings(sample: Sample, told: Told) -> list[str]:
    """Return the options that would help with a file of readings."""
    found = list(_delimiter(sample, told))
    if _is_headless(sample, told):
        sample = _named(sample)
        found.append("--no-header --columns " + shlex.quote(",".join(sample.names)))
    device = sample.place("device") if sample.place("device") is not None else sample.place("device_id")
    mapping: list[str] = []
    if told.device is None and "device" not in told.layout.mapping and device is None:
        named = [name for name in sample.names if _DEVICE.search(name)]
        if named:
            named.sort(key=lambda name: not name.lower().endswith("id"))
            mapping.append(f"device={named[0]}")
        else:
            found.append("--device NAME")
    times, texts = _time(sample, told, "timestamp")
    axes = [axis for axis in AXES if axis not in told.layout.mapping and sample.place(axis) is None]
    numbers = sample.numbers()
    if axes:
        taken = {*AXES, *(name.lower() for name in told.layout.mapping.values())}
        free = [sample.names[place] for place in numbers if sample.names[place].lower() not in taken]
        mapping += [f"{axis}={name}" for axis, name in zip(axes, [*free, "0", "0", "0"], strict=False)]
    if mapping:
        found.append("--map " + shlex.quote(",".join(mapping)))
    values = [text for place in numbers for text in sample.column(place)]
    if told.decimal == "." and any(map(_COMMA.fullmatch, values)):
        found.append("--decimal ,")
    return found + times + _form(texts, told)


def for_events(sample: Sample, told: Told) -> list[str]:
    """Return the options that would help with a file of events."""
    found = list(_delimiter(sample, told))
    if _is_headless(sample, told):
        return [*found, "--no-header --columns NAME,NAME,…"]
    mapping = []
    used = {name.lower() for name in EVENT_COLUMNS}
    for field in EVENT_COLUMNS[:3]:
        if field in told.layout.mapping or sample.place(field) is not None or (field == "event_id" and told.id_from):
            continue
        named = [name for name in sample.names if _EVENT_NAMES[field].search(name) and name.lower() not in used]
        if field == "event_id" and not named:
            found.append("--event-id content")
        elif named:
            used.add(named[0].lower())
            mapping.append(f"{field}={named[0]}")
        else:
            mapping.append("event_type==view" if field == "event_type" else f"{field}=COLUMN")
    if mapping:
        found.append("--map " + shlex.quote(",".join(mapping)))
    times, texts = _time(sample, told, "occurred_at")
    return found + times + _form(texts, told)


def _is_headless(sample: Sample, told: Told) -> bool:
    """Whether what should be the names of columns are values."""
    return told.layout.columns is None and any(_NUMBER.fullmatch(name) or guessed([name]) for name in sample.names)


def _named(sample: Sample) -> Sample:
    """Take the first line for a record, and name each column after what is in it."""
    rows = [sample.names, *sample.rows]
    free = {"timestamp": ["timestamp"], "number": list(AXES), "text": ["device"]}
    names = []
    for place, cell in enumerate(sample.names):
        texts = [row[place].strip() for row in rows]
        kind = "timestamp" if guessed(texts) else "number" if _NUMBER.fullmatch(cell) else "text"
        names.append(free[kind].pop(0) if free[kind] else f"column{place + 1}")
    return replace(sample, names=names, rows=rows)


def _delimiter(sample: Sample, told: Told) -> Iterator[str]:
    if sample.delimiter != told.layout.delimiter:
        yield "--delimiter " + ("tab" if sample.delimiter == "\t" else shlex.quote(sample.delimiter))


def _time(sample: Sample, told: Told, field: str) -> tuple[list[str], list[str]]:
    """Say which columns have the time, as an option where that is needed, and what is in them."""
    if told.layout.time_columns:
        places = [place for name in told.layout.time_columns if (place := sample.place(name)) is not None]
        return [], sample.joined(places)
    place = sample.place(told.layout.mapping.get(field, field))
    if place is not None:
        return [], sample.column(place)
    named = [place for place, name in enumerate(sample.names) if _TIME.search(name)]
    others = [[place] for place in range(len(sample.names)) if len(sample.names[place]) and place not in named]
    for group in (named[:1], named[:2], *others):
        texts = sample.joined(group)
        if group and guessed(texts) is not None:
            return ["--time-column " + shlex.quote(",".join(sample.names[place] for place in group))], texts
    return ["--time-column " + (shlex.quote(sample.names[named[0]]) if named else "COLUMN")], []


def _form(texts: list[str], told: Told) -> list[str]:
    guess = guessed(texts)
    if guess is None:
        return []
    forms, needs_zone = guess
    found = ["--time-format " + shlex.quote(forms[0])] if forms and told.clock.form is None else []
    if needs_zone and told.clock.zone is None:
        found.append("--time-zone UTC")
    return found


def explained(sample: Sample, options: Sequence[str]) -> str:
    """Say what the first line is, which options may help, and where there is more."""
    shown = sample.first_line[:_SHOWN] + ("…" if len(sample.first_line) > _SHOWN else "")
    parts = [f"the first line as seen: {shown}"]
    if options:
        parts.append(f"these options may help:  {' '.join(options)}")
    numbers = [sample.names[place] for place in sample.numbers()]
    if numbers and any(option.startswith("--map") for option in options):
        parts.append(f"numbers are in the columns {', '.join(numbers)}")
    if any(option.startswith("--time-zone") for option in options):
        parts.append("UTC stands for the zone that the clock was set to, such as Europe/Berlin or +02:00")
    forms = [option for option in options if option.startswith("--time-format") and "%d/%m" in option]
    if forms:
        parts.append(f"where the month comes first: {forms[0].replace('%d/%m', '%m/%d')}")
    return "\n  ".join([*parts, "docs/import.md has all of them"])
