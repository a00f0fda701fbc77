"""The same question to the API and to SQL: how long each takes, and whether they agree."""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cli.bench.figures import Invalid
from cli.bench.part import Bench

AXES = ("x", "y", "z")
NAMES = ("min", "max", "count", "sum", "median")
WAIT_SECONDS = 30
#: For any answer: a job that finds others on the processors rests most of the time, and whoever measures is another.
LONGEST_SECONDS = 300
#: Between two looks at a job that nobody waits for.
LOOK_SECONDS = 0.2
ALREADY_OVER = 409
UNFINISHED = ("PENDING", "STARTED")
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
    job = _start(bench, device_id, {**question, "wait": str(WAIT_SECONDS)})
    while job["status"] in UNFINISHED and time.perf_counter() < began + LONGEST_SECONDS:
        job = _look(bench, job["task_id"], wait=str(WAIT_SECONDS))
    took = time.perf_counter() - began
    if job["status"] != "SUCCESS":
        raise Invalid(f"the job of {name or question} is {job['status']} after {took:.0f} s: {job['error']}")
    if name:
        ((computing,),) = bench.rig.store.rows(_COMPUTING, {"id": job["task_id"]})
        bench.figures.add(f"{name}_ms", took * 1000)
        bench.figures.add(f"{name}.computing_ms", float(computing))
    return [job["result"][axis][number] for axis in AXES for number in NAMES]


def keep_busy(bench: Bench, device_id: str, over: threading.Event, **question: str) -> None:
    """Have a worker answer a question, and cancel it when it is `over` first: beside others it takes its time.

    Raises Invalid when the job fails.
    """
    job = _start(bench, device_id, question)
    while job["status"] in UNFINISHED and not over.wait(LOOK_SECONDS):
        job = _look(bench, job["task_id"])
    if job["status"] in UNFINISHED:
        cancelled = bench.rig.http.delete(f"/tasks/{job['task_id']}")
        if cancelled.status_code != ALREADY_OVER:
            cancelled.raise_for_status()
    elif job["status"] != "SUCCESS":
        raise Invalid(f"the job is {job['status']}: {job['error']}")


def _start(bench: Bench, device_id: str, question: Mapping[str, str]) -> Mapping[str, Any]:
    answer = bench.rig.http.get(f"/devices/{device_id}/analytics/", params=question)
    job: Mapping[str, Any] = answer.raise_for_status().json()
    return job


def _look(bench: Bench, task_id: str, **parameters: str) -> Mapping[str, Any]:
    job: Mapping[str, Any] = bench.rig.http.get(f"/tasks/{task_id}", params=parameters).raise_for_status().json()
    return job


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
