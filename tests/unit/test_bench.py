"""What the benchmark concludes from what it measured."""

import json
from collections import Counter
from datetime import date

import pytest

from cli.bench.backlog import split
from cli.bench.days import OTHERS, batches
from cli.bench.figures import Comparison, Figures, Invalid, Summary, Target, Verdict
from cli.bench.report import as_json, rounded
from cli.bench.targets import COMPARISONS
from cli.bench.wrk import Load
from shared.streams.readings import ROW_BYTES, unpack

FASTER, SMALLER = Target(0.4, 0.6), Target(1.2, 1.05)


def said(**changes):
    counts = {"requests": 900, "microseconds": 3_000_000, "p50": 1500, "p99": 20_000}
    return "Running 3s test @ http://…\n" + json.dumps({**counts, "not_answered": 0, "not_accepted": 0, **changes})


def measured(**rounds):
    figures = Figures()
    for name, values in rounds.items():
        for value in values:
            figures.add(name, value)
    return figures


def test_load_is_read_from_the_last_line_of_wrk():
    assert Load.read(said() + "\n") == Load(requests=900, per_second=300.0, p50_ms=1.5, p99_ms=20.0)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "unable to connect to 127.0.0.1:1 Connection refused\n",
        said(not_accepted=1),
        said(not_answered=1),
        said(requests=0),
    ],
)
def test_load_with_anything_but_accepted_requests_is_invalid(output):
    with pytest.raises(Invalid):
        Load.read(output)


def test_median_of_rounds_is_told_with_their_extremes():
    assert Summary.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Summary(median=3.0, lowest=1.0, highest=5.0)


def test_ratio_compares_what_was_measured_in_the_same_round():
    figures = measured(ours=[10.0, 40.0, 30.0], limit=[20.0, 50.0, 100.0])
    result = Comparison("name", "ours", "÷", "limit", FASTER).result(figures)
    assert result.summary == Summary(median=0.5, lowest=0.3, highest=0.8)
    assert result.verdict is Verdict.MET


def test_difference_and_single_figure_are_judged_alike():
    figures = measured(ours=[1.4, 1.5], limit=[1.0, 1.1])
    difference = Comparison("name", "ours", "−", "limit", Target(0.5, 0.3)).result(figures)
    single = Comparison("name", "ours", target=Target(0.5, 0.3)).result(figures)
    assert difference.summary.median == pytest.approx(0.4)
    assert (difference.verdict, single.verdict) == (Verdict.MET, Verdict.MISSED)


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (FASTER, 0.39, Verdict.MISSED),
        (FASTER, 0.40, Verdict.MET),
        (FASTER, 0.59, Verdict.MET),
        (FASTER, 0.60, Verdict.AIM),
        (SMALLER, 1.21, Verdict.MISSED),
        (SMALLER, 1.20, Verdict.MET),
        (SMALLER, 1.06, Verdict.MET),
        (SMALLER, 1.05, Verdict.AIM),
    ],
)
def test_target_is_met_from_its_bound_on(target, value, verdict):
    assert target.judge(value) is verdict


def test_comparison_of_a_part_that_was_left_out_has_no_result():
    assert Comparison("name", "ours", "÷", "limit").result(measured(ours=[1.0])) is None
    assert Comparison("name", "ours", "÷", "limit").result(measured(limit=[1.0])) is None


def test_every_comparison_has_a_name_and_a_limit_of_the_same_unit():
    assert len({comparison.name for comparison in COMPARISONS}) == len(COMPARISONS)
    for comparison in COMPARISONS:
        if comparison.operation:
            assert comparison.ours.rpartition("_")[2] == comparison.limit.rpartition("_")[2]


def test_results_are_kept_as_plain_json():
    figures = measured(ours=[1.0], limit=[2.0])
    found = [Comparison("name", "ours", "÷", "limit", FASTER).result(figures)]
    kept = json.loads(json.dumps(as_json(figures, found, plan={"rounds": 1})))
    assert kept["ratios"] == [
        {"name": "name", "unit": "", "median": 0.5, "min": 0.5, "max": 0.5, "bound": 0.4, "aim": 0.6, "verdict": "met"}
    ]
    assert kept["figures"]["ours"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}


def test_backlog_is_cut_between_records():
    size = ROW_BYTES
    assert [len(body) // size for body in split(bytes(7 * size), 3)] == [3, 3, 1]


def test_day_of_readings_has_the_rows_it_says():
    day = date(2026, 1, 31)
    found = unpack(b"".join(batches([3, 4], day, 5000)))
    times = [record["timestamp"] for _, record in found]
    assert Counter(key for key, _ in found) == {3: 5000, 4: OTHERS}
    assert times == sorted(times)
    assert {time.date() for time in times} == {day}


@pytest.mark.parametrize(("value", "text"), [(123456.7, "123,457"), (99.94, "99.9"), (0.03921, "0.0392"), (0.0, "0")])
def test_figures_are_rounded_to_what_they_can_mean(value, text):
    assert rounded(value) == text
