"""Options say what the columns of a file mean."""

import json

import pytest

from cli.importing.arguments import clock_of, layout_of
from cli.importing.columns import MissingColumns
from cli.importing.events_file import EventsFile
from cli.importing.lines import Reject
from cli.importing.readings_file import ReadingsFile
from shared.errors import WeirError


def layout(mapping=(), time_column=(), missing=(), columns=None, delimiter=","):
    return layout_of(delimiter, list(mapping), list(time_column), list(missing), columns, no_header=columns is not None)


def readings(text, described=None, clock=None, **arguments):
    """The readings of a file, as understood."""
    file = ReadingsFile(iter(text.splitlines(keepends=True)), described or layout(), clock, **arguments)
    found = [chunk.shown(index) for chunk in file.chunks(100) for index in range(len(chunk.lines))]
    return [tuple(one.values()) for one in found], file


def events(text, described=None, clock=None, **arguments):
    file = EventsFile(iter(text.splitlines(keepends=True)), described or layout(), clock, **arguments)
    chunks = [chunk for chunk in file.chunks(100) if not isinstance(chunk, Reject)]
    return [one for chunk in chunks for one in json.loads(chunk.encoded())]


def test_columns_of_other_names_constants_and_one_device_for_all():
    text = "when;P1;P2;note\n2026-01-01T00:00:00Z;1.5;2.5;fine\n"
    described = layout(["x=P1,y=p2", "z=0"], ["when"], delimiter="semicolon")
    found, file = readings(text, described, device="hall")
    assert found == [("hall", "2026-01-01T00:00:00Z", 1.5, 2.5, 0.0)]
    assert file.ignored == ["note"]


def test_time_may_be_joined_of_two_columns():
    text = "device,Date,Time,x,y,z\na,10/03/2004,18.00.00,1,2,3\n"
    clock = clock_of("%d/%m/%Y %H.%M.%S", "Europe/Rome", None)
    for columns in (["Date,Time"], ["Date", "Time"]):
        found, file = readings(text, layout(time_column=columns), clock)
        assert found == [("a", "2004-03-10T18:00:00+01:00", 1.0, 2.0, 3.0)]
        assert file.ignored == []


def test_decimal_commas_are_read_and_points_beside_them_are_not():
    text = "device;timestamp;x;y;z\na;2026-01-01T00:00:00Z;1,5;-2,25;1.234\n"
    ((_, _, *axes),), _ = readings(text, layout(["z=z"], delimiter=";"), decimal=",")
    assert axes == [1.5, -2.25, "1,234"]
    ((_, _, *axes),), _ = readings(text, layout(["z=0.5"], delimiter=";"), decimal=",")
    assert axes == [1.5, -2.25, 0.5]


def test_lines_without_a_value_are_left_out_and_counted():
    text = "device,timestamp,x,y,z\na,2026-01-01T00:00:00Z,1,2,3\na,2026-01-01T00:00:01Z,NA,2,3\n"
    found, file = readings(text, layout(missing=["NA", "-200"]))
    assert (len(found), file.missing) == (1, 1)


def test_missing_text_is_not_looked_for_in_constants():
    found, file = readings("timestamp,x\n2026-01-01T00:00:00Z,1\n", layout(["y=0,z=0"], missing=["0"]), device="0")
    assert (len(found), file.missing) == (1, 0)


def test_file_without_header_gets_its_names_by_option():
    found, _ = readings("2026-01-01T00:00:00Z,1,2,3\n", layout(columns="timestamp,x,y,z"), device="a")
    assert found == [("a", "2026-01-01T00:00:00Z", 1.0, 2.0, 3.0)]


@pytest.mark.parametrize(
    "header", ["device,timestamp,x,y,z,x", "device,timestamp,x,y,z,X", "device,timestamp,x,y,z,n,n"]
)
def test_column_named_twice_is_refused(header):
    with pytest.raises(WeirError, match="twice"):
        readings(header + "\n")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mapping": ["x=P9"]}, "no column P9; the columns are device, timestamp, x, y, z"),
        ({"mapping": ["w=x"]}, "no w"),
        ({"mapping": ["x"]}, "must look like"),
        ({"mapping": ["x=y,x=z"]}, "x twice"),
        ({"time_column": ["when"]}, "no column when"),
        ({"delimiter": "::"}, "one character"),
    ],
)
def test_options_that_make_no_sense_are_named(arguments, match):
    with pytest.raises(WeirError, match=match):
        readings("device,timestamp,x,y,z\n", layout(**arguments))


def test_columns_that_nothing_is_known_of_are_named():
    with pytest.raises(MissingColumns) as caught:
        readings("sensor,timestamp,x\n")
    assert caught.value.fields == ["device", "y", "z"]


def test_event_fields_are_mapped_and_their_columns_are_no_properties():
    text = "id,src,when,country\n1,ann,1777629600,UA\n"
    described = layout(["event_id=id,user_id=src", "event_type==view"], ["when"])
    (found,) = events(text, described, clock_of("s", None, None))
    del found["event_id"]
    assert found == {
        "user_id": "ann",
        "event_type": "view",
        "occurred_at": "2026-05-01T10:00:00+00:00",
        "properties": {"country": "UA"},
    }


def test_events_without_ids_get_them_from_content_or_line():
    rows = ["user_id,event_type,occurred_at\n", "a,view,2026-01-01T00:00:00Z\n", "b,view,2026-01-01T00:00:00Z\n"]

    def ids(*lines, id_from):
        return [one["event_id"] for one in events("".join(lines), id_from=id_from)]

    one, other = ids(*rows, id_from="content")
    assert one != other
    assert ids(rows[0], rows[2], rows[1], rows[1], id_from="content") == [other, one, one]
    first, second = ids(*rows, id_from="line")
    assert ids(rows[0], rows[1], rows[1], id_from="line") == [first, second]
    with pytest.raises(MissingColumns):
        ids(*rows, id_from=None)
    with pytest.raises(WeirError, match="leave out --event-id"):
        ids("event_id,user_id,event_type,occurred_at\n", id_from="content")


def test_rejected_lines_keep_their_ids_and_gain_no_properties():
    header = "event_id,user_id,event_type,occurred_at,country\n"
    original = header + "1,u,view,2026-01-01T00:00:00Z,UA\n2,u,view,2026-01-02T00:00:00Z,UA\n"
    file = EventsFile(iter(original.splitlines(keepends=True)))
    rejects = (
        f"line,field,code,namespace,{header}3,occurred_at,empty,{file.namespace},2,u,view,2026-01-02T00:00:00Z,UA\n"
    )
    assert events(rejects) == events(original)[1:]


def test_ids_that_would_follow_from_a_broken_line_are_refused():
    text = 'event_id,user_id,event_type,occurred_at,note\n1,u,view,2026-01-01T00:00:00Z,"open\n2,u,view,2026-01-01T00:00:00Z,\n'
    with pytest.raises(WeirError, match=r"line 2 cannot be read.*--namespace"):
        events(text)
    file = EventsFile(iter(text.splitlines(keepends=True)), namespace="n")
    assert [one if isinstance(one, Reject) else one.lines for one in file.chunks(9)] == [
        Reject(2, None, "quote_not_closed"),
        [3],
    ]
