"""One Weir for one run: its own database and virtual host, its processes, and proxies on every way between them."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy.exc import SQLAlchemyError

from cli.faults import letters
from cli.faults.database import Database
from cli.faults.numbered import Device, Numbered, Row
from cli.faults.oracle import ACCEPTED, OracleLog, Sent
from cli.faults.proxy import Proxy, Trap
from cli.faults.senders import Sender
from cli.faults.services import Services
from cli.programs import HOST, free_ports, wait_until
from cli.running import PrivateServers
from cli.servers import DEPLOY, NAME, PostgresServer, RabbitServer
from shared.broker.messages import Group
from shared.errors import Unavailable
from shared.streams import STREAMS, Stream

DEVICES = 4
READY_SECONDS = 30
HEARD_SECONDS = 0.5


class Weir:
    """What a fault may break, and the means to."""

    def __init__(
        self,
        servers: PrivateServers,
        name: str,
        folder: Path,
        numbered: Mapping[str, Numbered],
        settings: Mapping[str, str],
    ) -> None:
        assert isinstance(servers.postgres.server, PostgresServer)
        assert isinstance(servers.rabbit.server, RabbitServer)
        self.postgres, self.rabbit = servers.postgres, servers.rabbit
        self.postgres_server, self.rabbit_server = servers.postgres.server, servers.rabbit.server
        self.name, self.numbered = name, numbered
        #: What a fault found wrong that the verdict does not look at.
        self.complaints: list[str] = []
        #: Of each stream: messages published to be dead-lettered whole.
        self.malformed: Counter[str] = Counter()
        #: Numbers of records that were dead letters and were mended.
        self.mended: set[int] = set()
        #: When a stream's queue was deleted: what was in it is gone.
        self.gone_until: dict[str, float] = {}
        self.log = OracleLog(folder / "oracle.jsonl")
        self._postgres_base = self.postgres_server.url.rpartition("/")[0]
        self.amqp_url = f"{self.rabbit_server.url.rpartition('/')[0]}/{name}"
        self._management = httpx.Client(base_url=self.rabbit_server.management_url, timeout=30, trust_env=False)
        self._make()
        self.database_url = f"{self._postgres_base}/{name}"
        self.database = Database(self.database_url)
        self.api_to_broker = Proxy(self.rabbit_server.ports.amqp)
        self.consumer_to_broker = Proxy(self.rabbit_server.ports.amqp)
        self.consumer_to_database = Proxy(self.postgres_server.port)
        (self.port,) = free_ports(1)
        self.http = httpx.Client(base_url=f"http://{HOST}:{self.port}", timeout=30, trust_env=False)
        self.services = Services(folder, {
            "api": {**settings, **self._environment(self.api_to_broker, self.postgres_server.port)},
            "consumer": {**settings, **self._environment(self.consumer_to_broker, self.consumer_to_database.port)},
        })  # fmt: skip
        self.devices: list[Device] = []

    def start(self) -> None:
        """Start consumer and API, wait for the API and make the devices. Raises Unavailable."""
        self.services.start("consumer")
        self.services.start("api")
        self.wait_for(self.is_ready, "the API is not ready")
        user = self.http.post("/users/", json={"name": "faults", "email": "faults@example.org"}).raise_for_status()
        for _ in range(DEVICES):
            made = self.http.post("/devices/", json={"user_id": user.json()["id"], "name": "device"})
            device_id = UUID(made.raise_for_status().json()["id"])
            (row,) = self.database.rows("SELECT key FROM devices WHERE id = %(id)s", {"id": device_id})
            self.devices.append(Device(device_id, row.key))

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def readiness(self) -> str:
        """What the API says of itself; nothing while it does not answer."""
        try:
            return self.http.get("/readyz").text
        except httpx.TransportError:
            return ""

    def log_lines(self) -> int:
        """How many lines API and consumer have logged."""
        return sum(self.services.log(name).read_bytes().count(b"\n") for name in ("api", "consumer"))

    def expect_consumer_said(self, words: str) -> None:
        """Note it when the fault did not reach the consumer: then it has shown nothing."""
        self.expect(words in self.services.log("consumer").read_text(), f"the consumer did not say {words!r}")

    def spring(self, trap: Trap) -> None:
        """Lie in wait on the consumer's way to the database until the trap springs. Raises Unavailable."""
        self.consumer_to_database.set_trap(trap)
        self.wait_for(trap.sprung.is_set, "the consumer did not walk into a trap")

    def sender(self) -> Sender:
        return Sender(self.port, self.devices[0], self.log)

    def delete_queue(self, stream: Stream) -> None:
        """What was in it is gone, also what was confirmed just before its sender heard of it."""
        self.management("DELETE", f"queues/{{vhost}}/{stream.queue}")
        self.gone_until[stream.name] = time.monotonic() + HEARD_SECONDS

    def sql(self, statement: str) -> list[Any]:
        """Run a statement in this Weir's database."""
        return self.database.rows(statement)

    def ctl(self, *arguments: str) -> None:
        """Run rabbitmqctl. Raises Unavailable when it fails."""
        command = [self.rabbit_server.rabbitmqctl, *arguments]
        environment = self.rabbit_server.environment()
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=READY_SECONDS
        )
        if done.returncode:
            raise Unavailable(f"rabbitmqctl {arguments[0]}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")

    def management(self, method: str, path: str, body: object = None) -> Any:
        """Call the broker's management API below /api; `{vhost}` is this Weir's. Raises HTTPStatusError."""
        answer = self._management.request(method, f"/api/{path.format(vhost=self.name)}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def expect(self, condition: bool, complaint: str) -> None:
        """Note something that is not as it should be."""
        if not condition:
            self.complaints.append(complaint)

    def wait_for(self, condition: Callable[[], bool], complaint: str, seconds: float = READY_SECONDS) -> None:
        """Wait until it is true. Raises Unavailable."""
        wait_until(condition, seconds, complaint)

    def wait_until_accepted(self, more: int, seconds: float = READY_SECONDS) -> None:
        """Wait until so many more records are accepted. Raises Unavailable."""
        goal = self.log.accepted + more
        self.wait_for(lambda: self.log.accepted >= goal, f"{more} more records are not accepted", seconds)

    def publish_malformed(self, stream: Stream, messages: list[letters.Raw]) -> None:
        """Publish messages each of which is to be dead-lettered whole."""
        self.malformed[stream.name] += len(messages)
        letters.publish(self.amqp_url, stream, messages)

    def publish_group(self, numbered: Numbered, numbers: list[int], bad: list[int]) -> None:
        """Publish a message of records, and keep in the log which of them are bad."""
        key = self.devices[0].key
        group = Group(numbered.stream, opened=0.0)
        rows = [numbered.copy_tuple(number, key, bad=number in bad) for number in numbers]
        group.add(b"".join(rows), len(rows))
        sent = self.log.sent(numbered.stream.name, numbers, key, "", keyed=False, bad=bad)
        began = time.monotonic()
        letters.publish(self.amqp_url, numbered.stream, [(group.properties(), group.body())])
        self.log.answered(sent, ACCEPTED, began)

    def queued(self, stream: Stream | None = None) -> int:
        """How many messages wait: of one stream, or of all."""
        streams = STREAMS if stream is None else (stream,)
        return sum(letters.ready(self.amqp_url, one.queue) for one in streams)

    def parked(self) -> int:
        """How many messages are parked, of all streams."""
        return sum(letters.ready(self.amqp_url, one.parked_queue) for one in STREAMS)

    def release(self) -> bool:
        """Have what is parked tried again, as much as one request of each stream does; whether nothing is left."""
        for stream in STREAMS:
            self.http.post(
                "/ops/parked/release", json={"stream": stream.name}, timeout=READY_SECONDS
            ).raise_for_status()
        return self.parked() == 0

    def ever_stored(self, stream: Stream) -> int:
        """How many records of a stream were stored by now."""
        ((count,),) = self.sql(f"SELECT coalesce(sum(stored), 0) FROM ledger_stored WHERE stream = '{stream.name}'")  # noqa: S608
        return int(count)

    def policy(self, stream: Stream) -> str | None:
        """The name of the policy that its queue has."""
        name: str | None = self._queue(stream.queue).get("policy")
        return name

    def unarchived(self) -> int:
        return sum(letters.ready(self.amqp_url, stream.dead_queue) for stream in STREAMS)

    def is_archived(self) -> bool:
        """Whether no dead letter waits, nor is in the archiver's hands as far as the broker has counted by now."""
        queues = [self._queue(stream.dead_queue) for stream in STREAMS]
        return not self.unarchived() and not any(queue.get("messages", 0) for queue in queues)

    def consumers(self) -> int:
        """How many processes consume every stream, as far as the broker has counted by now."""
        found = [self._queue(stream.queue).get("consumer_details", []) for stream in STREAMS]
        return min(len({one["channel_details"]["connection_name"] for one in details}) for details in found)

    def redeliveries(self) -> int:
        """How often the broker has delivered again, as far as it has counted by now and since it started."""
        found = [self._queue(stream.queue).get("message_stats", {}) for stream in STREAMS]
        return sum(int(one.get("redeliver", 0)) for one in found)

    def rows(self, numbered: Numbered) -> list[Row]:
        return [numbered.table_row(row) for row in self.database.rows(numbered.query)]

    def is_stored(self, sent: Sent) -> bool:
        """Whether its first record is."""
        numbered = self.numbered[sent.stream]
        query = f"SELECT 1 FROM {numbered.stream.table} WHERE time = %(at)s"  # noqa: S608 - a name of ours
        return bool(self.database.rows(query, {"at": numbered.moment(sent.numbers[0])}))

    def has_receipt(self, receipt: str) -> bool:
        return bool(self.database.rows("SELECT 1 FROM receipts WHERE id = %(id)s", {"id": receipt}))

    def dead_letters(self) -> int:
        """How many are archived."""
        return len(self.sql("SELECT 1 FROM dead_letters"))

    def mend(self, letter_id: str) -> None:
        """Put the record as it should have been into a dead letter that is open. Raises HTTPStatusError."""
        path = f"/ops/dead-letters/{letter_id}"
        letter = self.http.get(path).raise_for_status().json()
        numbered = self.numbered[letter["stream"]]
        (record,) = letter["records"]
        number, _ = numbered.candidates(numbered.row_of_json(record, {one.id: one.key for one in self.devices}))
        self.mended.add(number)
        self.http.patch(path, json={"records": [record | numbered.record(number)]}).raise_for_status()

    def replay(self, **selection: object) -> None:
        """Replay the dead letters that there are. Raises HTTPError."""
        asked = {"dry_run": False, **selection}
        while asked.get("cursor", "") is not None:
            answer = self.http.post("/ops/dead-letters/replay", json=asked).raise_for_status()
            asked["cursor"] = answer.json()["cursor"]

    def administer(self, statement: str) -> list[Any]:
        """Run a statement outside this Weir's database, on a connection of its own."""
        database = Database(f"{self._postgres_base}/postgres")
        try:
            return database.rows(statement)
        finally:
            database.close()

    def close(self) -> None:
        self.services.close()
        for proxy in (self.api_to_broker, self.consumer_to_broker, self.consumer_to_database):
            proxy.close()
        self.database.close()
        self.http.close()
        self.log.close()
        with suppress(httpx.HTTPError, SQLAlchemyError):  # what a broken server keeps goes with its folder
            self.management("DELETE", "vhosts/{vhost}")
            self.administer(f"DROP DATABASE {self.name} WITH (FORCE)")
        self._management.close()

    def _make(self) -> None:
        self.administer(f"CREATE DATABASE {self.name} TEMPLATE {NAME}")
        self.management("PUT", "vhosts/{vhost}", {})
        self.management("PUT", f"permissions/{{vhost}}/{NAME}", {"configure": ".*", "write": ".*", "read": ".*"})
        for policy in json.loads((DEPLOY / "definitions.json").read_text())["policies"]:
            content = {key: policy[key] for key in ("pattern", "definition", "priority", "apply-to")}
            self.management("PUT", f"policies/{{vhost}}/{policy['name']}", content)

    def _queue(self, name: str) -> Any:
        return self.management("GET", f"queues/{{vhost}}/{name}")

    def _environment(self, broker: Proxy, database_port: int) -> dict[str, str]:
        return {
            "WEIR_DATABASE_URL": f"postgresql://{NAME}:{NAME}@{HOST}:{database_port}/{self.name}",
            "WEIR_AMQP_URL": f"amqp://{NAME}:{NAME}@{HOST}:{broker.port}/{self.name}",
            "WEIR_API_PORT": str(self.port),
        }
