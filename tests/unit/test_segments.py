"""A segment is read as it is written in the documentation, and anything else is refused."""

import pytest

from shared.errors import InvalidRecord
from shared.segments import Segment, parse


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("event_type:purchase", Segment(("event_type",), "purchase")),
        ("event_type: a:b ", Segment(("event_type",), " a:b ")),
        ("properties.country:UA", Segment(("properties", "country"), "UA")),
        ("properties.a.b c./~:1", Segment(("properties", "a", "b c", "/~"), "1")),
    ],
)
def test_segment_names_a_field_and_its_text(text: str, segment: Segment) -> None:
    assert parse(text) == segment


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "event_type", "event_type:", "event_type.a:b", "user_id:a", "Event_type:a"),
        *("properties:a", "properties.:a", "properties.a..b:c", "properties.a:", "properties.a\0:b"),
        *("properties" + ".a" * 32 + ":b", "event_type:" + "a" * 1000),
    ],
)
def test_anything_else_is_no_segment(text: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        parse(text)
    assert (caught.value.code, caught.value.field) == ("invalid_segment", "segment")


@pytest.mark.parametrize(
    ("value", "integer", "number"),
    [
        ("20", "20", 20.0),
        ("-0", "0", 0.0),
        ("9007199254740993", "9007199254740993", 9007199254740992.0),
        ("1" + 400 * "0", "1" + 400 * "0", None),
        ("20.0", None, 20.0),
        ("2E+1", None, 20.0),
        ("1e400", None, None),
        *((value, None, None) for value in ("020", "+20", "20.", ".5", "1_0", "٢", "NaN", "Infinity", "UA")),
    ],
)
def test_value_is_a_number_as_json_writes_it(value: str, integer: str | None, number: float | None) -> None:
    segment = parse(f"properties.n:{value}")
    assert (segment.integer, segment.number) == (integer, number)
