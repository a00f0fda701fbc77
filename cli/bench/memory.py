"""Memory of each process after ten thousand readings and after a million, and of the broker with a million waiting."""

import time
from collections.abc import Callable

from cli.bench import backlog, wrk
from cli.bench.load import BATCH, DEVICES, post, requests
from cli.bench.part import Bench
from cli.bench.single_readings import lane_url
from cli.bench.storing import USUAL_GROUP
from cli.process_tree import memory_mb

SERVICES = ("api", "consumer", "worker")
FEW = 10_000
CONNECTIONS = 64
#: Of one load between two looks at how many were accepted.
PIECE_SECONDS = 5
#: What the broker still writes down after its last confirm.
REST_SECONDS = 3


def measure(bench: Bench) -> None:
    """Like with like: few and many of the same kind, on processes that have done nothing else. One round."""
    with bench.rig.running(*SERVICES):
        _few_and_many(bench, "singles", bench.plan.single_readings, lambda count: _send_singles(bench, count))
    with bench.rig.running(*SERVICES):
        _few_and_many(bench, "batches", bench.plan.readings, lambda count: _send_batches(bench, count))
    _broker(bench)


def _few_and_many(bench: Bench, kind: str, many: int, send: Callable[[int], None]) -> None:
    bench.rig.empty()
    for amount, count in (("few", FEW), ("many", many)):
        bench.say(f"memory: {count:,} readings, {kind}")
        send(count - bench.rig.accepted())
        bench.figures.add(f"memory.{kind}.{amount}_readings", bench.rig.settle())
        for name in SERVICES:
            value = memory_mb(bench.rig.processes.pid(name))
            bench.figures.add(f"memory.{name}.{kind}.{amount}_mb", value)


def _send_singles(bench: Bench, count: int) -> None:
    """At least so many: wrk counts seconds, not requests."""
    url, before = lane_url(bench), bench.rig.accepted()
    while (missing := count + before - bench.rig.accepted()) > 0:
        wrk.run(url, CONNECTIONS, 1 if missing <= 4 * FEW else PIECE_SECONDS)


def _send_batches(bench: Bench, count: int) -> None:
    made = requests(bench.rig.devices(DEVICES), count)
    post(bench.rig.processes.ports["api"], [(one.path, one.columns) for one in made])


def _broker(bench: Bench) -> None:
    with bench.rig.running("api"):
        rows = b"".join(one.rows for one in requests(bench.rig.devices(DEVICES), bench.plan.readings))
        for kind, size in (("batches", BATCH), ("singles", USUAL_GROUP)):
            bench.say(f"memory: the broker with {bench.plan.readings:,} readings waiting, {kind}")
            bench.figures.add(f"memory.broker.{kind}.empty_mb", memory_mb(bench.rig.broker_pid))
            backlog.publish(bench.rig, backlog.split(rows, size))
            time.sleep(REST_SECONDS)
            bench.figures.add(f"memory.broker.{kind}.backlog_mb", memory_mb(bench.rig.broker_pid))
            bench.rig.management.delete("/api/queues/weir/weir.readings/contents").raise_for_status()
