"""A chart has no more points than were asked for, all of them readings, whatever pieces the readings came in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.reduction import PRESELECTED, Points, Reduction

VALUES = st.sampled_from([0.0, 1.0, -1.0, 2.5, 1e308, -1e308, 5e-324])
READINGS = st.lists(st.tuples(st.integers(0, 400), VALUES), max_size=300).map(sorted)


def reduced(method, points, readings, pieces=1, first=0, last=400):
    """Reduce readings that come in so many pieces, the newest first."""
    reduction = Reduction(method, points, first, last)
    for piece in reversed(np.array_split(np.arange(len(readings)), pieces)):
        times = np.array([readings[place][0] for place in piece], np.int64)
        reduction.add(Points(times, np.array([readings[place][1] for place in piece], np.float64)))
    found = reduction.result()
    assert reduction.readings == len(readings)
    return list(zip(found.times.tolist(), found.values.tolist(), strict=True))


def brute_force(points, readings, first=0, last=400):
    """Each bucket's first lowest and first highest reading."""
    buckets = {}
    count = points // 2
    starts = [first + (last - first + 1) * number // count for number in range(count)]
    for reading in readings:
        buckets.setdefault(sum(start <= reading[0] for start in starts), []).append(reading)
    found = []
    for bucket in buckets.values():
        found += {min(bucket, key=lambda one: (one[1], one[0])), min(bucket, key=lambda one: (-one[1], one[0]))}
    return found


@given(READINGS, st.integers(3, 40), st.integers(1, 5))
def test_minmax_is_each_buckets_extremes_in_whatever_pieces(readings, points, pieces):
    found = reduced("minmax", points, readings, pieces)
    assert len(found) <= points
    assert [time for time, _ in found] == sorted(time for time, _ in found)
    wanted = readings if len(readings) <= points else brute_force(points, readings)
    assert sorted(found) == sorted(wanted)


@given(READINGS, st.integers(3, 40), st.integers(1, 5))
def test_lttb_chooses_among_the_readings(readings, points, pieces):
    found = reduced("lttb", points, readings, pieces)
    assert len(found) == min(points, len(readings)) or len(readings) > PRESELECTED * points
    assert len(found) <= points
    assert [time for time, _ in found] == sorted(time for time, _ in found)
    assert set(found) <= set(readings)


@pytest.mark.parametrize("method", ["lttb", "minmax"])
def test_peak_among_a_million_is_not_lost(method):
    count = 1_000_000
    times, values = np.arange(count), np.sin(np.arange(count) / 1e5)
    values[123_456] = 50.0
    reduction = Reduction(method, 1000, 0, count - 1)
    for start in range(0, count, 65_536):
        reduction.add(Points(times[start : start + 65_536], values[start : start + 65_536]))
    found = reduction.result()
    assert 900 <= len(found.times) <= 1000
    assert (123_456, 50.0) in zip(found.times.tolist(), found.values.tolist(), strict=True)


@pytest.mark.parametrize("method", ["lttb", "minmax"])
def test_nothing_is_no_points(method):
    assert reduced(method, 3, []) == []


@pytest.mark.parametrize("method", ["lttb", "minmax"])
def test_centuries_of_microseconds_fit(method):
    last = 8_000 * 365 * 86_400 * 10**6
    readings = [(last * number // 99_999, float(number)) for number in range(100_000)]
    found = reduced(method, 10_000, readings, last=last)
    assert len(found) <= 10_000
    assert {found[0][0], found[-1][0]} == {0, last}
