"""Lines of events become the same chunks, with the same ids, on every run."""

import json
from uuid import UUID

import pytest

from cli.importing.events_file import Chunk, EventsFile
from cli.importing.lines import Reject
from shared.errors import WeirError

HEADER = "event_id,user_id,event_type,occurred_at,country,note\n"
KNOWN = "2f1e4fc0-81fd-41da-9156-aff36efd8eef"


def line(number=1, **cells):
    known = {"event_id": str(number), "user_id": "u", "event_type": "view", "occurred_at": "2026-01-01T00:00:00Z"}
    return ",".join((known | {"country": "UA", "note": ""} | cells).values()) + "\n"


def events(*rows, header=HEADER, limit=100, namespace=None):
    chunks = EventsFile(iter([header, *rows]), namespace=namespace).chunks(limit)
    return [one for chunk in chunks for one in json.loads(chunk.encoded())]


def ids(*rows, **arguments):
    return [one["event_id"] for one in events(*rows, **arguments)]


def test_other_columns_become_properties_and_empty_cells_none():
    (found,) = events(line(event_id=KNOWN))
    assert found == {
        "event_id": KNOWN,
        "user_id": "u",
        "event_type": "view",
        "occurred_at": "2026-01-01T00:00:00Z",
        "properties": {"country": "UA"},
    }


def test_columns_may_stand_in_any_order_and_case():
    (found,) = events("UA,2026-01-01T00:00:00Z,view,u,1\n", header="Country,OCCURRED_AT,event_type,User_Id, event_id\n")
    assert (found["user_id"], found["event_type"], found["properties"]) == ("u", "view", {"Country": "UA"})


def test_id_that_is_a_uuid_stays_and_others_become_one():
    found = ids(line(), line(event_id=KNOWN), line(event_id=KNOWN.upper()), line(2))
    assert found[1:3] == [KNOWN, KNOWN]
    assert all(UUID(one).version == 5 for one in (found[0], found[3]))
    assert len(set(found)) == 3


def test_same_file_has_the_same_ids_also_when_it_has_grown():
    first = ids(line(1), line(2))
    assert ids(line(1), line(2)) == first
    assert ids(line(1), line(2), line(3), limit=1)[:2] == first


def test_files_that_begin_differently_have_other_ids_unless_one_namespace_is_named():
    one, other = (line(1), line(2)), (line(2, user_id="v"), line(1))
    assert not set(ids(*one)) & set(ids(*other))
    assert set(ids(*one, namespace="shop")) == set(ids(*other, namespace="shop"))
    assert not set(ids(*one, namespace="shop")) & set(ids(*one, namespace="forum"))


def test_empty_id_is_left_for_the_api_to_refuse():
    assert ids(line(event_id="")) == [""]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_chunks_hold_so_many_lines_in_their_order(limit):
    rows = [line(number) for number in range(7)]
    found = list(EventsFile(iter([HEADER, *rows])).chunks(limit))
    assert [number for chunk in found for number in chunk.lines] == list(range(2, 9))
    assert all(len(chunk.lines) <= limit for chunk in found)
    assert len({chunk.key() for chunk in found}) == len(found)
    again = list(EventsFile(iter([HEADER, *rows])).chunks(limit))
    assert [chunk.key() for chunk in again] == [chunk.key() for chunk in found]


def test_wide_lines_make_chunks_that_fit_a_request():
    rows = [line(number, note="x" * 16_000) for number in range(400)]
    found = list(EventsFile(iter([HEADER, *rows])).chunks(10_000))
    assert len(found) > 1
    assert all(len(chunk.encoded()) < 3 * 1024 * 1024 for chunk in found)
    assert sum(len(chunk.lines) for chunk in found) == 400


def test_line_with_the_wrong_number_of_columns_costs_that_line():
    found = list(EventsFile(iter([HEADER, line(1), "5,u\n", "\n", line(2)])).chunks(100))
    assert found[0] == Reject(3, None, "columns")
    assert isinstance(found[1], Chunk)
    assert found[1].lines == [2, 5]


def test_bytes_that_are_no_utf_8_cost_their_line():
    found = list(EventsFile(iter([HEADER, line(1), line(2, user_id="\udcff"), line(3)])).chunks(100))
    assert (found[0].line, found[0].code, found[1].lines) == (3, "not_utf_8", [2, 4])


def test_header_must_name_what_an_event_needs():
    with pytest.raises(WeirError, match="hold event_type, occurred_at"):
        events(header="event_id,user_id,country\n")


def test_header_must_not_name_anything_twice():
    with pytest.raises(WeirError, match="twice: country"):
        events(header="event_id,user_id,event_type,occurred_at,country,country\n")


def with_properties(cell, note=""):
    quoted = '"' + cell.replace('"', '""') + '"'
    return f"{KNOWN},u,view,2026-01-01T00:00:00Z,{quoted},{note}\n"


WITH_PROPERTIES = "event_id,user_id,event_type,occurred_at,properties,note\n"


def test_members_of_properties_become_properties_beside_other_columns():
    cell = '{"n": 1, "big": 123456789012345678901234567890, "f": 20.0, "deep": {"a": [null, "b,\\n"]}}'
    (found,) = events(with_properties(cell, note="x"), header=WITH_PROPERTIES)
    assert json.dumps(found["properties"]) == json.dumps(json.loads(cell) | {"note": "x"})
    assert [one["properties"] for one in events(with_properties(""), header=WITH_PROPERTIES)] == [{}]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("[1]", "not_an_object"),
        ("red", "malformed"),
        ('{"a": 1}, "user_id": "v"', "malformed"),
        ('{"a": NaN}', "malformed"),
        ('{"note": 1}', "property_twice"),
        ('{"a": ' + "[" * 50_000 + "]" * 50_000 + "}", "malformed"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "too_deep"),
        ('{"a": "' + "x" * 17_000 + '"}', "too_many_bytes"),
    ],
)
def test_bad_properties_cost_their_line(cell, code):
    rows = [with_properties("{}"), with_properties(cell, note="x"), with_properties("{}")]
    reject, chunk = EventsFile(iter([WITH_PROPERTIES, *rows])).chunks(100)
    assert (reject.line, reject.field, reject.code, chunk.lines) == (3, "properties", code, [2, 4])


def test_cell_longer_than_csv_takes_costs_its_line():
    rows = [with_properties("{}"), with_properties("x" * 140_000), with_properties("{}")]
    reject, chunk = EventsFile(iter([WITH_PROPERTIES, *rows])).chunks(100)
    assert (reject.line, reject.code, chunk.lines) == (3, "line_too_long", [2, 4])


def test_properties_that_only_look_like_too_much_are_taken():
    cell = json.dumps({"a": [[number] for number in range(2400)]})
    assert len(cell) > 16 * 1024
    (found,) = events(with_properties(cell), header=WITH_PROPERTIES)
    assert found["properties"] == json.loads(cell)
