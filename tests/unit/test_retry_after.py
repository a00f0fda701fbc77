"""A refused sender is told when to come again: as long as the backlog takes, bounded, and not all at once."""

import math

import pytest

from api.errors import LATEST, SOONEST, USUAL_WAIT, problem_of, retry_after
from shared.broker.backlog import MEMORY_SECONDS, Backlog, Rate
from shared.errors import BrokerUnavailable, DatabaseUnavailable, Misconfigured, PublishRefused


@pytest.fixture
def backlog():
    return Backlog("weir.readings", None)


def told(error):
    return int(dict(problem_of(error).headers)[b"retry-after"])


@pytest.mark.parametrize(
    ("seconds", "most"), [(None, USUAL_WAIT), (0.0, SOONEST), (10.0, 10), (1e9, LATEST), (math.inf, LATEST)]
)
def test_wait_is_bounded_and_spread(seconds, most):
    waits = {retry_after(seconds) for _ in range(2_000)}
    assert max(waits) <= most
    assert min(waits) >= max(SOONEST, most // 2)
    assert len(waits) >= most // 2


@pytest.mark.parametrize("kind", [BrokerUnavailable, DatabaseUnavailable, Misconfigured])
def test_what_is_away_is_asked_again_soon(kind):
    assert {told(kind("away")) for _ in range(200)} <= set(range(SOONEST, USUAL_WAIT + 1))


def test_refusal_says_how_long_what_waits_will_take():
    waits = {told(PublishRefused("full", 40.0)) for _ in range(500)}
    assert waits <= set(range(20, 41))
    assert len(waits) > 10


def test_queue_is_empty_after_its_length_at_the_speed_of_late(backlog):
    assert backlog.until_empty() is None
    backlog.looked(1_000, 100.0)
    assert backlog.until_empty() is None  # one look shows no speed
    for _ in range(200):
        backlog.confirmed(5)
    backlog.looked(1_100, 110.0)  # 200 came and 100 went in ten seconds
    assert backlog.until_empty() == pytest.approx(110)


def test_queue_that_nobody_empties_is_worth_the_longest_wait(backlog):
    backlog.looked(500, 1.0)
    backlog.looked(500, 6.0)
    assert backlog.until_empty() == math.inf
    assert told(PublishRefused("full", backlog.until_empty())) > LATEST // 2 - 1


def test_what_waits_here_takes_as_long_as_confirms_say(backlog):
    assert backlog.until_confirmed(1_000) is None
    for _ in range(10):
        backlog.confirmed(100)
    assert 0 < backlog.until_confirmed(1_000) < 60


def test_rate_is_of_late_from_the_first_second():
    rate = Rate(0.0)
    assert rate.per_second(0.0) == 0
    for second in range(1, 4):
        rate.add(100, float(second))
    assert rate.per_second(3.0) == pytest.approx(100, rel=0.2)
    for second in range(4, 100):
        rate.add(10, float(second))
    assert rate.per_second(99.0) == pytest.approx(10, rel=0.1)
    assert rate.per_second(99.0 + 5 * MEMORY_SECONDS) < 1
