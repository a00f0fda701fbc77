"""One caller: what the lane adds to one confirmed publish of the same message."""

import base64
import json
import subprocess
import sys
import time
from functools import partial
from typing import Any

from cli.bench import wrk
from cli.bench.figures import Invalid
from cli.bench.part import Bench
from cli.bench.processes import LOADTEST
from cli.bench.rig import SETTLE_SECONDS
from cli.bench.single_readings import lane_url
from cli.programs import wait_until
from shared.broker.messages import Group
from shared.streams.readings import READINGS, encode_one
from shared.streams.stream import EXCHANGE, TimeBounds


def measure(bench: Bench) -> None:
    """Both go into the same queue, and the consumer stores both: HTTP, validation and the lane are the difference."""
    with bench.rig.running("api", "consumer"):
        url = lane_url(bench)
        wrk.run(url, 1, 1)
        bench.rig.settle()
        bench.in_turn("one connection", {"the lane": partial(_lane, bench, url), "publish": partial(_publish, bench)})


def _lane(bench: Bench, url: str) -> None:
    bench.rig.empty()
    load = wrk.run(url, 1, bench.plan.seconds)
    bench.rig.settle()
    bench.figures.add("latency.lane.p50_ms", load.p50_ms)
    bench.figures.add("latency.lane.p99_ms", load.p99_ms)


def _publish(bench: Bench) -> None:
    order, before = _order(bench), bench.rig.store.stored()
    done = subprocess.run(
        [sys.executable, str(LOADTEST / "publish.py")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=order["seconds"] + 30,
        check=False,
    )
    if done.returncode:
        raise Invalid(f"publish.py failed: {(done.stderr.strip().splitlines() or ['it says nothing'])[-1]}")
    said = json.loads(done.stdout)
    # Nobody has counted these as accepted; the next round must not find them in its table.
    wait_until(lambda: bench.rig.store.stored() >= before + said["confirmed"], SETTLE_SECONDS, "messages are lost")
    bench.figures.add("latency.publish.p50_ms", said["p50_ms"])
    bench.figures.add("latency.publish.p99_ms", said["p99_ms"])


def _order(bench: Bench) -> dict[str, Any]:
    """The message that the lane would publish for one reading."""
    ((_, key),) = bench.rig.devices(1)
    group = Group(READINGS, opened=0.0)
    now = int((time.time() - 946_684_800) * 1e6)
    group.add(encode_one(b'{"x": 20.125, "y": -0.5, "z": 1013.25}', key, now, TimeBounds(0, now)), 1)
    properties = group.properties()
    return {
        "url": bench.rig.amqp_url,
        "exchange": EXCHANGE,
        "routing_key": READINGS.name,
        "type": properties.message_type,
        "content_type": properties.content_type,
        "headers": properties.headers,
        "body": base64.b64encode(group.body()).decode(),
        "seconds": bench.plan.seconds,
    }
