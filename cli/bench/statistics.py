"""Statistics of a device with a million hot readings: asked of the API, and in SQL."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cli.bench.asking import ask, compare, in_sql, warm_up
from cli.bench.load import requests
from cli.bench.part import Bench


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

        def by_the_api() -> None:
            nonlocal end
            end += timedelta(seconds=1)
            answers.append(ask(bench, str(device_id), "statistics.api", end=end.isoformat()))

        def by_sql() -> None:
            where, parameters = "device_key = %(key)s AND time < %(end)s", {"key": key, "end": end}
            compare(in_sql(bench, "statistics.sql", "readings", where, parameters), answers[-1])

        warm_up(bench, str(device_id))
        bench.in_turn(f"statistics of {bench.plan.readings:,} readings", {"the API": by_the_api, "SQL": by_sql})
        rig.empty()
