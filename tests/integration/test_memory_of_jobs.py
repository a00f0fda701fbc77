"""A job's memory does not grow with the readings it is about."""

import tracemalloc
from datetime import timedelta

from cold_tier import MIDNIGHT, ColdTier
from factories import Weir

from analytics.cold import parts
from shared.cold import manifest
from shared.scope import Scope

#: Whose summaries are as objects some 1,400 bytes each.
DAYS, DEVICES = 100, 100
ALL_SUMMARIES_BYTES = DAYS * DEVICES * 1_400


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
