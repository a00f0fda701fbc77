"""A job's memory does not grow with the readings it is about, nor with what is known of them."""

import json
import subprocess
import sys
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cold_tier import DAY, MIDNIGHT, ColdTier
from factories import ROOT, Weir, partition

from analytics.cold import parts
from cli.programs import inherited_environment
from shared.cold import manifest
from shared.scope import Scope

#: Whose summaries are as objects some 1,400 bytes each.
DAYS, DEVICES = 100, 100
ALL_SUMMARIES_BYTES = DAYS * DEVICES * 1_400

#: Readings of either tier, a millisecond apart from each day's midnight on.
COLD, HOT, NAMES = 900_000, 300_000, ("x", "y", "z", "magnitude")
#: As doubles.
ALL_BYTES = (COLD + HOT) * len(NAMES) * 8
#: The last of the cold and the first of the hot ones.
SOME = MIDNIGHT + timedelta(milliseconds=COLD - 100_000), MIDNIGHT + timedelta(days=1, milliseconds=100_000)


def know(weir: Weir) -> None:
    """Have the manifest know of days, of each device in each of them the same."""
    weir.rows(
        "INSERT INTO cold_files (id, stream, day, path, rows, bytes, sha256, footer_sha256, first, last)"
        " SELECT gen_random_uuid(), 'readings', day, day, %s, 1, '', '', day, day + interval '1 hour'"
        " FROM generate_series(%s, %s, interval '1 day') day",
        10 * DEVICES,
        MIDNIGHT,
        MIDNIGHT + timedelta(days=DAYS - 1),
    )
    weir.rows(
        "INSERT INTO cold_summaries SELECT f.id, key, 10 * key, 10, f.first, f.last, '{-1,0,1}', '{1,2,3}',"
        " '{{0.1,1e-20},{0.2,1e-20},{1e300,-1e-300}}' FROM cold_files f, generate_series(1, %s) key",
        DEVICES,
    )


def test_memory_for_what_is_known_of_devices_does_not_grow_with_them(weir: Weir) -> None:
    know(weir)
    cold = ColdTier(weir)
    try:
        with manifest.snapshot(cold.engine) as connection:
            parts(connection, cold.store, Scope((1,)))  # what is made ready once is there by then
            tracemalloc.start()
            found = parts(connection, cold.store, Scope(None))
            _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        cold.engine.dispose()
    assert [part.expected for part in found] == DAYS * [10 * DEVICES]
    assert most < ALL_SUMMARIES_BYTES / 5


def asked(weir: Weir, room: int) -> dict[str, Any]:
    """What tests/statistics_in_memory.py says, with room for so many values."""
    window = [moment.isoformat() for moment in SOME]
    done = subprocess.run(
        [sys.executable, "tests/statistics_in_memory.py", str(room), *window],
        cwd=ROOT,
        env=inherited_environment() | weir.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the most that was held")
def test_memory_of_a_job_has_a_bound_that_all_values_would_break(weir: Weir) -> None:
    cold = ColdTier(weir)
    try:
        for days, number in ((0, COLD), (1, HOT)):
            day = DAY + timedelta(days=days)
            partition(weir, "readings", day)
            weir.rows(
                "INSERT INTO readings SELECT 1 + n %% 4, CAST(%s AS date) + n * interval '1 ms', sin(n), cos(n), sin(2 * n)"
                " FROM generate_series(1, %s) n",
                day,
                number,
            )
        cold.seal()
    finally:
        cold.engine.dispose()
    bounded, unbounded = asked(weir, 100_000), asked(weir, 10 * (COLD + HOT))
    assert (bounded["answer"]["cold"], bounded["answer"]["hot"]) == (COLD, HOT)
    assert {name: bounded["answer"][name] for name in NAMES} == {name: unbounded["answer"][name] for name in NAMES}
    assert unbounded["bytes"] > ALL_BYTES
    assert bounded["bytes"] < ALL_BYTES
