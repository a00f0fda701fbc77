"""Daily active users of thirty sealed days with a million events: asked of the API, and in SQL."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from http import HTTPStatus
from itertools import count

from cli.bench.days import make_partition, past, start_of
from cli.bench.figures import Invalid
from cli.bench.part import Bench

DAYS = 30
USERS = 20_000

#: Some users are much more active than others.
_EVENTS = """
    INSERT INTO events (event_id, time, user_id, event_type, properties)
    SELECT gen_random_uuid(), %(start)s + random() * interval '1 day', 'user-' || (random() * random() * %(users)s)::integer,
           (ARRAY['page_view', 'page_view', 'page_view', 'search', 'cart', 'purchase'])[1 + (random() * 5.99)::integer %% 6],
           jsonb_build_object('country', (ARRAY['UA', 'PL', 'DE'])[1 + (random() * 2.99)::integer %% 3])
    FROM generate_series(1, %(events)s)
"""
#: By what their figures are called: what the API is asked besides, and the zone and condition that SQL is told.
_QUESTIONS: dict[str, tuple[dict[str, str], str, str]] = {
    "": ({}, "UTC", "true"),
    ".zone": ({"tz": "Europe/Kyiv"}, "Europe/Kyiv", "true"),
    ".segment": ({"segment": "properties.country:UA"}, "UTC", "properties ->> 'country' = 'UA'"),
}
_OBVIOUS = """
    SELECT (time AT TIME ZONE '{zone}')::date AS day, count(DISTINCT user_id)
    FROM same_events WHERE time >= %(start)s AND time < %(end)s AND {where} GROUP BY 1
"""


def measure(bench: Bench) -> None:
    """The first time, when the files are read, and again, when each day's count is kept; each in another window.

    In another zone and of a segment no count is kept: each time is the first.
    """
    rig = bench.rig
    days = past(DAYS)
    with rig.running("api", "consumer", "worker"):
        try:
            _seal(bench, days)
            _ask(bench, days)
        finally:
            rig.store.rows("DROP TABLE IF EXISTS same_events")
            rig.store.rows("DELETE FROM cold_files")
            rig.store.rows("TRUNCATE events")


def _seal(bench: Bench, days: Sequence[date]) -> None:
    store = bench.rig.store
    events = bench.plan.readings // len(days)
    bench.say(f"engagement: writing {events * len(days):,} events")
    store.rows("CREATE TABLE same_events (LIKE events INCLUDING ALL)")
    for day in days:
        make_partition(store, day, "events")
        store.rows(_EVENTS, {"start": start_of(day), "users": USERS, "events": events})
    store.rows("INSERT INTO same_events SELECT * FROM events")
    store.rows("VACUUM ANALYZE same_events")
    bench.say("engagement: sealing them")
    bench.rig.processes.run("seal", "--json")
    if store.scalar("SELECT count(*) FROM events"):
        raise Invalid("there are events that were not sealed")


def _ask(bench: Bench, days: Sequence[date]) -> None:
    answers: list[Mapping[str, int]] = []
    numbers = count(1)

    def ask(name: str, which: str) -> None:
        answers.append(_daily_users(bench, name, days, next(numbers), _QUESTIONS[which][0]))

    def first_time() -> None:
        bench.rig.store.rows("DELETE FROM cold_users")
        ask("engagement.first", "")

    def by_sql(which: str) -> None:
        _, zone, where = _QUESTIONS[which]
        began = time.perf_counter()
        bounds = {"start": start_of(days[0]), "end": start_of(days[-1]) + timedelta(days=1)}
        rows = bench.rig.store.rows(_OBVIOUS.format(zone=zone, where=where), bounds)
        bench.figures.add(f"engagement{which}.sql_ms", (time.perf_counter() - began) * 1000)
        found = {str(day): users for day, users in rows}
        if any(answer != found for answer in answers):
            raise Invalid("SQL and the API count different users")
        answers.clear()

    _daily_users(bench, None, days, 0, {})  # the worker starts up, and imports what it needs with its first job
    measures: dict[str, Callable[[], object]] = {
        "the first time": first_time,
        "again": partial(ask, "engagement.again", ""),
        "SQL": partial(by_sql, ""),
    }
    for which in (".zone", ".segment"):
        measures[which[1:]] = partial(ask, f"engagement{which}", which)
        measures[f"{which[1:]} in SQL"] = partial(by_sql, which)
    bench.in_turn(f"daily active users of {len(days)} days", measures)


def _daily_users(
    bench: Bench, name: str | None, days: Sequence[date], more: int, question: Mapping[str, str]
) -> Mapping[str, int]:
    """Ask for the days and some before them, which have no events, so that no answer is a remembered one."""
    began = time.perf_counter()
    # A day more: by a clock that is ahead some of the last events are tomorrow's.
    window = {"from": str(days[0] - timedelta(days=more)), "to": str(days[-1] + timedelta(days=1))}
    answer = bench.rig.http.get("/stats/dau", params={**window, **question})
    if answer.status_code != HTTPStatus.OK:
        raise Invalid(f"daily active users: {answer.status_code} {answer.text[:300]}")
    if name:
        bench.figures.add(f"{name}_ms", (time.perf_counter() - began) * 1000)
    return {day["date"]: day["unique_users"] for day in answer.json() if day["unique_users"]}
