"""One reading per request: the lane with its consumer storing, beside what does less and what does it plainly."""

from functools import partial

from cli.bench import wrk
from cli.bench.part import Bench
from cli.programs import wait_until

#: Has no device of Weir's: only the lane looks it up.
ANY_DEVICE = "00000000-0000-4000-8000-000000000000"
#: Connections whose ratios have targets.
JUDGED = 64
PLAIN_QUEUE = "/api/queues/weir/plain/contents"


def measure(bench: Bench) -> None:
    """Requests per second and their latency, at several numbers of connections."""
    with bench.rig.running("api", "consumer", "plain-consumer", "plain", "bare", "fastapi"):
        lane = lane_url(bench)
        wrk.run(lane, 64, 1)
        bench.rig.settle()
        for connections in bench.plan.connections:
            bench.in_turn(
                f"single readings, connections: {connections}",
                {
                    "bare ASGI": partial(_load, bench, "bare", connections),
                    "FastAPI that does nothing": partial(_load, bench, "fastapi", connections),
                    "the lane": partial(_lane, bench, lane, connections),
                    "the plain reference": partial(_plain, bench, connections),
                },
                noisy=connections == JUDGED,
            )


def lane_url(bench: Bench) -> str:
    ((device_id, _),) = bench.rig.devices(1)
    return bench.rig.processes.url("api") + _path(str(device_id))


def _path(device_id: str) -> str:
    return f"/devices/{device_id}/stats/"


def _load(bench: Bench, name: str, connections: int, url: str = "") -> wrk.Load:
    load = wrk.run(url or bench.rig.processes.url(name) + _path(ANY_DEVICE), connections, bench.plan.seconds)
    bench.figures.add(f"{name}.{connections}.per_second", load.per_second)
    bench.figures.add(f"{name}.{connections}.p50_ms", load.p50_ms)
    bench.figures.add(f"{name}.{connections}.p99_ms", load.p99_ms)
    return load


def _lane(bench: Bench, url: str, connections: int) -> None:
    rig = bench.rig
    rig.empty()
    messages = rig.metric("weir_published_messages_total")
    _load(bench, "lane", connections, url)
    stored_meanwhile = rig.store.stored()
    accepted = rig.settle()
    messages = rig.metric("weir_published_messages_total") - messages
    bench.figures.add(f"lane.{connections}.readings_per_message", accepted / messages)
    bench.figures.add(f"lane.{connections}.stored_meanwhile_share", stored_meanwhile / accepted)


def _plain(bench: Bench, connections: int) -> None:
    store = bench.rig.plain_store
    store.rows("TRUNCATE readings")
    load = _load(bench, "plain", connections)
    bench.figures.add(f"plain.{connections}.stored_meanwhile_share", store.count() / load.requests)
    # What it could not store meanwhile would take longer than the round, and work beside the next.
    bench.rig.management.delete(PLAIN_QUEUE).raise_for_status()
    _wait_until_still(bench)


def _wait_until_still(bench: Bench) -> None:
    seen = -1

    def is_still() -> bool:
        nonlocal seen
        before, seen = seen, bench.rig.plain_store.count()
        return before == seen

    wait_until(is_still, 30, "the plain reference does not come to rest")
