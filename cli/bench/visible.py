"""How long after its 202 a reading can be read: probes among a constant load of half the lane's capacity."""

import http.client
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Self

from cli.bench import wrk
from cli.bench.figures import Invalid
from cli.bench.part import Bench
from cli.bench.single_readings import lane_url
from cli.programs import HOST

CONNECTIONS = 256
#: A probe every so often, whatever became of those before it.
PROBE_SECONDS = 0.02
#: How often the table is looked at: a third of what one look may be off by.
LOOK_SECONDS = 0.002
PATIENCE_SECONDS = 10

_LOOK = "SELECT time FROM readings WHERE device_key = %(key)s AND time > %(last)s AND time < %(end)s ORDER BY time"


class Probes:
    """Readings of a device of their own, each with a time of its own, sent at constant intervals by a thread."""

    def __init__(self, port: int, path: str) -> None:
        self.accepted: dict[datetime, float] = {}
        self.fault: Exception | None = None
        self._port, self._path = port, path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="probes")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Send no more; all that were sent are answered when this returns."""
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        try:
            self._send_all(http.client.HTTPConnection(HOST, self._port, timeout=10))
        except (OSError, http.client.HTTPException, Invalid) as error:
            self.fault = error

    def _send_all(self, connection: http.client.HTTPConnection) -> None:
        slot = time.perf_counter()
        while not self._stop.wait(max(0.0, slot - time.perf_counter())):
            slot += PROBE_SECONDS
            moment = datetime.now(UTC)
            body = json.dumps({"x": 0, "y": 0, "z": 0, "timestamp": moment.isoformat()})
            connection.request("POST", self._path, body)
            answer = connection.getresponse()
            answer.read()
            self.accepted[moment] = time.perf_counter()
            if answer.status != http.HTTPStatus.ACCEPTED:
                raise Invalid(f"a probe was answered with {answer.status}")
        connection.close()


def measure(bench: Bench) -> None:
    """In each round, the p50 and p99 of all probes."""
    with bench.rig.running("api", "consumer"):
        url = lane_url(bench)
        if "lane.64.per_second" not in bench.figures:
            bench.say("how much the lane carries")
            bench.figures.add("lane.64.per_second", wrk.run(url, 64, bench.plan.seconds).per_second)
            bench.rig.settle()
        rate = bench.figures.median("lane.64.per_second") / 2
        bench.in_turn(f"{rate:,.0f} readings per second", {"202 → visible": lambda: _round(bench, url, rate)})


def _round(bench: Bench, url: str, rate: float) -> None:
    rig = bench.rig
    device_id, key = rig.devices(2)[1]
    rig.empty()
    probes = Probes(rig.processes.ports["api"], f"/devices/{device_id}/stats/")
    with wrk.Running(url, CONNECTIONS, bench.plan.seconds * 2, rate) as load, probes:
        visible = _look(bench, key, probes, load)
        done = load.result()
    rig.settle()
    waits = [max(0.0, visible[moment] - accepted) * 1000 for moment, accepted in probes.accepted.items()]
    percentiles = quantiles(waits, n=100)
    for name, value in (("p50_ms", percentiles[49]), ("p99_ms", percentiles[98]), ("longest_ms", max(waits))):
        bench.figures.add(f"visible.{name}", value)
    bench.figures.add("visible.load_per_second", done.per_second)
    # Well below 1 the machine was busy with something else, and the waits above are longer for it.
    bench.figures.add("visible.load_share", done.per_second / rate)


def _look(bench: Bench, key: int, probes: Probes, load: wrk.Running) -> dict[datetime, float]:
    """Look again and again for new probes in the table, until the load has ended and every probe was seen."""
    seen: dict[datetime, float] = {}
    last = datetime.now(UTC) - timedelta(seconds=1)
    end = last + timedelta(hours=1)
    deadline = time.monotonic() + bench.plan.seconds * 2 + PATIENCE_SECONDS
    while not probes.stopped or len(seen) < len(probes.accepted):
        if not load.at_work:
            probes.stop()
        if probes.fault or time.monotonic() > deadline:
            raise Invalid(f"probes were lost: {probes.fault or len(probes.accepted) - len(seen)}")
        found = bench.rig.store.rows(_LOOK, {"key": key, "last": last, "end": end})
        now = time.perf_counter()
        for row in found:
            seen[row.time] = now
            last = row.time
        time.sleep(LOOK_SECONDS)
    return seen
