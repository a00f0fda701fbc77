"""Readers that wait, however many, keep no submission waiting."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import httpx
from factories import Weir, event, reading

#: More than the API has threads for anything.
READERS = 40


def test_submissions_are_taken_while_every_page_waits_for_the_table(weir: Weir) -> None:
    """Devices that the API does not know yet, with and without a key, and events."""
    weir.start("consumer", "api")
    user = weir.http.post("/users/", json={"name": "Ada", "email": "ada@example.org"}).json()["id"]
    devices = [uuid4() for _ in range(20)]
    for device in devices:
        weir.rows("INSERT INTO devices (id, user_id, name) VALUES (%s, %s, 'd')", str(device), user)

    def read(number: int) -> int:
        path = ("/stats/", f"/stats/{devices[0]}/", f"/devices/{devices[0]}/series")[number % 3]
        try:
            return httpx.get(f"{weir.url}{path}", timeout=60, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def send(device: UUID) -> int:
        headers = {"idempotency-key": "k"} if device.int % 2 else {}
        path = f"{weir.url}/devices/{device}/stats/"
        return httpx.post(path, json=reading(), headers=headers, timeout=60, trust_env=False).status_code

    with weir.connection() as locking, locking.cursor() as cursor, ThreadPoolExecutor(READERS) as readers:
        locking.autocommit = False
        cursor.execute("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        waiting = [readers.submit(read, number) for number in range(READERS)]
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        weir.wait_for(lambda: weir.scalar(query) >= 10)
        with ThreadPoolExecutor(5) as senders:
            answers = list(senders.map(send, devices))
        answers.append(weir.http.post("/events", json=[event()]).status_code)
        assert not all(one.done() for one in waiting), "nobody was waiting any more"
        locking.rollback()
    assert set(answers) == {202}
    weir.wait_until_stored(len(devices))
