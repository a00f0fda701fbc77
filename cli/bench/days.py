"""Days that are long over, as the benchmark makes them: readings of many devices, and the same in order."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from cli.bench.store import Store
from shared.streams.readings import pack
from shared.streams.stream import microseconds

#: Readings of each other device on each day.
OTHERS = 1_000
#: Rows in one COPY.
_BATCH = 100_000
_DAY_MICROSECONDS = 86_400_000_000


def past(days: int, before: int = 30) -> list[date]:
    """Return so many days, the last one that many days ago."""
    today = datetime.now(UTC).date()
    return [today - timedelta(days=before + days - number) for number in range(days)]


def start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def make_partition(store: Store, day: date, table: str = "readings") -> None:
    end = day + timedelta(days=1)
    store.rows(
        f"CREATE TABLE IF NOT EXISTS {table}_{day:%Y%m%d} PARTITION OF {table} "
        f"FOR VALUES FROM ('{day} 00:00+00') TO ('{end} 00:00+00')"
    )


def batches(keys: Sequence[int], day: date, readings: int, *, decimals: int | None = 3) -> Iterator[bytes]:
    """Yield a day's rows: so many of the first device, OTHERS of each other one, in the order of their times.

    Like a sensor's: times a little beside their intervals, values about a mean, of so many decimals; None: all bits that
    a float has, which nothing makes smaller.
    """
    random = np.random.default_rng(day.toordinal())
    counts = [readings, *[OTHERS] * (len(keys) - 1)]
    times = np.concatenate([_times(random, count) for count in counts]) + microseconds(start_of(day))
    order = np.argsort(times, kind="stable")
    of_rows = np.repeat(np.array(keys), counts)[order]
    x, y, z = (_values(random, len(order), decimals) for _ in range(3))
    rows = pack(of_rows, times[order], x, y, z)
    for first in range(0, len(rows), _BATCH):
        yield rows[first : first + _BATCH].tobytes()


def _times(random: np.random.Generator, count: int) -> NDArray[np.int64]:
    interval = _DAY_MICROSECONDS // count
    jitter = min(1_500, interval // 2)
    return np.arange(count) * interval + random.integers(0, jitter + 1, count)


def _values(random: np.random.Generator, count: int, decimals: int | None) -> NDArray[np.float64]:
    values = random.normal(20, 5, count)
    return values if decimals is None else values.round(decimals)
