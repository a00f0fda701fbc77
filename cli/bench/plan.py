"""How long and how often: the whole benchmark, and the quick one that only shows that everything works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    #: Where all processes share the processors.
    noisy_rounds: int
    #: Of each load, in seconds.
    seconds: int
    #: Written in each round of the storing part.
    readings: int
    #: Single readings whose memory is compared with that of the first ten thousand.
    single_readings: int
    #: Of the device that is looked at, on each of the days that are sealed.
    day_readings: int
    days: int
    connections: tuple[int, ...] = (1, 64, 256)


WHOLE = Plan(
    rounds=5,
    noisy_rounds=11,
    seconds=3,
    readings=1_000_000,
    single_readings=1_000_000,
    day_readings=1_000_000,
    days=10,
)
QUICK = Plan(rounds=3, noisy_rounds=3, seconds=1, readings=200_000, single_readings=50_000, day_readings=50_000, days=4)
