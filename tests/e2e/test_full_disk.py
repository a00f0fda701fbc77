"""Charts and downloads on a disk without room: a problem with its reason, or a connection that is cut."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from factories import Weir
from sealed import engine_of, key_of

from api.chart import Wish, draw
from api.export import events, spool
from api.window import Window
from shared.cold.store import Store
from shared.errors import NoRoom

MIDNIGHT = datetime(2025, 6, 1, tzinfo=UTC)
NEXT = MIDNIGHT + timedelta(days=1)
#: Fewer bytes than the rows of a test, and more than the API's log.
FILE_BYTES = 1 << 20


@contextmanager
def no_file_beyond(weir: Weir) -> Iterator[None]:
    """The system refuses what the API writes beyond, as it does where the disk is full."""
    before = resource.prlimit(weir.pid("api"), resource.RLIMIT_FSIZE)
    resource.prlimit(weir.pid("api"), resource.RLIMIT_FSIZE, (FILE_BYTES, before[1]))
    try:
        yield
    finally:
        resource.prlimit(weir.pid("api"), resource.RLIMIT_FSIZE, before)


def insert_events(weir: Weir, start: datetime, count: int) -> None:
    weir.rows(
        "INSERT INTO events SELECT gen_random_uuid(), %s + n * interval '1 s', 'u', 'view', '{}' "
        "FROM generate_series(0, %s - 1) n",
        start,
        count,
    )


def refused(answer: httpx.Response) -> str:
    """The reason of a 503 for want of room."""
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:weir:problem:no-room"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    return str(answer.json()["detail"])


def test_full_disk_is_503_with_the_reason_and_harms_nothing_else(weir: Weir) -> None:
    weir.start("api")
    device = weir.device()
    weir.rows(
        "INSERT INTO readings SELECT %s, %s + n * interval '1 s', n, n, n FROM generate_series(0, 29999) n",
        key_of(weir, device),
        MIDNIGHT,
    )
    insert_events(weir, MIDNIGHT, 20_000)
    asked = [f"/devices/{device}/series", f"/devices/{device}/readings", "/events"]
    with no_file_beyond(weir):
        for path in asked * 5:  # more than there are threads and connections
            assert "the API's disk does not take the" in refused(weir.http.get(path))
        assert weir.http.get(asked[0], params={"end": (MIDNIGHT + timedelta(hours=1)).isoformat()}).status_code == 200
    for path in asked:
        assert weir.http.get(path).status_code == 200
    assert "Traceback" not in weir.log("api")


def test_disk_that_is_full_in_the_middle_cuts_the_download(weir: Weir) -> None:
    weir.start("api")
    insert_events(weir, MIDNIGHT, 10)
    insert_events(weir, NEXT, 20_000)
    with no_file_beyond(weir):
        with pytest.raises(httpx.RemoteProtocolError):
            weir.http.get("/events")
        assert len(weir.http.get("/events", params={"end": NEXT.isoformat()}).text.splitlines()) == 11
    assert "a download was cut" in weir.log("api")
    assert "the API's disk does not take the events that are not sealed yet" in weir.log("api")
    assert "Traceback" not in weir.log("api")


def test_window_of_a_hot_day_takes_only_the_room_of_its_own_events(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    insert_events(weir, MIDNIGHT, 1000)
    monkeypatch.setattr(events, "ROOM", spool.EVENTS._replace(most_bytes=20_000))
    store = Store(weir.settings().cold_url)
    minute = Window(MIDNIGHT + timedelta(minutes=5), MIDNIGHT + timedelta(minutes=6))
    with engine_of(weir) as engine:
        found = [row for batch in events.batches(engine, store, minute) for row in batch.to_pylist()]
        assert [row["occurred_at"] for row in found] == [MIDNIGHT + timedelta(seconds=300 + n) for n in range(60)]
        with pytest.raises(NoRoom):
            list(events.batches(engine, store, Window(MIDNIGHT, NEXT)))


def test_chart_and_download_take_so_much_of_the_disk_and_no_more(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    weir.rows("INSERT INTO users (name, email) VALUES ('u', 'u@example.org')")
    weir.rows("INSERT INTO devices (id, user_id) VALUES (gen_random_uuid(), 1)")
    weir.rows("INSERT INTO readings SELECT 1, %s, n, n, n FROM generate_series(1, 100) n", MIDNIGHT)
    insert_events(weir, MIDNIGHT, 100)
    monkeypatch.setattr(spool, "READINGS", spool.READINGS._replace(most_bytes=1000))
    monkeypatch.setattr(events, "ROOM", spool.EVENTS._replace(most_bytes=1000))
    store, window = Store(weir.settings().cold_url), Window(None, None)
    reason = "more than 1,000 bytes of {} that are not sealed yet to the API's disk; ask for a shorter window"
    with engine_of(weir) as engine:
        with pytest.raises(NoRoom, match=reason.format("readings")):
            draw(engine, store, Wish(1, window, ["x"], "lttb", 100), timedelta(seconds=30))
        with pytest.raises(NoRoom, match=reason.format("events")):
            list(events.batches(engine, store, window))
