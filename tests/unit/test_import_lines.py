"""CSV is read as RFC 4180 has it, or a line is rejected: no value is ever stored shorter than it was in the file."""

import gzip
from io import BufferedReader, BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.importing import lines as csv_lines
from cli.importing.lines import lines, records
from shared.errors import WeirError


def read(text, delimiter=","):
    content = text if isinstance(text, bytes) else text.encode()
    return list(records(lines(BufferedReader(BytesIO(content))), delimiter))


def found(text, delimiter=","):
    return [(one.line, one.fault or one.cells) for one in read(text, delimiter)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quoted_cell_goes_over_lines_and_keeps_them(end):
    text = end.join(['a,"two', "", 'lines, ""quoted"""', "b,c", ""])
    assert found(text) == [(1, ["a", f'two{end}{end}lines, "quoted"']), (4, ["b", "c"])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a,"open\nb,c\n', [(1, "quote_not_closed"), (2, ["b", "c"])]),
        ('a,"open\nb,"c"\n', [(1, "text_behind_quote"), (2, ["b", "c"])]),
        ('a,"two b" is it\nb,c\n', [(1, "text_behind_quote"), (2, ["b", "c"])]),
        ('a,"say \\"hi\\""\nb,c\n', [(1, "text_behind_quote"), (2, ["b", "c"])]),
        ('a,"', [(1, "quote_not_closed")]),
        ('a,"open\n"b,"c\nd,e\n', [(1, "text_behind_quote"), (2, "text_behind_quote"), (3, ["d", "e"])]),
        ('5" pipe,b\nc,d\n', [(1, ['5" pipe', "b"]), (2, ["c", "d"])]),
        ('a,""\n\n"",b\n', [(1, ["a", ""]), (2, [""]), (3, ["", "b"])]),
    ],
)  # fmt: skip
def test_broken_quote_costs_the_line_that_it_is_in(text, expected):
    assert found(text) == expected


def test_quote_that_stays_open_too_long_costs_one_line(monkeypatch):
    monkeypatch.setattr(csv_lines, "LONGEST_CELL", 100)
    text = 'a,"open\n' + "b,c\n" * 200 + '"d",e\n'
    assert found(text) == [(1, "quote_not_closed"), *((line, ["b", "c"]) for line in range(2, 202)), (202, ["d", "e"])]


def test_line_without_end_costs_itself_and_is_not_kept(monkeypatch):
    monkeypatch.setattr(csv_lines, "LONGEST_LINE", 64)
    first, second = read("a" * 1000 + "\nb,c\n")
    assert (first.line, first.fault, len(first.raw)) == (1, "line_too_long", 64)
    assert (second.line, second.cells) == (2, ["b", "c"])


def test_cell_longer_than_csv_takes_costs_its_line():
    assert found(f'a,"{"x" * 140_000}"\nb,c\n') == [(1, "line_too_long"), (2, ["b", "c"])]


def test_bytes_that_are_no_utf_8_stay_in_the_raw_line():
    (record,) = read(b"caf\xe9,1\n")
    assert record.cells == ["caf\ufffd", "1"]
    assert record.raw.encode("utf-8", "surrogateescape") == b"caf\xe9,1\n"


@given(st.lists(st.lists(st.text(st.sampled_from('ab,;"\n\r é'), max_size=6), min_size=2, max_size=4), max_size=12))
def test_what_is_written_by_the_rules_is_read_back_whole(rows):
    quoted = ["\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)]
    assert [one.cells for one in read("".join(quoted))] == rows


@given(st.text(st.sampled_from('ab,"\n'), max_size=60))
def test_no_line_is_lost_whatever_the_quotes(text):
    assert "".join(one.raw for one in read(text)) == text


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        ("device,timestamp".encode("utf-16"), "UTF-16.*iconv"),
        (b"PK\x03\x04...", "spreadsheet"),
        (b"PAR1....", "Parquet"),
        (gzip.compress(b"PAR1...."), "Parquet"),
        (b"BZh91AY", "bzip2 -dc"),
    ],
)
def test_file_that_is_no_csv_is_called_by_its_name(content, meaning):
    with pytest.raises(WeirError, match=meaning):
        read(content)
