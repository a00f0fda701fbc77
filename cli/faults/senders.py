"""Devices that send while something breaks, and write down what they were told."""

import http.client
import random
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from cli.faults.numbered import Device, Numbered, digest
from cli.faults.oracle import ACCEPTED, ANSWER_SECONDS, OracleLog, Sent
from cli.programs import HOST
from shared.errors import Unavailable
from shared.streams import EVENTS, READINGS

#: How long a keyed submission is tried again after the senders were told to end.
LAST_TRIES_SECONDS = 15
#: Of one run; beyond it only single records are sent, and slowly.
MOST_RECORDS = 150_000
#: How much of what is sent are events, and how often such a submission holds some that were sent before, maybe in it.
EVENTS_SHARE, AGAIN = 1 / 3, 0.2
#: So many of the last ones may be sent again.
_REMEMBERED = 500


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


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes
    #: Its Idempotency-Key, if it has one.
    key: str | None


class Sender:
    """One connection to the API at a time, and the forms a device may send in."""

    def __init__(self, port: int, device: Device, log: OracleLog) -> None:
        self._port = port
        self._device = device
        self._log = log
        self._connection: http.client.HTTPConnection | None = None

    def submit(
        self, numbered: Numbered, count: int, *, again: Sequence[int] = (), key: str | None = None
    ) -> tuple[Sent, Request]:
        """Take new numbers and write down that they are sent, and these again; a batch unless it is one."""
        numbers = [*self._log.take(count), *again]
        single = len(numbers) == 1
        body = numbered.body(numbers, single=single)
        sent = self._log.sent(numbered.stream.name, numbers, self._device.key, digest(body), keyed=key is not None)
        return sent, Request(numbered.path(self._device, single=single), body, key)

    def attempt(self, sent: Sent, request: Request) -> int | str:
        """Send it once; return the status, or the name of what went wrong instead."""
        key = request.key
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        began = time.monotonic()
        status: int | str
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(HOST, self._port, timeout=ANSWER_SECONDS)
            self._connection.request("POST", request.path, request.body, headers)
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
        self,
        port: int,
        devices: Sequence[Device],
        numbered: Mapping[str, Numbered],
        log: OracleLog,
        moment: Moment,
        seed: str,
    ) -> None:
        self._moment = moment
        self._readings, self._events = numbered[READINGS.name], numbered[EVENTS.name]
        self._log = log
        self._ended = threading.Event()
        self._give_up = float("inf")
        self._threads = [
            threading.Thread(
                target=self._send,
                args=(Sender(port, devices[n % len(devices)], log), random.Random(f"{seed}/{n}")),
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
        sent_before: deque[int] = deque(maxlen=_REMEMBERED)
        while not self._ended.is_set():
            is_full = self._log.numbers > MOST_RECORDS
            count = 1 if is_full or chance.random() < 0.5 else chance.randint(2, self._moment.largest_batch)  # noqa: PLR2004
            key = str(uuid4()) if chance.random() < 0.5 else None  # noqa: PLR2004
            numbered, again = self._readings, []
            if chance.random() < EVENTS_SHARE:
                numbered = self._events
                if sent_before and chance.random() < AGAIN:
                    again = chance.choices(sent_before, k=chance.randint(1, self._moment.largest_batch))
            sent, request = sender.submit(numbered, count, again=again, key=key)
            if numbered is self._events:
                sent_before.extend(sent.numbers[:count])
            status = self._until_answered(sender, chance, sent, request)
            pause = self._moment.pause_seconds if status == ACCEPTED and not is_full else 0.1
            self._ended.wait(pause * chance.uniform(0.5, 1.5))
        sender.close()

    def _until_answered(self, sender: Sender, chance: random.Random, sent: Sent, request: Request) -> int | str:
        """Send one submission; one with a key again and again until it is answered."""
        status = sender.attempt(sent, request)
        while request.key and (isinstance(status, str) or status == http.client.SERVICE_UNAVAILABLE):
            if time.monotonic() > self._give_up:
                break
            time.sleep(chance.uniform(0.05, 0.3))
            status = sender.attempt(sent, request)
        return status
