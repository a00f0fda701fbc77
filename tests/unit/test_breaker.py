"""Dead letters stop when nearly everything fails, and go on when most is good again or nothing fails any more."""

import pytest

from consumer.breaker import QUIET_SECONDS, Breaker


def count(breaker, good, dead, now=0.0):
    breaker.count(good=good, dead=dead, now=now)
    return breaker.is_open


def test_it_opens_after_so_many_in_a_row_and_not_before():
    breaker = Breaker(in_a_row=3)
    assert not count(breaker, 0, 2)
    assert not count(breaker, 1, 0)
    assert not count(breaker, 0, 2)
    assert count(breaker, 0, 1)
    assert "nearly every message" in breaker.reason


def test_one_good_message_does_not_close_it_and_many_do():
    breaker = Breaker(in_a_row=1000)
    assert count(breaker, 0, 1000)
    assert count(breaker, 1, 0)
    assert count(breaker, 0, 99)
    assert count(breaker, 98, 0)
    assert not count(breaker, 1, 0)


@pytest.mark.parametrize("in_a_row", [10, 1000])
def test_it_opens_when_nine_in_ten_are_dead_though_never_many_in_a_row(in_a_row):
    breaker = Breaker(in_a_row)
    passes = 0
    while not breaker.is_open:
        assert passes < in_a_row
        count(breaker, 1, 0)
        count(breaker, 0, 9 if in_a_row == 10 else 19)
        passes += 1
    for _ in range(10_000):
        assert count(breaker, 1, 19), "it stays open while nearly everything fails"


def test_limit_beyond_reach_switches_it_off():
    breaker = Breaker(in_a_row=1_000_000)
    for _ in range(1_000):
        assert not count(breaker, 0, 900)
        assert not count(breaker, 1, 0)


def test_share_of_bad_messages_passes_for_ever():
    breaker = Breaker(in_a_row=10)
    assert not any(count(breaker, 1, 1) for _ in range(3_000))


def test_it_closes_when_nothing_fails_for_a_while_and_opens_again_sooner():
    breaker = Breaker(in_a_row=100)
    assert count(breaker, 0, 100, now=10.0)
    breaker.look_at_the_clock(10.0 + QUIET_SECONDS - 1)
    assert breaker.is_open
    breaker.look_at_the_clock(10.0 + QUIET_SECONDS)
    assert not breaker.is_open
    assert not count(breaker, 0, 9, now=100.0)
    assert count(breaker, 0, 1, now=100.0)
    breaker.look_at_the_clock(200.0)
    assert not count(breaker, 1, 0, now=200.0)
    assert not count(breaker, 0, 99, now=200.0)
    assert count(breaker, 0, 1, now=200.0)


def test_it_can_begin_open():
    breaker = Breaker(in_a_row=1000)
    breaker.open(now=5.0, reason="parked before")
    assert count(breaker, 0, 5, now=6.0)
    for _ in range(200):
        count(breaker, 1, 0, now=7.0)
    assert not breaker.is_open
