"""Exact sums: what math.fsum says, for any floats, in any order and in any parts."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.exact_sum import ExactSum

LARGEST = math.ldexp(2 - 2**-52, 1023)
SMALLEST = math.ldexp(1, -1074)

floats = st.floats(allow_nan=False, allow_infinity=False)
alike = st.floats(-4000, 4000)
wide = st.builds(math.ldexp, st.floats(-1, 1), st.integers(-1100, 1023))
many = st.lists(floats | alike | wide, max_size=60)


def exactly(values: list[float]) -> float | None:
    """The sum by rational arithmetic, rounded once."""
    try:
        return float(sum(map(Fraction, values), Fraction(0)))
    except OverflowError:
        return None


@given(many)
@settings(max_examples=500)
def test_sum_is_rounded_once(values: list[float]) -> None:
    assert ExactSum(values).rounded() == exactly(values)


@given(st.integers(0, 2**32), st.integers(1, 40_000), st.sampled_from([1.0, 1e16, 1e300, 1e-310]))
@settings(max_examples=30, deadline=None)
def test_long_sums_are_fsum(seed: int, count: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=count) * scale * 2.0 ** random.integers(-60, 20, count)
    assert ExactSum(values).rounded() == math.fsum(values)


@given(many, st.randoms())
def test_order_and_parts_change_nothing(values: list[float], random) -> None:
    whole = ExactSum(values)
    random.shuffle(values)
    cut = random.randint(0, len(values))
    merged = ExactSum(values[:cut]).merge(ExactSum(values[cut:]))
    assert merged.rounded() == whole.rounded()
    assert merged.parts() == whole.parts()


@given(many)
def test_parts_add_up_to_the_same_sum(values: list[float]) -> None:
    parts = ExactSum(values).parts()
    assert sum(map(Fraction, parts), Fraction(0)) == sum(map(Fraction, values), Fraction(0))
    assert ExactSum(parts).parts() == parts


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([], 0.0),
        ([1e16, 1.0, -1e16], 1.0),
        ([LARGEST, SMALLEST, -LARGEST], SMALLEST),
        ([LARGEST, LARGEST, -LARGEST], LARGEST),  # fsum gives up half way
        ([LARGEST, LARGEST], None),
        ([-LARGEST, -LARGEST, -LARGEST], None),
        ([SMALLEST] * 3, 3 * SMALLEST),
        ([LARGEST, LARGEST * 2**-54], LARGEST),
        ([LARGEST, LARGEST * 2**-53], None),
    ],
)
def test_extremes(values: list[float], total: float | None) -> None:
    assert ExactSum(values).rounded() == total


def test_a_full_chunk_of_the_largest_floats_is_exact() -> None:
    values = np.full(2**14 + 5, LARGEST)
    assert ExactSum(np.concatenate([values, -values, [1.5]])).rounded() == 1.5
    assert len(ExactSum(np.full(100, 0.1)).parts()) <= 3
