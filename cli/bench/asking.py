"""The same question to the API and to SQL: how long each takes, and whether they agree."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cli.bench.figures import Invalid
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
_COMPUTING = "SELECT extract(epoch FROM finished_at - started_at) * 1000 FROM jobs WHERE id = %(id)s::uuid"


def warm_up(bench: Bench, device_id: str) -> None:
    """The worker starts up, and imports what it needs with its first job."""
    ask(bench, device_id)


def ask(bench: Bench, device_id: str, name: str | None = None, **question: str) -> Sequence[float]:
    """From the question to the answer, over the API, the queue and a worker; return its fifteen numbers.

    The times are kept as `name`_ms and `name`.computing_ms. Raises Invalid.
    """
    began = time.perf_counter()
    path = f"/devices/{device_id}/analytics/"
    answer = bench.rig.http.get(path, params={**question, "wait": str(WAIT_SECONDS)})
    job = answer.raise_for_status().json()
    took = time.perf_counter() - began
    if job["status"] != "SUCCESS":
        raise Invalid(f"the job is {job['status']} after {took:.0f} s: {job['error']}")
    if name:
        ((computing,),) = bench.rig.store.rows(_COMPUTING, {"id": job["task_id"]})
        bench.figures.add(f"{name}_ms", took * 1000)
        bench.figures.add(f"{name}.computing_ms", float(computing))
    return [job["result"][axis][number] for axis in AXES for number in NAMES]


def in_sql(bench: Bench, name: str, table: str, where: str, parameters: Mapping[str, Any]) -> Sequence[float]:
    """Ask SQL for the same fifteen numbers; the time is kept as `name`_ms."""
    began = time.perf_counter()
    (row,) = bench.rig.store.rows(f"SELECT {_FIVE} FROM {table} WHERE {where}", dict(parameters))  # noqa: S608
    bench.figures.add(f"{name}_ms", (time.perf_counter() - began) * 1000)
    return list(row)


def compare(sql: Sequence[float], api: Sequence[float]) -> None:
    """Raises Invalid when they have different answers."""
    if not all(math.isclose(*pair, rel_tol=ALIKE) for pair in zip(sql, api, strict=True)):
        raise Invalid("SQL and the API have different answers")
