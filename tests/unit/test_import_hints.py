"""A file that is not as expected gets the options that fit it, ready to be pasted."""

import pytest

from cli.importing.arguments import clock_of, layout_of
from cli.importing.files import opened
from cli.importing.hints import Sample, Told, explained, for_events, for_readings


@pytest.fixture
def advised(tmp_path):
    """What is advised for a file, and the whole explanation."""

    def run(text, advise=for_readings, *, delimiter=",", mapping=(), time_column=(), zone=None, **told):
        path = tmp_path / "file.csv"
        path.write_text(text)
        layout = layout_of(delimiter, list(mapping), list(time_column), None, None, no_header=False)
        known = Told(layout, clock_of(None, zone, None), **told)
        with opened(path) as source:
            sample = Sample.of(source, known)
        options = advise(sample, known)
        return options, explained(sample, options)

    return run


def test_tabs_and_names_that_need_quotes(advised):
    options, _ = advised("Sensor Name\tMeasured at\tTemp (C)\tNote\nhall 1\t2026-01-01T00:00:00Z\t21.5\tx\n")
    assert options == [
        "--delimiter tab",
        "--map 'device=Sensor Name,x=Temp (C),y=0,z=0'",
        "--time-column 'Measured at'",
    ]


def test_what_was_told_is_not_advised_again(advised):
    text = "sensor_id;when;P1;P2\n7;2026-01-01 00:00:00;1;2\n"
    options, _ = advised(text, delimiter=";", mapping=["device=sensor_id,x=P1"], time_column=["when"], zone="UTC")
    assert options == ["--map y=P2,z=0"]


def test_month_first_is_named_where_both_would_do(advised):
    options, text = advised("device,timestamp,x,y,z\na,10/03/2004 18:00:00,1,2,3\n")
    assert options == ["--time-format '%d/%m/%Y %H:%M:%S'", "--time-zone UTC"]
    assert "where the month comes first: --time-format '%m/%d/%Y %H:%M:%S'" in text


def test_first_line_is_shown_and_not_all_of_a_long_one(advised):
    _, text = advised("a" * 10_000 + "\n")
    assert "the first line as seen: " + "a" * 200 + "…" in text


@pytest.mark.parametrize("text", ["", "\n", ",,\n", '"open\n', "a,b\n1\n", "\ufeff"])
def test_file_of_nothing_is_no_error_of_ours(advised, text):
    for advise in (for_readings, for_events):
        assert advised(text, advise)[1]


def test_events_are_mapped_by_what_names_say(advised):
    options, _ = advised("id,customer,action,ts\n1,ann,view,1777629600\n", for_events)
    assert options == [
        "--map event_id=id,user_id=customer,event_type=action",
        "--time-column ts",
        "--time-format auto",
    ]


def test_file_without_header_is_noticed_and_its_columns_get_names(advised):
    options, _ = advised("7,a,2026-01-01 00:00:00,1.5,2,3\n8,a,2026-01-01 00:00:01,1.5,2,3\n")
    assert options == ["--no-header --columns x,device,timestamp,y,z,column6", "--time-zone UTC"]
    options, _ = advised("a;1777629600;1\n")
    assert options == [
        "--delimiter ';'",
        "--no-header --columns device,timestamp,x",
        "--map y=0,z=0",
        "--time-format auto",
    ]
    options, _ = advised("1,ann,view,2026-01-01T00:00:00Z\n", for_events)
    assert options == ["--no-header --columns NAME,NAME,…"]
