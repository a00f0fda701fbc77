"""Plausible records, made up: the same ones for the same seed, one after the other, in the order of time."""

import heapq
import math
import random
from bisect import bisect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, count
from typing import NamedTuple
from uuid import UUID

from cli.importing import events_file, readings_file

Row = tuple[str, ...]

READINGS_HEADER: Row = readings_file.COLUMNS
EVENTS_HEADER: Row = (*events_file.COLUMNS, "country", "platform", "price")

#: Seconds between two readings of a device; and, of a thousand, how many begin a gap, of so many readings at most.
EVERY_SECONDS, GAPS, LONGEST_GAP = 1.0, 1, 120
#: What a sensor can tell apart, as decimals: its readings are multiples of it.
DECIMALS = 2

#: Days over which events are spread, whatever their number.
DAYS = 30
#: How much of a day's traffic each hour has, in UTC.
HOURS = (2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 10, 10, 10, 10, 10, 9, 9, 10, 12, 13, 12, 9, 6, 4)
COUNTRIES = (("UA", 40), ("PL", 20), ("DE", 15), ("US", 10), ("GB", 8), ("FR", 7))
PLATFORMS = (("android", 45), ("web", 35), ("ios", 20))
#: What may follow on an event in a session, and how likely; what is missing is the end of it.
FUNNEL = {
    "view": (("view", 45), ("add_to_cart", 20)),
    "add_to_cart": (("view", 40), ("checkout", 30)),
    "checkout": (("purchase", 60),),
    "purchase": (),
}
#: Events of a session, on average: what the funnel comes to.
SESSION_EVENTS = 2.6


def readings(rows: int, devices: int, seed: int, start: datetime) -> Iterator[Row]:
    """Readings of devices that sample each second: a slow drift, noise, the resolution of a sensor, and gaps."""
    sensors = [_Sensor(random.Random(f"{seed} {number}")) for number in range(devices)]
    names = [f"device {number + 1:03}" for number in range(devices)]
    left = rows
    for second in count():
        moment = _text(start + timedelta(seconds=second * EVERY_SECONDS))
        for name, sensor in zip(names, sensors, strict=True):
            values = sensor.read(second)
            if values is None:
                continue
            if not left:
                return
            left -= 1
            yield name, moment, *(f"{value:.{DECIMALS}f}" for value in values)


class _Sensor:
    """Three axes, each around a value of its own that wanders and has its day and night."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._centres = [chance.uniform(-10, 10) for _ in "xyz"]
        self._phases = [chance.uniform(0, math.tau) for _ in "xyz"]
        self._noise = chance.uniform(0.02, 0.2)
        self._silent_until = 0

    def read(self, second: int) -> list[float] | None:
        """The values at a second; None while it is silent."""
        if second < self._silent_until:
            return None
        chance = self._chance
        if chance.randrange(1000) < GAPS:
            self._silent_until = second + chance.randint(1, LONGEST_GAP)
        turn = math.tau * second / 86_400
        for axis in range(3):
            self._centres[axis] += chance.gauss(0, 0.002)
        return [
            centre + 2 * math.sin(turn + phase) + chance.gauss(0, self._noise)
            for centre, phase in zip(self._centres, self._phases, strict=True)
        ]


class _Step(NamedTuple):
    """An event that is due in a session. Steps of one moment are in the order of their sessions."""

    seconds: float
    session: int
    user: int
    kind: str


def events(rows: int, users: int, seed: int, start: datetime) -> Iterator[Row]:
    """Events of users who come in sessions, go down a funnel, and come back less the longer they are known."""
    chance = random.Random(seed)
    sessions = _sessions(chance, rows, users)
    upcoming = next(sessions)
    due: list[_Step] = []
    for _ in range(rows):
        while not due or upcoming.seconds <= due[0].seconds:
            heapq.heappush(due, upcoming)
            upcoming = next(sessions)
        step = heapq.heappop(due)
        following = _pick(FUNNEL[step.kind], chance.random() * 100)
        if following:
            later = step.seconds + chance.expovariate(1 / 40) + 1
            heapq.heappush(due, step._replace(seconds=later, kind=following))
        yield _event(step, chance, start)


def _sessions(chance: random.Random, rows: int, users: int) -> Iterator[_Step]:
    """Sessions without an end, as many in DAYS as make up so many rows."""
    gap = DAYS * 86_400 / max(1.0, rows / SESSION_EVENTS)
    mean = sum(HOURS) / len(HOURS)
    seconds = 0.0
    returns = _Returns(users)
    for number in count():
        busy = HOURS[int(seconds // 3600) % 24] / mean
        seconds += chance.expovariate(busy / gap)
        yield _Step(seconds, number, returns.user(chance, int(seconds // 86_400)), "view")


class _Returns:
    """Who comes on a day: as many users are new on each day, and each comes back less from day to day."""

    def __init__(self, users: int) -> None:
        self._users = users
        self._by_age = [1 / (1 + age) ** 1.2 for age in range(DAYS + 1)]
        self._sums = list(accumulate(self._by_age))

    def user(self, chance: random.Random, day: int) -> int:
        newest = min(day, DAYS - 1)
        age = bisect(self._sums, chance.random() * self._sums[newest], hi=newest)
        first = (newest - age) * self._users // DAYS
        past = (newest - age + 1) * self._users // DAYS
        return chance.randrange(first, max(past, first + 1))


def _event(step: _Step, chance: random.Random, start: datetime) -> Row:
    moment = _text(start + timedelta(milliseconds=int(step.seconds * 1000)))
    price = f"{chance.lognormvariate(3, 0.8):.2f}" if step.kind == "purchase" else ""
    # A user has one country and mostly one platform: both follow from the number.
    place = step.user * 2_654_435_761 % (1 << 32) / (1 << 32) * 100
    platform = _pick(PLATFORMS, place * 7 % 100 if chance.random() < 0.9 else chance.random() * 100)  # noqa: PLR2004
    event_id = str(UUID(int=chance.getrandbits(128), version=4))
    return event_id, f"user {step.user + 1}", step.kind, moment, _pick(COUNTRIES, place), platform, price


def _pick(shares: tuple[tuple[str, int], ...], at: float) -> str:
    """What stands at a place from 0 to 100; nothing when the shares do not reach so far."""
    for name, share in shares:
        at -= share
        if at < 0:
            return name
    return ""


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
