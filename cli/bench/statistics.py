"""Statistics of a device with a million readings: asked of the API, and in SQL."""

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cli.bench.figures import Invalid
from cli.bench.load import requests
from cli.bench.part import Bench

AXES = ("x", "y", "z")
NAMES = ("min", "max", "count", "sum", "median")
WAIT_SECONDS = 30
#: SQL adds floats in whatever order it reads them.
ALIKE = 1e-9

_FIVE = ", ".join(
    f"min({axis}), max({axis}), count({axis}), sum({axis}), percentile_cont(0.5) WITHIN GROUP (ORDER BY {axis})"
    for axis in AXES
)
_SQL = f"SELECT {_FIVE} FROM readings WHERE device_key = %(key)s AND time < %(end)s"  # noqa: S608
_COMPUTING = "SELECT extract(epoch FROM finished_at - started_at) * 1000 FROM jobs WHERE id = %(id)s::uuid"


def measure(bench: Bench) -> None:
    """The device is one of several, and every question asks for another window, so that no answer is a remembered one."""
    rig = bench.rig
    with rig.running("api", "consumer", "worker"):
        devices = rig.devices(3)
        (device_id, key), *others = devices
        bench.say("statistics: writing readings")
        rig.empty()
        mine, theirs = requests([(device_id, key)], bench.plan.readings), requests(others, bench.plan.readings)
        rig.store.copy([one.rows + other.rows for one, other in zip(mine, theirs, strict=True)])
        del mine, theirs
        rig.store.rows("VACUUM ANALYZE readings")
        answers: list[Sequence[float]] = []
        end = datetime.now(UTC) + timedelta(days=1)

        def ask() -> None:
            nonlocal end
            end += timedelta(seconds=1)
            answers.append(_ask(bench, str(device_id), end))

        def in_sql() -> None:
            _compare(_in_sql(bench, key, end), answers[-1])

        _warm_up(bench, str(device_id))
        bench.in_turn(f"statistics of {bench.plan.readings:,} readings", {"the API": ask, "SQL": in_sql})
        rig.empty()


def _warm_up(bench: Bench, device_id: str) -> None:
    """The worker starts up, and imports what it needs with its first job."""
    bench.rig.http.get(f"/devices/{device_id}/analytics/", params={"wait": WAIT_SECONDS}).raise_for_status()


def _ask(bench: Bench, device_id: str, end: datetime) -> Sequence[float]:
    """From the question to the answer, over the API, the queue and a worker."""
    began = time.perf_counter()
    path = f"/devices/{device_id}/analytics/"
    answer = bench.rig.http.get(path, params={"end": end.isoformat(), "wait": str(WAIT_SECONDS)})
    job = answer.raise_for_status().json()
    took = time.perf_counter() - began
    if job["status"] != "SUCCESS":
        raise Invalid(f"the job is {job['status']} after {took:.0f} s: {job['error']}")
    ((computing,),) = bench.rig.store.rows(_COMPUTING, {"id": job["task_id"]})
    bench.figures.add("statistics.api_ms", took * 1000)
    bench.figures.add("statistics.computing_ms", float(computing))
    return [job["result"][axis][name] for axis in AXES for name in NAMES]


def _in_sql(bench: Bench, key: int, end: datetime) -> Sequence[float]:
    began = time.perf_counter()
    (row,) = bench.rig.store.rows(_SQL, {"key": key, "end": end})
    bench.figures.add("statistics.sql_ms", (time.perf_counter() - began) * 1000)
    return list(row)


def _compare(sql: Sequence[float], api: Sequence[float]) -> None:
    if not all(math.isclose(*pair, rel_tol=ALIKE) for pair in zip(sql, api, strict=True)):
        raise Invalid("SQL and the API have different answers")
