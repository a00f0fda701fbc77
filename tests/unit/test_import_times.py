"""Timestamps of every form become RFC 3339, to the microsecond, or stay as they are for the API to refuse."""

import pytest

from cli.importing.arguments import clock_of
from cli.importing.times import guessed
from shared.errors import WeirError


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("s", "1777629600", "2026-05-01T10:00:00+00:00"),
        ("s", "1777629600.123456789", "2026-05-01T10:00:00.123456+00:00"),
        ("s", "-1.5", "1969-12-31T23:59:58.500000+00:00"),
        ("ms", "1777629601000", "2026-05-01T10:00:01+00:00"),
        ("ms", "1777629601000.5", "2026-05-01T10:00:01.000500+00:00"),
        ("us", "1777629601000001", "2026-05-01T10:00:01.000001+00:00"),
        ("ns", "1777629601000001999", "2026-05-01T10:00:01.000001+00:00"),
        ("auto", "1777629600", "2026-05-01T10:00:00+00:00"),
        ("auto", "1777629601000", "2026-05-01T10:00:01+00:00"),
        ("auto", "1777629601000001", "2026-05-01T10:00:01.000001+00:00"),
        ("auto", "1777629601000001999", "2026-05-01T10:00:01.000001+00:00"),
        ("auto", "2026-05-01T10:00:00Z", "2026-05-01T10:00:00Z"),
        ("%d/%m/%Y %H:%M:%S %z", "01/05/2026 10:00:00 +0200", "2026-05-01T10:00:00+02:00"),
    ],
)
def test_form_is_read(form, text, expected):
    assert clock_of(form, None, None).convert([text]) == [expected]


@pytest.mark.parametrize("text", ["20260501100000", "177762960", "yesterday", "", "1e9", "nan", "٣٣٣٣٣٣٣٣٣٣"])
def test_what_may_mean_something_else_is_left_for_the_api(text):
    assert clock_of("auto", None, None).convert([text]) == [text]


@pytest.mark.parametrize("text", ["2026-05-01", "", "nan", "inf", "1e9", "9" * 30])
def test_what_is_no_number_of_the_unit_is_left_for_the_api(text):
    assert clock_of("s", None, None).convert([text]) == [text]


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("UTC", "2017-10-31T00:00:15", "2017-10-31T00:00:15+00:00"),
        ("Europe/Berlin", "2026-05-01 10:00:00", "2026-05-01T10:00:00+02:00"),
        ("+05:30", "2026-05-01 10:00:00.123", "2026-05-01T10:00:00.123000+05:30"),
        ("-0330", "2026-05-01 10:00:00", "2026-05-01T10:00:00-03:30"),
        ("Europe/Berlin", "2026-05-01T10:00:00Z", "2026-05-01T10:00:00Z"),
        ("Europe/Berlin", "2026-05-01T10:00:00.1234567+01:00", "2026-05-01T10:00:00.1234567+01:00"),
    ],
)
def test_local_time_gets_its_offset_and_others_keep_theirs(zone, text, expected):
    assert clock_of(None, zone, None).convert([text]) == [expected]


@pytest.mark.parametrize(
    ("ambiguous", "expected"),
    [
        (None, ["2026-10-25T01:59:59+02:00", "2026-10-25T02:30:00", "2026-03-29T02:30:00"]),
        ("earlier", ["2026-10-25T01:59:59+02:00", "2026-10-25T02:30:00+02:00", "2026-03-29T02:30:00"]),
        ("later", ["2026-10-25T01:59:59+02:00", "2026-10-25T02:30:00+01:00", "2026-03-29T02:30:00"]),
    ],
)
def test_hour_that_comes_twice_is_chosen_or_refused_and_one_that_never_came_is_refused(ambiguous, expected):
    texts = ["2026-10-25 01:59:59", "2026-10-25 02:30:00", "2026-03-29 02:30:00"]
    assert clock_of(None, "Europe/Berlin", ambiguous).convert(texts) == expected


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("minutes", None, None), "--time-format must be"),
        (("%Q", None, None), "--time-format cannot be used"),
        ((None, "Berlin", None), "IANA"),
        ((None, "../etc/passwd", None), "IANA"),
        ((None, None, "later"), "needs --time-zone"),
    ],
)
def test_options_that_make_no_sense_are_named(arguments, match):
    with pytest.raises(WeirError, match=match):
        clock_of(*arguments)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1777629600", "1777629601000"], (["auto"], False)),
        (["2026-05-01T10:00:00"], ([], True)),
        (["2026-05-01T10:00:00Z"], ([], False)),
        (["13/03/2004 18.00.00"], (["%d/%m/%Y %H.%M.%S"], True)),
        (["10/03/2004 18.00.00"], (["%d/%m/%Y %H.%M.%S", "%m/%d/%Y %H.%M.%S"], True)),
        (["soon"], None),
        ([], None),
    ],
)
def test_form_is_guessed_for_the_advice(texts, expected):
    assert guessed(texts) == expected
