"""Dead letters stop when nearly everything fails, and go on when something is good again."""

from consumer.guard import WINDOW, Guard


def test_guard_trips_after_so_many_in_a_row_and_one_good_message_resets_it():
    guard = Guard(in_a_row=3)
    guard.count(good=0, dead=2)
    assert not guard.is_tripped
    guard.count(good=0, dead=1)
    assert guard.is_tripped
    guard.count(good=1, dead=0)
    assert not guard.is_tripped


def test_guard_trips_when_nine_in_ten_are_dead_though_never_many_in_a_row():
    guard = Guard(in_a_row=1000)
    for _ in range(WINDOW // 20):
        guard.count(good=1, dead=0)
        guard.count(good=0, dead=19)
    assert guard.is_tripped
    assert "nearly every message" in guard.reason
    for _ in range(WINDOW // 10):
        guard.count(good=1, dead=0)
    assert not guard.is_tripped


def test_guard_lets_a_share_of_bad_messages_pass_for_ever():
    guard = Guard(in_a_row=10)
    for _ in range(3 * WINDOW):
        guard.count(good=1, dead=1)
        assert not guard.is_tripped
