"""Lines become the same chunks under the same keys on every run."""

import gzip
import json
from io import BufferedReader, BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.importing.lines import Reject, lines
from cli.importing.readings_file import Chunk, ReadingsFile
from shared.errors import WeirError

HEADER = "device,timestamp,x,y,z\n"


def line(device="a", second=0, x="1"):
    return f"{device},2026-01-01T00:00:{second:02}Z,{x},2,3\n"


def gathered(*rows, header=HEADER, limit=10, waiting_limit=1000):
    return list(ReadingsFile(iter([header, *rows])).chunks(limit, waiting_limit))


def keys(*rows, **arguments):
    return [chunk.key() for chunk in gathered(*rows, **arguments)]


def text_of(content):
    return list(lines(BufferedReader(BytesIO(content))))


def test_interleaved_devices_each_get_chunks_of_their_own():
    found = gathered(line("a"), line("b"), line("a"), line("b"), line("a"), limit=2)
    assert [(chunk.device, chunk.lines) for chunk in found] == [("a", [2, 4]), ("b", [3, 5]), ("a", [6])]


def test_columns_may_stand_in_any_order_beside_others():
    [chunk] = gathered("3,note,2,1,2026-01-01T00:00:00Z,a\n", header="z,remark,y,x,timestamp,Device\r\n")
    assert (chunk.device, chunk.timestamp, chunk.x, chunk.y, chunk.z) == (
        "a", ["2026-01-01T00:00:00Z"], ["1"], ["2"], ["3"],
    )  # fmt: skip


def test_missing_column_is_named():
    with pytest.raises(WeirError, match="hold timestamp, z"):
        gathered(header="device,x,y\n")


def test_empty_file_is_no_import():
    with pytest.raises(WeirError, match="the file is empty"):
        list(ReadingsFile(iter([])).chunks(10))


def test_line_with_the_wrong_number_of_columns_costs_that_line():
    found = gathered(line(), "a,2026-01-01T00:00:00Z,1\n", "\n", line(x="1,2"), line())
    rejects = [item for item in found if isinstance(item, Reject)]
    [chunk] = [item for item in found if isinstance(item, Chunk)]
    assert rejects == [Reject(3, None, "columns"), Reject(5, None, "columns")]
    assert chunk.lines == [2, 6]


def test_quote_that_is_never_closed_costs_its_own_line():
    reject, chunk = gathered('"a,2026-01-01T00:00:00Z,1,2,3\n', line("b"))
    assert (reject.line, chunk.device) == (2, "b")


def test_quoted_name_may_hold_a_comma():
    [chunk] = gathered(line('"hall 3, north"'))
    assert chunk.device == "hall 3, north"


def test_many_devices_in_turn_do_not_hold_back_the_whole_file():
    rows = [line(f"device {number}") for number in range(10)]
    source = iter([HEADER, *rows])
    first = next(ReadingsFile(source).chunks(100, waiting_limit=4))
    assert first.device == "device 0"
    assert len(list(source)) == 6


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 7), st.integers(1, 20))
def test_every_line_is_in_one_chunk_and_keys_do_not_change(devices, limit, waiting_limit):
    rows = [line(device, second) for second, device in enumerate(devices)]
    found = gathered(*rows, limit=limit, waiting_limit=waiting_limit)
    assert sorted(number for chunk in found for number in chunk.lines) == list(range(2, len(rows) + 2))
    assert all(len(chunk.lines) <= limit for chunk in found)
    again = keys(*rows, limit=limit, waiting_limit=waiting_limit)
    assert again == [chunk.key() for chunk in found]
    assert len(set(again)) == len(again)


def test_line_ending_and_compression_do_not_change_keys():
    content = (HEADER + line(second=1) + line(second=2)).encode()
    variants = [content, content.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + content, gzip.compress(content)]
    assert len({tuple(keys(*text_of(variant)[1:])) for variant in variants}) == 1


@pytest.mark.parametrize(
    "changed",
    [
        [line(second=2), line(second=1)],
        [line(second=1), line(second=2), line(second=3)],
        [line("b", 1), line("b", 2)],
        ["\n", line(second=1), line(second=2)],
        [line(second=1, x="1.0"), line(second=2)],
    ],
    ids=["order", "one more", "device", "place", "value"],
)
def test_changed_lines_have_another_key(changed):
    assert keys(*changed) != keys(line(second=1), line(second=2))


def test_what_is_no_number_in_json_travels_as_text_for_the_api_to_reject():
    [chunk] = gathered(line(x="1"), line(x="1e400"), line(x="nan"), line(x="1_0"), line(x="-2.5e3"), line(x=""))
    assert json.loads(chunk.encoded())["x"] == [1.0, "1e400", "nan", "1_0", -2500.0, ""]


def test_one_endless_value_does_not_fill_the_request():
    [chunk] = gathered(line(x="9" * 100_000 + "a"), f"a,{'2' * 100_000},1,2,3\n")
    assert len(chunk.encoded()) < 500


def test_numbers_keep_every_digit():
    written = ["0.1", "1e-320", "1.7976931348623157e308", "123456789.123456789"]
    [chunk] = gathered(*(line(x=text) for text in written))
    assert json.loads(chunk.encoded())["x"] == [float(text) for text in written]


def test_file_cut_off_in_the_middle_says_so():
    packed = gzip.compress((HEADER + line() * 1000).encode())
    with pytest.raises(WeirError, match="cut off"):
        text_of(packed[:-20])


def test_bytes_that_are_no_utf_8_spoil_their_own_field():
    found = gathered(*text_of(b"\xff,2026-01-01T00:00:00Z,1,2,3\n" + line().encode()))
    assert [(chunk.device, chunk.x) for chunk in found] == [("\ufffd", ["1"]), ("a", ["1"])]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reader_that_stops_early_leaves_the_file_open(pack):
    raw = BufferedReader(BytesIO(pack((HEADER + line() * 3).encode())))
    reading = lines(raw)
    assert [next(reading), next(reading)] == [HEADER, line()]
    reading.close()
    assert not raw.closed
