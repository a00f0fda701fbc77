"""Whole Weirs for tests: a database and a virtual host of their own, and the real processes on them."""

import asyncio
import itertools
import json
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg2

from cli.programs import free_ports, inherited_environment, wait_until
from shared.broker import topology
from shared.broker.amqp import Connection
from shared.broker.channel import Channel
from shared.broker.content import Message
from shared.broker.messages import Group, digest_of
from shared.config import Settings
from shared.job_queues import QUEUE, UPKEEP_QUEUE
from shared.ledger import ADD_STORED
from shared.streams import EVENTS, READINGS, STREAMS, Stream
from shared.streams.stream import EXCHANGE

ROOT = Path(__file__).parents[1]
DEFINITIONS = json.loads((ROOT / "deploy/rabbitmq/definitions.json").read_text())

_WORKER = ("-m", "celery", "-A", "analytics.celery", "worker")
COMMANDS = {
    "api": ("-m", "api"),
    "consumer": ("-m", "consumer"),
    "worker": (*_WORKER, "--pool", "solo", "--queues", QUEUE),
    "upkeep": (*_WORKER, "--pool", "solo", "--queues", UPKEEP_QUEUE, "--hostname", "upkeep@%h"),
}

#: Of a day in 2026, in microseconds since 2000.
NOON = 839_937_600_000_000

_numbers = itertools.count(1)


class Weir:
    """One Weir: `start` its processes, ask it over HTTP, look into its database, break it."""

    def __init__(self, postgres_url: str, template: str, amqp_url: str, management_url: str, folder: Path) -> None:
        self.name = f"test{next(_numbers)}"
        self.folder = folder
        self._postgres_url = postgres_url
        self.management_url = management_url
        self._management = httpx.Client(base_url=management_url, timeout=30)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = f"{postgres_url.rpartition('/')[0]}/{self.name}"
        self.amqp_url = f"{amqp_url.rpartition('/')[0]}/{self.name}"
        self.environment = {
            "WEIR_DATABASE_URL": self.database_url,
            "WEIR_AMQP_URL": self.amqp_url,
            "WEIR_API_PORT": str(self.port),
            "WEIR_COLD_URL": str(folder / f"{self.name}-cold"),
        }
        self.administer(f"CREATE DATABASE {self.name} TEMPLATE {template}")
        self._make_virtual_host()
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def settings(self, **changes: Any) -> Settings:
        """The settings that its processes would read, for parts that run inside the test."""
        addresses = {"database_url": self.database_url, "amqp_url": self.amqp_url, "api_port": self.port}
        addresses["cold_url"] = self.environment["WEIR_COLD_URL"]
        return Settings(**(addresses | changes))

    def start(self, *names: str) -> None:
        """Start processes by name and, where the API is among them, wait until it is ready."""
        for name in names:
            self.run(name, *COMMANDS[name])
        if "api" in names:
            wait_until(self.is_ready, 30, f"the API is not ready; see {self.folder}")

    def run(self, name: str, *command: str) -> None:
        """Start Python with these arguments under this name."""
        with (self.folder / f"{self.name}-{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=inherited_environment() | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def is_ready(self) -> bool:
        assert self._processes["api"].poll() is None, self.log("api")
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to one process and wait for its end; the answer is its exit code."""
        process = self._processes.pop(name)
        process.send_signal(number)
        return process.wait(40)

    def is_running(self, name: str) -> bool:
        """Whether it was started and has not ended by itself."""
        return name in self._processes and self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def log(self, name: str) -> str:
        return (self.folder / f"{self.name}-{name}.log").read_text()

    def device(self, name: str = "device") -> UUID:
        """Make a device, and its user when it is the first."""
        users = self.http.get("/users/").json()
        user = users[0] if users else self.http.post("/users/", json={"name": "u", "email": "u@example.org"}).json()
        answer = self.http.post("/devices/", json={"user_id": user["id"], "name": name})
        assert answer.status_code == 200, answer.text
        return UUID(answer.json()["id"])

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask its database."""
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def scalar(self, query: str, *parameters: object) -> Any:
        return self.rows(query, *parameters)[0][0]

    def stored(self, stream: Stream = READINGS) -> int:
        return int(self.scalar(f"SELECT count(*) FROM {stream.table}"))

    def count_stored(self, stream: str, records: int) -> None:
        """Count records that a test stored by itself, as the consumer does with its own."""
        self.rows(
            "INSERT INTO ledger (stream, minute, series, accepted, stored) VALUES (%s, now(), %s, %s, %s)",
            stream,
            str(uuid4()),
            records,
            records,
        )
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute(ADD_STORED, {"stream": stream, "part": 0, "stored": records})

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        wait_until(condition, seconds, f"it did not come true; see the logs in {self.folder}")

    def wait_until_stored(self, count: int, seconds: float = 30, stream: Stream = READINGS) -> None:
        """Wait for exactly this many rows."""

        def stored() -> int:
            return self.stored(stream)

        wait_until(lambda: stored() >= count, seconds, f"{stored()} of {count} stored; see {self.folder}")
        assert stored() == count

    def wait_until_archived(self, count: int, seconds: float = 30) -> None:
        """Wait for exactly this many dead letters in their table."""

        def archived() -> int:
            return int(self.scalar("SELECT count(*) FROM dead_letters"))

        wait_until(lambda: archived() >= count, seconds, f"{archived()} of {count} archived; see {self.folder}")
        assert archived() == count

    @contextmanager
    def connection(self) -> Iterator[Any]:
        connection = psycopg2.connect(self.database_url.replace("+psycopg2", ""))
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def management(self, method: str, path: str, **content: Any) -> Any:
        """Call the broker's management API below /api; `{vhost}` is this Weir's."""
        answer = self._management.request(method, f"/api/{path.format(vhost=self.name)}", **content)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def wait_for_end(self, name: str) -> int:
        """Wait until a process ends by itself; the answer is its exit code."""
        return self._processes.pop(name).wait(40)

    def queue(self, name: str) -> dict[str, Any]:
        """What the broker says of a queue: messages, messages_ready, messages_unacknowledged and more."""
        found: dict[str, Any] = self.management("GET", f"queues/{{vhost}}/{name}")
        return found

    def close(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.http.close()
        self.management("DELETE", "vhosts/{vhost}")
        self._management.close()
        self.administer(f"DROP DATABASE {self.name} WITH (FORCE)")

    def administer(self, statement: str) -> None:
        """Run a statement in another database of the same server."""
        connection = psycopg2.connect(self._postgres_url.replace("+psycopg2", ""))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def _make_virtual_host(self) -> None:
        self.management("PUT", "vhosts/{vhost}", json={})
        self.management("PUT", "permissions/{vhost}/weir", json={"configure": ".*", "write": ".*", "read": ".*"})
        for policy in DEFINITIONS["policies"]:
            content = {key: policy[key] for key in ("pattern", "definition", "priority", "apply-to") if key in policy}
            self.management("PUT", f"policies/{{vhost}}/{policy['name']}", json=content)


def reading(number: float = 1.0, **fields: object) -> dict[str, object]:
    """A valid reading; `fields` change or add to it."""
    return {"x": number, "y": number + 0.25, "z": -number, **fields}


def tuples(readings: Sequence[dict[str, Any]]) -> list[tuple[float, float, float]]:
    """The axes of readings, as the table holds them."""
    return [(float(one["x"]), float(one["y"]), float(one["z"])) for one in readings]


def row(key: int, time: int, x: float, y: float = 0.0, z: float = 0.0) -> bytes:
    """A reading as PostgreSQL's binary COPY wants it; `time` in microseconds since 2000-01-01 UTC."""
    fields = [struct.pack(">i", key), struct.pack(">q", time), *(struct.pack(">d", axis) for axis in (x, y, z))]
    return struct.pack(">h", len(fields)) + b"".join(struct.pack(">i", len(one)) + one for one in fields)


def event(number: int = 1, **fields: object) -> dict[str, object]:
    """A valid event with an id of its own for each number; `fields` change or add to it."""
    known = {"event_id": str(UUID(int=number)), "occurred_at": "2026-08-13T12:00:00Z", "user_id": "u"}
    return {**known, "event_type": "view", "properties": {"number": number}, **fields}


def event_row(
    event_id: UUID, time: int = NOON, user_id: bytes = b"u", kind: bytes = b"t", json: bytes = b"{}"
) -> bytes:
    """An event as PostgreSQL's binary COPY wants it, or not: nothing is looked at."""
    fields = [event_id.bytes, struct.pack(">q", time), user_id, kind, b"\1" + json]
    return struct.pack(">h", len(fields)) + b"".join(struct.pack(">i", len(one)) + one for one in fields)


def good_row(stream: Stream, number: int) -> bytes:
    """A row of any stream, another one for each number."""
    return event_row(UUID(int=number + 1)) if stream is EVENTS else row(1, NOON, float(number))


def bad_row(stream: Stream, number: int) -> bytes:
    """A row of any stream that PostgreSQL refuses."""
    return event_row(UUID(int=number + 1), json=b"{") if stream is EVENTS else row(1, NOON, float("nan"))


def group_of(*submissions: tuple[list[bytes], UUID | None], stream: Stream = READINGS) -> Group:
    """A message of these submissions: the rows of each, and the receipt of a keyed one."""
    group = Group(stream, opened=0.0)
    for rows, receipt in submissions:
        group.add(b"".join(rows), len(rows), receipt, digest_of(b"".join(rows)))
    return group


@asynccontextmanager
async def channel_to(amqp_url: str) -> AsyncIterator[Channel]:
    """A channel of another producer, with the topology declared."""
    connection = await Connection.open(amqp_url, timedelta(seconds=10))
    channel = await connection.channel()
    await topology.declare(channel, STREAMS)
    yield channel
    await connection.close()


async def publish_group(channel: Channel, group: Group) -> None:
    await channel.publish(EXCHANGE, group.stream.name, group.body(), group.properties())


async def take(channel: Channel, queue: str, seconds: float = 20) -> Message:
    """Take one message off a queue, as soon as there is one."""
    arrived: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def deliver(message: Message) -> None:
        if not arrived.done():
            arrived.set_result(message)

    async with asyncio.timeout(seconds):
        await channel.consume(queue, 1, deliver)
        message = await arrived
        await channel.cancel()
    channel.ack(message.tag)
    return message


def partition(weir: Weir, table: str, day: date) -> None:
    """Make a day's partition, as the consumer did when the day was ahead."""
    end = day + timedelta(days=1)
    weir.rows(
        f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {table} FOR VALUES FROM ('{day} 00:00+00') TO ('{end} 00:00+00')"
    )
