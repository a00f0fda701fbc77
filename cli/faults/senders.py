"""Devices that send while something breaks, and write down what they were told."""

import http.client
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from cli.faults.oracle import ACCEPTED, ANSWER_SECONDS, OracleLog, Sent
from cli.faults.readings import Device, Numbered, digest
from cli.programs import HOST
from shared.errors import Unavailable

#: How long a keyed submission is tried again after the senders were told to end.
LAST_TRIES_SECONDS = 15
#: Of one run; beyond it only single readings are sent, and slowly.
MOST_READINGS = 150_000


@dataclass(frozen=True)
class Moment:
    """How much is sent while the fault happens."""

    name: str
    senders: int
    pause_seconds: float
    largest_batch: int


IDLE = Moment("idle", 1, 0.5, 5)
STEADY = Moment("steady load", 6, 0.02, 100)
BURST = Moment("burst", 24, 0.0, 100)


class Sender:
    """One connection to the API at a time, and the forms a device may send in."""

    def __init__(self, port: int, device: Device, numbered: Numbered, log: OracleLog) -> None:
        self._port = port
        self._device = device
        self._numbered = numbered
        self._log = log
        self._connection: http.client.HTTPConnection | None = None

    def submit(self, count: int, *, key: str | None = None) -> tuple[Sent, bytes]:
        """Take new numbers and write down that they are sent; a batch unless `count` is 1."""
        first = self._log.take(count)
        body = self._numbered.body(first, count, single=count == 1)
        sent = self._log.sent(first, count, self._device.key, digest(body), keyed=key is not None, bad=[])
        return sent, body

    def attempt(self, sent: Sent, body: bytes, key: str | None = None) -> int | str:
        """Send it once; return the status, or the name of what went wrong instead."""
        path = f"/devices/{self._device.id}/stats/" + ("" if sent.count == 1 else "batch")
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        began = time.monotonic()
        status: int | str
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(HOST, self._port, timeout=ANSWER_SECONDS)
            self._connection.request("POST", path, body, headers)
            answer = self._connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException) as error:
            status = type(error).__name__
            self.close()
        self._log.answered(sent, status, began)
        return status

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Senders:
    """So many senders as the moment has, each in a thread, until `end`."""

    def __init__(
        self, port: int, devices: Sequence[Device], numbered: Numbered, log: OracleLog, moment: Moment, seed: str
    ) -> None:
        self._moment = moment
        self._log = log
        self._ended = threading.Event()
        self._give_up = float("inf")
        self._threads = [
            threading.Thread(
                target=self._send,
                args=(Sender(port, devices[n % len(devices)], numbered, log), random.Random(f"{seed}/{n}")),
                name=f"sender {n}",
                daemon=True,
            )
            for n in range(moment.senders)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Send nothing new; keyed submissions without an answer are tried on for a while. Raises Unavailable."""
        self._give_up = time.monotonic() + LAST_TRIES_SECONDS
        self._ended.set()
        for thread in self._threads:
            thread.join(LAST_TRIES_SECONDS + ANSWER_SECONDS + 1)
        hanging = sum(thread.is_alive() for thread in self._threads)
        if hanging:
            raise Unavailable(f"{hanging} senders still wait for an answer")

    def _send(self, sender: Sender, chance: random.Random) -> None:
        while not self._ended.is_set():
            is_full = self._log.numbers > MOST_READINGS
            count = 1 if is_full or chance.random() < 0.5 else chance.randint(2, self._moment.largest_batch)  # noqa: PLR2004
            key = str(uuid4()) if chance.random() < 0.5 else None  # noqa: PLR2004
            status = self._until_answered(sender, chance, count, key)
            pause = self._moment.pause_seconds if status == ACCEPTED and not is_full else 0.1
            self._ended.wait(pause * chance.uniform(0.5, 1.5))
        sender.close()

    def _until_answered(self, sender: Sender, chance: random.Random, count: int, key: str | None) -> int | str:
        """Send one submission; one with a key again and again until it is answered."""
        sent, body = sender.submit(count, key=key)
        status = sender.attempt(sent, body, key)
        while key and (isinstance(status, str) or status == http.client.SERVICE_UNAVAILABLE):
            if time.monotonic() > self._give_up:
                break
            time.sleep(chance.uniform(0.05, 0.3))
            status = sender.attempt(sent, body, key)
        return status
