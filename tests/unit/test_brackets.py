"""A rank found by bracketing is the value at that place among all of them, to the bit."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analytics.brackets import Ordered, OrderedFinder, at_ranks, held
from shared.cold.ordered import BLOCK, BlockDamaged, blocks, rows_of_block, unpack

FEW = st.sampled_from([-1e300, -1.5, -5e-324, -0.0, 0.0, 5e-324, 0.1, 1.5, 1.5000000000000002, 1e300])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


#: Values that are sorted together, as of a device with very many.
AT_ONCE = 70
#: More than there are of any.
ROOM = 10_000_000


def arrays(least, most):
    return st.integers(least, most).flatmap(lambda size: hnp.arrays(np.float64, size, elements=FLOATS | FEW))


def made_of(values, rows, at_once, offset=0):
    """A device's blocks, in several series where it has many values."""
    made = []
    for start in range(0, len(values), at_once):
        made += blocks(values[start : start + at_once], rows, offset + sum(len(packed) for _, packed in made))
    return made


def stored(values, rows=4, at_once=AT_ONCE) -> Ordered:
    """An ordered copy as it is in a file; what is not asked for is never unpacked."""
    made = made_of(values, rows, at_once)
    found = np.array([record for record, _ in made], BLOCK) if made else np.empty(0, BLOCK)
    file = b"".join(packed for _, packed in made)

    def read(places):
        several = [unpack(file[one["offset"] : one["offset"] + one["bytes"]], one) for one in found[places]]
        return tuple(np.concatenate(column) for column in zip(*several, strict=True))

    return Ordered(found, read)


def all_of(values, parts):
    return np.sort(np.concatenate([values, *parts]) + 0.0)


def large(values) -> Ordered:
    return stored(values, rows_of_block(len(values)), 1 << 20)


@settings(max_examples=150, deadline=None)
@given(
    values=arrays(0, 60),
    parts=st.lists(arrays(1, 200), max_size=6),
    room=st.sampled_from([0, 5, 40, ROOM]),
    data=st.data(),
)
def test_every_rank_is_the_value_at_its_place(values, parts, room, data):
    whole = all_of(values, parts)
    assume(len(whole))
    ordered = [stored(part) for part in parts]
    assert at_ranks(values, ordered, range(len(whole)), room) == whole.tolist()
    rank = data.draw(st.integers(0, len(whole) - 1))
    assert at_ranks(values, ordered, [rank], room) == [whole[rank]]


@settings(max_examples=100, deadline=None)
@given(values=arrays(1, 300), rows=st.integers(1, 100))
def test_blocks_hold_the_values_in_order(values, rows):
    made = made_of(values, rows, AT_ONCE, offset=11)
    read = [unpack(packed, record) for record, packed in made]
    found = np.concatenate([np.repeat(*one) for one in read])
    assert np.sort(found).tolist() == np.sort(values + 0.0).tolist()
    offset = 11
    for (record, packed), (different, counts) in zip(made, read, strict=True):
        assert (record["low"], record["high"], record["rows"]) == (different[0], different[-1], counts.sum())
        assert (np.diff(different) > 0).all()
        assert (record["offset"], record["bytes"]) == (offset, len(packed))
        offset += len(packed)


@pytest.mark.parametrize("room", [1000, ROOM])
@pytest.mark.parametrize("seed", range(6))
def test_tiny_and_huge_copies_agree_with_sorting(seed, room):
    random = np.random.default_rng(seed)
    decimals = int(random.integers(0, 5))
    sizes = [int(10 ** random.uniform(0, 5.5)) for _ in range(12)]
    parts = [random.normal(random.normal(0, 3), 1 + random.random() * 9, size).round(decimals) for size in sizes]
    values = random.normal(0, 5, int(random.integers(0, 50_000))).round(decimals)
    whole = all_of(values, parts)
    ranks = sorted([*random.integers(0, len(whole), 20).tolist(), 0, len(whole) // 2, len(whole) - 1])
    assert at_ranks(values, [large(part) for part in parts], ranks, room) == whole[ranks].tolist()


def test_little_is_read_for_a_median():
    random, read = np.random.default_rng(1), []

    def counting(part):
        def look(places):
            read.extend(part.blocks["rows"][places].tolist())
            return part.read(places)

        return part._replace(read=look)

    parts = [random.normal(20, 5, 100_000) for _ in range(10)]
    whole = all_of(np.empty(0), parts)
    ranks = [len(whole) // 2 - 1, len(whole) // 2]
    assert at_ranks(np.empty(0), [counting(large(part)) for part in parts], ranks, ROOM) == whole[ranks].tolist()
    assert sum(read) < len(whole) / 15


def test_many_small_parts_that_are_not_held_together_are_ranked_exactly(monkeypatch):
    """Of each part a block touches the bracket: together they are more than may be held."""
    monkeypatch.setattr("analytics.brackets._ROWS_AT_ONCE", 1000)
    random, looks = np.random.default_rng(1), []

    def measured(part):
        def look(places):
            looks.append(int(part.blocks["rows"][places].sum()))
            return part.read(places)

        return part._replace(read=look)

    parts = [random.normal(20, 5, 5000).round(random.integers(2, 17)) for _ in range(40)]
    whole = all_of(np.empty(0), parts)
    ranks = [len(whole) // 2 - 1, len(whole) // 2]
    found = at_ranks(np.empty(0), [measured(large(part)) for part in parts], ranks, 10_000)
    assert found == whole[ranks].tolist()
    assert max(looks) <= 3000
    assert sum(looks) <= 3 * len(whole)


def test_more_values_than_there_is_room_for_are_ranked_with_those_in_order():
    random = np.random.default_rng(1)
    values, part = random.normal(0, 1, 3000), random.normal(1, 1, 5000)
    whole, finder = all_of(values, [part]), OrderedFinder(1000)
    finder.put([large(part)])
    while not finder.is_settled:
        finder.add(values)
        finder.settle([0, 4000, 7999])
    assert [finder[rank] for rank in (0, 4000, 7999)] == whole[[0, 4000, 7999]].tolist()


def test_value_of_most_rows_is_found_without_reading():
    def never(places):
        raise AssertionError

    part = stored(np.concatenate([np.full(1000, 7.0), np.arange(20.0)]))
    assert at_ranks(np.empty(0), [part._replace(read=never)], [500, 510], ROOM) == [7.0, 7.0]


def test_values_in_hand_alone_are_ranked_too():
    values = np.array([3.0, -0.0, 1.0])
    assert [str(value) for value in at_ranks(values, [], [0, 2], ROOM)] == ["0.0", "3.0"]
    assert [str(value) for value in at_ranks(values, [held(values)], [0, 1, 2, 5], ROOM)] == [
        "0.0",
        "0.0",
        "1.0",
        "3.0",
    ]


@pytest.mark.parametrize("at", [0, 20, -1])
def test_block_with_a_flipped_bit_is_noticed(at):
    ((record, packed),) = blocks(np.arange(100.0), 100)
    garbled = bytearray(packed)
    garbled[at] ^= 4
    with pytest.raises(BlockDamaged):
        unpack(bytes(garbled), record)
