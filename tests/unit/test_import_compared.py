"""As many equal readings are left out as are stored, wherever in the file they stand."""

from hypothesis import given
from hypothesis import strategies as st

from cli.importing.compared import Occurrences
from cli.importing.readings_file import Chunk


def chunk(*seconds):
    made = Chunk("a")
    for line, second in enumerate(seconds, 2):
        made.add(line, f"2026-01-01T00:00:{second:02}Z", "1", "2", "3")
    return made


def test_what_is_stored_is_left_out():
    assert Occurrences().new(chunk(1, 2, 3), [1, 0, 1]) == [1]


def test_same_moment_and_number_written_in_another_way_is_the_same_reading():
    one, other = Chunk("a"), Chunk("a")
    one.add(2, "2026-01-01T00:00:00Z", "1", "2", "3")
    other.add(3, "2026-01-01T01:00:00+01:00", "1.0", "2e0", "3")
    file = Occurrences()
    assert (file.new(one, [1]), file.new(other, [1])) == ([], [0])


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30), st.lists(st.integers(0, 4), max_size=10), st.integers(1, 7)
)
def test_file_ends_with_as_many_of_each_as_it_has_itself(rows, before, size):
    stored = list(before)
    file = Occurrences()
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        new = file.new(chunk(*part), [stored.count(second) for second in part])
        stored += [part[place] for place in new]
    assert all(stored.count(one) == max(rows.count(one), before.count(one)) for one in range(5))
