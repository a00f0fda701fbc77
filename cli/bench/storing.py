"""Rows per second: raw COPY, batches through the front door, and a backlog drained, of the same readings."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from cli.bench import backlog
from cli.bench.figures import Invalid
from cli.bench.load import BATCH, DEVICES, Request, post, requests
from cli.bench.part import Bench
from shared.config import Settings

#: Readings per message where the run has not measured what 64 connections make.
USUAL_GROUP = 25
POLL_SECONDS = 0.005
DEADLINE_SECONDS = 120


def measure(bench: Bench) -> None:
    """Each round writes the same rows into the same empty table, with its partitions, indexes and checks."""
    with bench.rig.running("api", "consumer"):
        made = requests(bench.rig.devices(DEVICES), bench.plan.readings)
        post(bench.rig.processes.ports["api"], [(made[0].path, made[0].columns)])
        bench.rig.settle()
        bench.in_turn(
            f"{bench.plan.readings:,} readings",
            {
                "raw COPY": partial(_copy, bench, made),
                "batches as columns": partial(_post, bench, "columns", [(one.path, one.columns) for one in made]),
                "batches as arrays": partial(_post, bench, "arrays", [(one.path, one.array) for one in made]),
                "a backlog of batches": partial(_drain, bench, "batches", [one.rows for one in made], BATCH),
                "a backlog of single readings": partial(_drain, bench, "singles", *_singles(bench, made)),
            },
        )


def _copy(bench: Bench, made: Sequence[Request]) -> None:
    """In batches as large as the consumer's."""
    size = _batch_limit() // BATCH
    batches = [b"".join(one.rows for one in made[at : at + size]) for at in range(0, len(made), size)]
    bench.rig.empty()
    bench.figures.add("copy.rows_per_second", bench.plan.readings / bench.rig.store.copy(batches))


def _batch_limit() -> int:
    default: int = Settings.model_fields["batch_limit"].default
    return default


def _post(bench: Bench, name: str, bodies: Sequence[tuple[str, bytes]]) -> None:
    """From the first byte of the first request until the last row is committed."""
    rig = bench.rig
    rig.empty()
    began = time.perf_counter()
    accepted = post(rig.processes.ports["api"], bodies)
    answered = time.perf_counter()
    _wait(bench, lambda: rig.store.stored() >= accepted)
    stored = time.perf_counter()
    if rig.settle() != bench.plan.readings:
        raise Invalid(f"of {bench.plan.readings} readings in batches {accepted} were accepted")
    bench.figures.add(f"{name}.rows_per_second", accepted / (stored - began))
    bench.figures.add(f"{name}.accepted_per_second", accepted / (answered - began))


def _singles(bench: Bench, made: Sequence[Request]) -> tuple[list[bytes], int]:
    """The same rows in messages as large as those that 64 connections made with one reading per request."""
    name = "lane.64.readings_per_message"
    size = round(bench.figures.median(name)) if name in bench.figures else USUAL_GROUP
    return backlog.split(b"".join(one.rows for one in made), size), size


def _drain(bench: Bench, name: str, bodies: Sequence[bytes], size: int) -> None:
    """From the consumer's first commit to its last: a process that starts is not what is measured."""
    rig = bench.rig
    rig.processes.stop("consumer")
    rig.empty()
    bench.figures.add(f"backlog.{name}.published_per_second", bench.plan.readings / backlog.publish(rig, bodies))
    rig.processes.start("consumer")
    _wait(bench, lambda: rig.store.stored() > 0)
    began, first = time.perf_counter(), rig.store.stored()
    _wait(bench, lambda: rig.store.stored() >= bench.plan.readings)
    seconds = time.perf_counter() - began
    if rig.store.count() != bench.plan.readings:
        raise Invalid(f"of {bench.plan.readings} readings in the backlog {rig.store.count()} are in the table")
    bench.figures.add(f"backlog.{name}.rows_per_second", (bench.plan.readings - first) / seconds)
    bench.figures.add(f"backlog.{name}.readings_per_message", size)


def _wait(bench: Bench, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise Invalid(f"after {DEADLINE_SECONDS} s only {bench.rig.store.stored()} readings are stored")
        time.sleep(POLL_SECONDS)
