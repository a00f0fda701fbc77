"""A job goes at full speed until it meets others, and then rests more than it runs."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from analytics.pace import LONGEST, REST, STAYS, STEP, Pace, waited


class Machine:
    """A clock that only its owner moves: running, waiting for a processor, resting."""

    def __init__(self) -> None:
        self.ran = self.waited = self.rested = 0.0

    def run(self, seconds: float, *, waiting: float = 0.0) -> None:
        self.ran += seconds
        self.waited += waiting

    def rest(self, seconds: float) -> None:
        self.rested += seconds

    def pace(self, budget: float = 1000.0) -> Pace:
        return Pace(
            timedelta(seconds=budget),
            ran=lambda: self.ran,
            waited=lambda: self.waited,
            now=lambda: self.ran + self.waited + self.rested,
            sleep=self.rest,
        )


def test_who_is_alone_never_rests() -> None:
    machine = Machine()
    pace = machine.pace()
    for _ in range(1000):
        machine.run(STEP, waiting=STEP / 100)
        pace.keep()
    assert machine.rested == 0


def test_who_waited_for_a_processor_rests_many_times_as_long_as_it_ran() -> None:
    machine = Machine()
    pace = machine.pace()
    machine.run(STEP, waiting=STEP)
    pace.keep()
    assert machine.rested == pytest.approx(REST * STEP)


def test_who_waits_for_its_own_threads_now_and_then_has_no_company() -> None:
    machine = Machine()
    pace = machine.pace()
    for _ in range(100):
        machine.run(STEP, waiting=0.3 * STEP)
        pace.keep()
    assert machine.rested == 0


def test_company_is_remembered_for_a_second_of_not_meeting_it_and_not_for_ever() -> None:
    machine = Machine()
    pace = machine.pace()
    machine.run(STEP, waiting=STEP)
    pace.keep()
    for _ in range(round(2 * STAYS / STEP)):
        machine.run(STEP)
        pace.keep()
    assert machine.rested == pytest.approx(REST * STAYS, rel=0.1)


def test_what_one_thread_has_waited_says_nothing_of_another() -> None:
    machine = Machine()
    here = threading.get_ident()
    waited_by = {here: 0.0}
    pace = Pace(
        timedelta(seconds=1000),
        ran=lambda: machine.ran,
        waited=lambda: waited_by.get(threading.get_ident(), 100.0),
        now=lambda: machine.ran + machine.rested,
        sleep=machine.rest,
    )
    with ThreadPoolExecutor(1) as other:
        for _ in range(10):
            machine.run(STEP)
            pace.keep()
            machine.run(STEP)
            other.submit(pace.keep).result()
        assert machine.rested == 0
        machine.run(STEP)
        waited_by[here] += 20 * STEP
        other.submit(pace.keep).result()
        assert machine.rested == 0
        machine.run(STEP)
        pace.keep()
    assert machine.rested > 0


def test_one_rest_is_never_longer_than_one_may_wait_for_a_cancel() -> None:
    machine = Machine()
    pace = machine.pace()
    machine.run(10 * LONGEST, waiting=10 * LONGEST)
    pace.keep()
    assert machine.rested == LONGEST


def test_all_rests_together_are_no_longer_than_the_budget() -> None:
    machine = Machine()
    pace = machine.pace(budget=2.5)
    for _ in range(1000):
        machine.run(STEP, waiting=STEP)
        pace.keep()
    assert machine.rested == pytest.approx(2.5)


def _run_until(over: float) -> None:
    while time.monotonic() < over:
        pass


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not tell how long one waited")
def test_a_thread_that_shares_its_processor_is_seen_to_wait() -> None:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    other = multiprocessing.get_context("fork").Process(target=_run_until, args=(time.monotonic() + 30,))
    try:
        other.start()
        before, deadline = waited(), time.monotonic() + 20
        while waited() - before < 0.01:
            assert time.monotonic() < deadline, "shared a processor and never waited for it"
    finally:
        os.sched_setaffinity(0, mine)
        other.kill()
        other.join()
