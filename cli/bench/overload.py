"""Ten times the connections that the lane needs: it sheds, it does not grow, and does as much as before."""

import time
from threading import Thread

from cli.bench import wrk
from cli.bench.part import Bench
from cli.bench.single_readings import lane_url
from cli.process_tree import memory_mb

#: More connections than these bring the lane no more.
NEEDED = 256
TIMES = 10
#: Times the length of a usual load; in a whole run a minute.
LONGER = 20
LOOK_SECONDS = 0.5


def measure(bench: Bench) -> None:
    """Accepted readings per second and the API's highest memory: at capacity, under overload, and after it."""
    with bench.rig.running("api", "consumer"):
        url = lane_url(bench)
        wrk.run(url, NEEDED, 1)
        _load(bench, url, "capacity", NEEDED, bench.plan.seconds * LONGER)
        _load(bench, url, "overload", NEEDED * TIMES, bench.plan.seconds * LONGER)
        _load(bench, url, "after", NEEDED, bench.plan.seconds)
        bench.rig.settle()


def keyed(bench: Bench) -> None:
    """Single readings with and without an Idempotency-Key of their own.

    wrk writes every request anew in both cases, so that its own work, on the same cores, does not count as that of keys.
    """
    with bench.rig.running("api", "consumer"):
        url = lane_url(bench)
        wrk.run(url, 64, 1)
        bench.rig.settle()

        def measure_one(name: str, header: str) -> None:
            bench.rig.empty()
            load = wrk.run(url, 64, bench.plan.seconds, numbered=header)
            bench.figures.add(f"keys.{name}.per_second", load.per_second)
            bench.rig.settle()

        bench.in_turn(
            "single readings, 64 connections",
            {
                "without a key": lambda: measure_one("without", "X-Request-Number"),
                "with a key": lambda: measure_one("with", "Idempotency-Key"),
            },
        )


def _load(bench: Bench, url: str, name: str, connections: int, seconds: float) -> None:
    bench.say(f"overload: {name}, {connections} connections")
    bench.rig.settle()
    bench.rig.empty()
    seen: list[float] = []
    pid = bench.rig.processes.pid("api")
    with wrk.Running(url, connections, seconds, sheds=True) as running:
        began = time.monotonic()
        watching = Thread(target=_watch, args=(running, pid, seen))
        watching.start()
        load = running.result()
        took = time.monotonic() - began
        watching.join()
    bench.figures.add(f"overload.{name}.accepted_per_second", bench.rig.accepted() / took)
    bench.figures.add(f"overload.{name}.p99_ms", load.p99_ms)
    bench.figures.add(f"overload.{name}.memory_mb", max(seen))


def _watch(running: wrk.Running, pid: int, seen: list[float]) -> None:
    while running.at_work or not seen:
        seen.append(memory_mb(pid))
        time.sleep(LOOK_SECONDS)
