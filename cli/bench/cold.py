"""Sealed days: what a question costs, what they take on disk, and what a big job takes from everybody else."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import count

from cli.bench import wrk
from cli.bench.asking import ask, compare, in_sql, keep_busy, warm_up
from cli.bench.days import batches, make_partition, past, start_of
from cli.bench.figures import Invalid
from cli.bench.part import Bench
from cli.bench.single_readings import lane_url
from cli.process_tree import memory_mb

DEVICES = 100
CONNECTIONS = 64
#: Between two looks at a worker's memory, which take a processor for some milliseconds each.
LOOK_SECONDS = 0.1

#: Files, ordered copies, and what PostgreSQL keeps about them.
_BYTES = """
    SELECT (SELECT sum(f.bytes) FROM cold_files f WHERE f.day = ANY(%(days)s))
         + (SELECT coalesce(sum(o.bytes), 0) FROM cold_ordered o JOIN cold_files f ON f.id = o.file WHERE f.day = ANY(%(days)s))
         + (SELECT sum(pg_column_size(s.*)) FROM cold_summaries s JOIN cold_files f ON f.id = s.file WHERE f.day = ANY(%(days)s))
         + (SELECT coalesce(sum(pg_column_size(b.*)), 0) FROM cold_blocks b JOIN cold_files f ON f.id = b.file
            WHERE f.day = ANY(%(days)s))
"""
_ROWS = "SELECT coalesce(sum(rows), 0) FROM cold_files WHERE day = ANY(%(days)s)"


def measure(bench: Bench) -> None:
    """One device of a hundred has a million readings on each of ten days; every question asks for another window."""
    rig = bench.rig
    days = past(bench.plan.days)
    with rig.running("api", "consumer", "worker"):
        devices = rig.devices(DEVICES)
        keys = [key for _, key in devices]
        try:
            _seal(bench, "cold.sealed", keys, days)
            _ask(bench, str(devices[0][0]), keys, days)
            _memory(bench, str(devices[0][0]), days)
            _beside(bench, str(devices[0][0]), days)
            rig.empty()
            _seal(bench, "cold.worst", keys, past(1, before=29), decimals=None)
        finally:
            rig.store.rows("DROP TABLE IF EXISTS same_readings")
            rig.store.rows("DELETE FROM cold_files")
            rig.empty()


def _seal(bench: Bench, name: str, keys: Sequence[int], days: Sequence[date], decimals: int | None = 3) -> None:
    """Have days of readings sealed, and see what they take."""
    store = bench.rig.store
    for day in days:
        bench.say(f"cold: writing readings of {day}")
        make_partition(store, day)
        store.copy(batches(keys, day, bench.plan.day_readings, decimals=decimals))
    if decimals is not None:
        store.rows("CREATE TABLE same_readings (LIKE readings INCLUDING ALL)")
        store.rows(f"INSERT INTO same_readings SELECT * FROM readings_{days[-1]:%Y%m%d}")  # noqa: S608
        store.rows("VACUUM ANALYZE same_readings")
    written = store.count()
    bench.say(f"cold: sealing {written:,} readings")
    began = time.perf_counter()
    bench.rig.processes.run("seal", "--json")
    seconds = time.perf_counter() - began
    ((sealed,),) = store.rows(_ROWS, {"days": list(days)})
    if store.count() or sealed != written:
        raise Invalid(f"of {written} readings {sealed} are sealed, and {store.count()} are hot")
    ((size,),) = store.rows(_BYTES, {"days": list(days)})
    bench.figures.add(f"{name}.rows_per_second", written / seconds)
    bench.figures.add(f"{name}.reading_bytes", float(size) / written)


def _ask(bench: Bench, device_id: str, keys: Sequence[int], days: Sequence[date]) -> None:
    """A day of the device, the same rows in SQL, and all of its days."""
    start, end = start_of(days[-1]), start_of(days[-1]) + timedelta(days=1)
    answers: list[Sequence[float]] = []
    numbers = count(1)

    def one_day() -> None:
        until = end + timedelta(seconds=next(numbers))
        answers.append(ask(bench, device_id, "cold.day", start=start.isoformat(), end=until.isoformat()))

    def by_sql() -> None:
        where = "device_key = %(key)s AND time >= %(start)s AND time < %(end)s"
        parameters = {"key": keys[0], "start": start, "end": end}
        compare(in_sql(bench, "cold.sql", "same_readings", where, parameters), answers[-1])

    def all_days() -> None:
        ask(bench, device_id, "cold.days", start=_before(days, next(numbers)))

    warm_up(bench, device_id)
    measures = {"a day": one_day, "SQL": by_sql, "all days": all_days}
    bench.in_turn(f"cold: {bench.plan.day_readings:,} readings a day", measures)


def _before(days: Sequence[date], seconds: int) -> str:
    return (start_of(days[0]) - timedelta(seconds=seconds)).isoformat()


def _memory(bench: Bench, device_id: str, days: Sequence[date]) -> None:
    """The worker's highest memory while it looks at each reading: the magnitude is in no ordered copy."""
    bench.say("cold: a worker's memory")
    with _highest(bench, "memory.worker.big_job_mb"):
        ask(bench, device_id, "cold.big_job", start=_before(days, 1), magnitude="true")


@contextmanager
def _highest(bench: Bench, name: str) -> Iterator[None]:
    pid = bench.rig.processes.pid("worker")
    seen, over = [memory_mb(pid)], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            seen.append(memory_mb(pid))

    looking = threading.Thread(target=look, name="memory")
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
    bench.figures.add(name, max(seen))


def _beside(bench: Bench, device_id: str, days: Sequence[date]) -> None:
    """Single readings while one big job follows the other, and while none does."""
    url = lane_url(bench)
    numbers = count(2)

    def load(name: str) -> None:
        bench.rig.empty()
        found = wrk.run(url, CONNECTIONS, 2 * bench.plan.seconds)
        bench.figures.add(f"ingest.{name}.per_second", found.per_second)

    def alone() -> None:
        load("alone")
        bench.rig.settle()

    def beside() -> None:
        over = threading.Event()

        def jobs() -> None:
            while not over.is_set():
                keep_busy(bench, device_id, over, start=_before(days, next(numbers)), magnitude="true")

        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(jobs)
            try:
                load("beside_a_job")
            finally:
                over.set()
            running.result()
        bench.rig.settle()

    bench.in_turn("cold: ingest", {"alone": alone, "beside a big job": beside}, noisy=True)
