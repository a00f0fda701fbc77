"""Words of a question: read as they are meant, and the way there and back is the same question."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from shared.errors import InvalidRecord
from shared.questions import Question, axes, bucket, fraction, quantiles


@pytest.mark.parametrize(
    ("words", "span"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("1d", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
        ("PT15M", timedelta(minutes=15)),
        ("P1D", timedelta(days=1)),
        ("P1DT2H30M", timedelta(days=1, hours=2, minutes=30)),
        ("P2W", timedelta(weeks=2)),
        ("PT0.5S", timedelta(milliseconds=500)),
    ],
)
def test_buckets_are_read(words: str, span: timedelta) -> None:
    assert bucket(words) == span


@pytest.mark.parametrize(
    "words", ["", "h", "1", "1 h", "1.5h", "-1h", "1y", "P", "PT", "P1M", "P1Y", "P1DT", "PT1H1D", "١h"]
)
def test_what_is_no_span_is_refused(words: str) -> None:
    with pytest.raises(InvalidRecord) as refused:
        bucket(words)
    assert (refused.value.field, refused.value.code) == ("bucket", "not_a_duration")


def test_words_in_another_order_are_the_same_question() -> None:
    assert axes(["z", "x"]) == axes(["x", "z", "x"]) == ("x", "z")
    assert quantiles(["0.5", "0.05", "0.50", "-0", "0"]) == (0.0, 0.05, 0.5)
    assert fraction(0.1) == Fraction(1, 10)


def test_question_is_the_same_after_its_way_through_the_row() -> None:
    whole = Question(
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 2, 1, tzinfo=UTC),
        axes=("y",),
        magnitude=True,
        quantiles=(0.1, 0.9),
        histogram=7,
        bucket=timedelta(milliseconds=1500),
    )
    assert Question.of_json(whole.as_json()) == whole
    assert Question.of_json({}) == Question.of_json(Question().as_json()) == Question()
    assert Question().as_json() == {"start": None, "end": None}


def test_bound_of_buckets_counts_those_that_the_window_cuts() -> None:
    start = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    Question(start, start + timedelta(hours=9_999), bucket=timedelta(hours=1)).require_bounded()
    with pytest.raises(InvalidRecord):
        Question(start, start + timedelta(hours=10_000), bucket=timedelta(hours=1)).require_bounded()


HOUR = timedelta(hours=1)
MORNING = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("question", "most"),
    [
        # 10 beside 3 axes of 5 numbers; with quantiles, a histogram's edges and counts, the buckets of the window.
        (Question(), 500_000 // 25),
        (Question(quantiles=(0.1, 0.9)), 500_000 // 31),
        (Question(axes=("x",), histogram=100), 500_000 // 216),
        (Question(axes=("x",), magnitude=True, histogram=1000), 500_000 // 4022),
        (Question(MORNING, MORNING + 24 * HOUR, bucket=HOUR), 500_000 // (25 + 24 * 15)),
        (Question(MORNING, bucket=HOUR), 500_000 // (25 + 15)),
    ],
)
def test_answer_of_many_devices_is_as_long_as_that_of_one_may_be(question: Question, most: int) -> None:
    question.require_bounded(most)
    with pytest.raises(InvalidRecord) as refused:
        question.require_bounded(most + 1)
    assert (refused.value.field, refused.value.code) == ("group_by", "too_many")


def test_buckets_that_may_be_are_those_that_fit_beside_the_rest() -> None:
    assert Question(bucket=HOUR).most_buckets() == 10_000
    assert Question(bucket=HOUR).most_buckets(100) == (5_000 - 25) // 15
    assert Question(bucket=HOUR).most_buckets(1_000_000) == 0
