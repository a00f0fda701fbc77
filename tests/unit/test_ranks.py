"""Values at ranks: those of a sorted list, in few looks and bounded memory."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.brackets import OrderedFinder, held
from analytics.parts import Kept, Piece, keep
from analytics.ranks import Finder, keys, value

#: 16 bits of a float are told at the first look, 12 more at each next one, and one more look keeps what is left.
MOST_LOOKS = 6

floats = st.floats(allow_nan=False) | st.integers(-3, 3).map(float) | st.floats(1, 1 + 1e-12)


def found(values: list[float], ranks: list[int], room: int, piece: int) -> tuple[list[float], int]:
    finder = Finder(room)
    looks = 0
    while not finder.is_settled:
        for start in range(0, len(values), piece):
            finder.add(np.array(values[start : start + piece]))
        finder.settle(ranks)
        looks += 1
    return [finder[rank] for rank in ranks], looks


@given(st.lists(floats, min_size=1, max_size=200), st.data(), st.integers(0, 50), st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_ranks_are_found_in_few_looks(values: list[float], data: st.DataObject, room: int, piece: int) -> None:
    ranks = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=5))
    at_ranks, looks = found(values, ranks, room, piece)
    assert at_ranks == [sorted(values)[rank] for rank in ranks]
    assert looks <= MOST_LOOKS
    assert looks == 1 or len(values) > room


@given(st.lists(floats, max_size=50))
def test_keys_are_in_the_order_of_the_floats(values: list[float]) -> None:
    found = keys(np.array(values, dtype=float)).tolist()
    assert [value(key) for key in found] == values
    for key, one in zip(found, values, strict=True):
        for other_key, other in zip(found, values, strict=True):
            assert one >= other or key < other_key


@pytest.mark.parametrize("kind", ["alike", "equal", "wide"])
def test_many_values_need_little_room(kind: str) -> None:
    dice = np.random.default_rng(1)
    values = {
        "alike": dice.normal(2000, 1, 300_000),
        "equal": np.full(300_000, math.pi),
        "wide": np.ldexp(dice.uniform(-1, 1, 300_000), dice.integers(-1000, 1000, 300_000)),
    }[kind]
    finder = Finder(10_000)
    kept = 0
    while not finder.is_settled:
        for piece in np.array_split(values, 30):
            finder.add(piece)
            kept = max(kept, sum(len(one) for bracket in finder._brackets for one in bracket.kept))
        finder.settle([149_999, 150_000])
    ordered = np.sort(values)
    assert [finder[149_999], finder[150_000]] == ordered[[149_999, 150_000]].tolist()
    assert kept <= 10_000


class Stopped(Exception):
    pass


def stop() -> None:
    raise Stopped


@pytest.mark.parametrize("room", [0, 100])
@pytest.mark.parametrize("is_ordered", [True, False])
def test_settling_can_be_stopped(room: int, is_ordered: bool) -> None:
    finder = OrderedFinder(room, stop)
    finder.add(np.arange(10.0))
    if is_ordered:
        finder.put([held(np.arange(20.0))])
    with pytest.raises(Stopped):
        finder.settle([3])


def test_keeping_can_be_stopped() -> None:
    part = Kept("hot", [Piece({"x": np.arange(3.0)}, 3, 0)] * 2)
    assert keep(part, ["x"], 6, lambda: None) is not part
    with pytest.raises(Stopped):
        keep(part, ["x"], 6, stop)
