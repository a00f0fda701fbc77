"""A Weir of the benchmark's own: private servers in a temporary folder, gone at the end however it comes."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import httpx

from cli.bench.figures import Invalid
from cli.bench.processes import Processes
from cli.bench.store import Store
from cli.programs import wait_until
from cli.running import RunningServer, private_servers
from cli.servers import PostgresServer, RabbitServer
from shared.errors import Unavailable
from shared.migrations import upgrade

SETTLE_SECONDS = 60
STILL_SECONDS = 0.1


class Rig:
    """The servers, Weir's processes on them, and what it is compared with."""

    def __init__(self, postgres: RunningServer, rabbit: RunningServer, folder: Path) -> None:
        assert isinstance(postgres.server, PostgresServer)
        assert isinstance(rabbit.server, RabbitServer)
        self.amqp_url = rabbit.server.url
        self.broker_pid = rabbit.pid
        self.management = httpx.Client(base_url=rabbit.server.management_url, trust_env=False)
        self.store = Store(postgres.server.url)
        self.store.rows("CREATE DATABASE plain")
        plain_url = f"{postgres.server.url.rpartition('/')[0]}/plain"
        self.plain_store = Store(plain_url)
        self.processes = Processes(
            folder,
            {
                "WEIR_DATABASE_URL": postgres.server.url,
                "WEIR_AMQP_URL": rabbit.server.url,
                "WEIR_COLD_URL": str(folder / "cold"),
                "AMQP_URL": rabbit.server.url,
                "DATABASE_URL": plain_url.replace("+psycopg2", ""),
            },
        )
        self.http = httpx.Client(base_url=self.processes.url("api"), timeout=60, trust_env=False)
        self._accepted_before = 0

    @contextmanager
    def running(self, *names: str) -> Iterator[None]:
        """Have these processes, fresh and before an empty table, and end them afterwards."""
        self.store.empty()
        self._accepted_before = 0
        self.processes.start(*names)
        try:
            yield
        finally:
            self.processes.stop(*names)

    def devices(self, count: int) -> list[tuple[UUID, int]]:
        """Ids and keys of so many devices; they are made when they are missing."""
        users = self.http.get("/users/").json() or [
            self.http.post("/users/", json={"name": "bench", "email": "bench@example.org"}).json()
        ]
        missing = count - int(self.store.scalar("SELECT count(*) FROM devices"))
        for _ in range(missing):
            self.http.post("/devices/", json={"user_id": users[0]["id"], "name": "bench"}).raise_for_status()
        return [(one.id, one.key) for one in self.store.rows("SELECT id, key FROM devices ORDER BY key")[:count]]

    def metric(self, name: str) -> float:
        """A counter of the readings' stream, as the API tells it."""
        sample = f'{name}{{stream="readings"}} '
        lines = self.http.get("/metrics").text.splitlines()
        return float(next((line.removeprefix(sample) for line in lines if line.startswith(sample)), 0))

    def accepted(self) -> int:
        """How many readings the API has answered 202 since `empty`."""
        return int(self.metric("weir_accepted_records_total")) - self._accepted_before

    def empty(self) -> None:
        """Begin a round with an empty table."""
        self.store.empty()
        self._accepted_before += self.accepted()

    def settle(self) -> int:
        """Wait until every accepted reading is stored, and return how many they are. Raises Invalid."""
        try:
            wait_until(self._is_settled, SETTLE_SECONDS, "")
        except Unavailable as error:
            raise Invalid(f"{self.accepted()} readings were accepted and {self.store.stored()} stored") from error
        accepted, rows = self.accepted(), self.store.count()
        if accepted != rows:
            raise Invalid(f"{accepted} readings were accepted and {rows} are in the table")
        return accepted

    def _is_settled(self) -> bool:
        """Whoever made the load has gone, but the API may still be at work on its last requests."""
        accepted = self.accepted()
        time.sleep(STILL_SECONDS)
        return self.store.stored() == accepted == self.accepted()

    def close(self) -> None:
        for one in (self.store, self.plain_store, self.http, self.management):
            one.close()


@contextmanager
def rig() -> Iterator[Rig]:
    """Start the servers; on leaving, whatever happened, everything ends and the folder goes."""
    with private_servers("bench") as servers, ExitStack() as end:
        upgrade(servers.postgres.server.url)
        whole = Rig(servers.postgres, servers.rabbit, servers.folder)
        end.callback(whole.close)
        end.callback(whole.processes.stop_all)
        yield whole
