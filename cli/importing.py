"""The import of readings: chunks to the API, a few at a time, and then the receipts of what it accepted."""

import re
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from cli.client import Client
from cli.readings_file import Chunk, Reject
from shared.config import Settings
from shared.errors import InvalidRecord
from shared.streams.readings import decode_of_device, microseconds
from shared.streams.stream import JSON, TimeBounds

#: Requests under way at once: they keep the API busy while lines are read, and leave it room for devices.
IN_FLIGHT = 4

#: As the API has it, without what stands for bytes that are no UTF-8.
NAME = re.compile(r"[^\x00-\x1f\x7f\ufffd]{1,200}")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a chunk: how many readings were accepted, under which receipt, and the lines that were not."""

    accepted: int
    rejects: list[Reject]
    receipt: str | None = None


@dataclass(slots=True)
class Outcome:
    """What became of a file, in readings. Everything accepted ends as one of the last three."""

    accepted: int = 0
    rejected: int = 0
    stored: int = 0
    already_stored: int = 0
    dead_lettered: int = 0

    @property
    def left_out(self) -> int:
        """Accepted, but an earlier run had spent their key when fewer of the same lines were acceptable."""
        return max(0, self.accepted - self.stored - self.already_stored - self.dead_lettered)

    def settle(self, receipt: dict[str, Any], started: datetime) -> None:
        self.dead_lettered += len(receipt.get("dead") or ())
        stored_at = receipt.get("stored_at")
        if stored_at and datetime.fromisoformat(stored_at) < started:
            self.already_stored += receipt["records"]
        elif stored_at:
            self.stored += receipt["records"]


class Importer:
    """Sends chunks as one user's. Makes the user, and each device when it first comes up."""

    def __init__(self, client: Client, email: str) -> None:
        self._client = client
        self._user_id = client.user(email)["id"]
        #: What was stored before this moment was stored by an earlier run.
        self.started = client.started or datetime.now(UTC)
        self._devices: dict[str, str] = {}
        self._making = threading.Lock()

    def send(self, chunks: Iterable[Chunk | Reject]) -> Generator[Judged, None, None]:
        """Answers come in the order of the chunks."""
        return _concurrently(self._client, self._submit, chunks)

    def settle(self, receipts: Iterable[str]) -> Generator[dict[str, Any], None, None]:
        """Wait for each to be stored or dead-lettered."""
        return _concurrently(self._client, self._client.settled_receipt, receipts)

    def _submit(self, chunk: Chunk | Reject) -> Judged:
        if isinstance(chunk, Reject):
            return Judged(0, [chunk])
        try:
            device_id = self._device(chunk.device)
        except InvalidRecord as error:
            return Judged(0, chunk.reject_all("device", error.code))
        sent = self._client.submit(device_id, chunk.encoded(), chunk.key())
        return Judged(sent.accepted, [_at(chunk, rejected) for rejected in sent.rejected], sent.receipt)

    def _device(self, name: str) -> str:
        _check_name(name)
        with self._making:
            if name not in self._devices:
                self._devices[name] = self._client.device(self._user_id, name)["id"]
            return self._devices[name]


def judge(chunk: Chunk | Reject, settings: Settings) -> Judged:
    """Judge a chunk by the API's own rules, without the API."""
    if isinstance(chunk, Reject):
        return Judged(0, [chunk])
    now = datetime.now(UTC)
    bounds = TimeBounds(microseconds(settings.earliest_timestamp), microseconds(now + settings.timestamp_ahead))
    try:
        _check_name(chunk.device)
    except InvalidRecord as error:
        return Judged(0, chunk.reject_all("device", error.code))
    encoded = decode_of_device(chunk.encoded(), JSON, microseconds(now), bounds, key=1)
    rejects = [chunk.reject(rejected.index, rejected.field, rejected.code) for rejected in encoded.rejected]
    return Judged(encoded.records, rejects)


def _check_name(name: str) -> None:
    if not name.strip():
        raise InvalidRecord("missing", "device", "a device needs a name")
    if not NAME.fullmatch(name):
        raise InvalidRecord("not_a_name", "device", "a device's name is not one the API takes")


def _at(chunk: Chunk, rejected: dict[str, Any]) -> Reject:
    return chunk.reject(rejected["index"], rejected["field"], rejected["code"])


def _concurrently(
    client: Client, work: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """Like `map`, a few at a time. When it is left early nothing more is sent, and what is under way ends first."""
    waiting = iter(items)
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        try:
            # Twice as many as threads: the next chunk is read and ready when a thread becomes free.
            under_way.extend(pool.submit(work, item) for item in islice(waiting, 2 * IN_FLIGHT))
            while under_way:
                yield under_way.popleft().result()
                under_way.extend(pool.submit(work, item) for item in islice(waiting, 1))
        except BaseException:
            client.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
