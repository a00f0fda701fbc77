"""What can be imported: readings, each of a device, and events."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from cli import events_file, readings_file
from cli.client import Client, Submission
from cli.csv_file import Reject
from cli.importing import Judged
from shared.config import Settings
from shared.errors import InvalidRecord
from shared.streams import events
from shared.streams.decoding import Rejected
from shared.streams.readings import decode_of_device
from shared.streams.stream import JSON, TimeBounds, microseconds

#: As the API has it, without what stands for bytes that are no UTF-8.
NAME = re.compile(r"[^\x00-\x1f\x7f\ufffd]{1,200}")


class Readings:
    """Readings of one user's devices. Makes the user, and each device when it first comes up."""

    noun = "readings"
    columns: tuple[str, ...] = readings_file.COLUMNS

    def __init__(self, lines: Iterator[str], limit: int, email: str) -> None:
        self._lines = lines
        self._limit = limit
        self._email = email
        self._user_id = 0
        self._devices: dict[str, str] = {}
        self._making = threading.Lock()

    def chunks(self) -> Iterator[readings_file.Chunk | Reject]:
        return readings_file.chunks(self._lines, self._limit)

    def judge(self, chunk: readings_file.Chunk, settings: Settings) -> Judged:
        now, bounds = _now(settings)
        try:
            _check_name(chunk.device)
        except InvalidRecord as error:
            return Judged(0, chunk.reject_all("device", error.code))
        encoded = decode_of_device(chunk.encoded(), JSON, now, bounds, key=1)
        return Judged(encoded.records, _rejects(chunk, encoded.rejected))

    def prepare(self, client: Client) -> None:
        self._user_id = client.user(self._email)["id"]

    def submit(self, client: Client, chunk: readings_file.Chunk) -> Judged:
        try:
            device_id = self._device(client, chunk.device)
        except InvalidRecord as error:
            return Judged(0, chunk.reject_all("device", error.code))
        return _judged(chunk, client.submit(device_id, chunk.encoded(), chunk.key()))

    def _device(self, client: Client, name: str) -> str:
        _check_name(name)
        with self._making:
            if name not in self._devices:
                found = client.device_of(name) or client.device(self._user_id, name)
                self._devices[name] = found["id"]
            return self._devices[name]


class Events:
    """Events, whoever's they are."""

    noun = "events"

    def __init__(self, lines: Iterator[str], limit: int, namespace: str | None) -> None:
        self._file = events_file.Events(lines, namespace)
        self._limit = limit
        self.columns = self._file.columns

    def chunks(self) -> Iterator[events_file.Chunk | Reject]:
        return self._file.chunks(self._limit)

    def judge(self, chunk: events_file.Chunk, settings: Settings) -> Judged:
        now, bounds = _now(settings)
        encoded = events.decode(chunk.encoded(), JSON, now, bounds).encode({})
        return Judged(encoded.records, _rejects(chunk, encoded.rejected))

    def prepare(self, client: Client) -> None:
        """Nothing is needed."""

    def submit(self, client: Client, chunk: events_file.Chunk) -> Judged:
        return _judged(chunk, client.submit_events(chunk.encoded(), chunk.key()))


def _now(settings: Settings) -> tuple[int, TimeBounds]:
    now = datetime.now(UTC)
    latest = microseconds(now + settings.timestamp_ahead)
    return microseconds(now), TimeBounds(microseconds(settings.earliest_timestamp), latest)


def _rejects(chunk: readings_file.Chunk | events_file.Chunk, rejected: list[Rejected]) -> list[Reject]:
    return [chunk.reject(one.index, one.field, one.code) for one in rejected]


def _judged(chunk: readings_file.Chunk | events_file.Chunk, sent: Submission) -> Judged:
    rejects = [chunk.reject(one["index"], one["field"], one["code"]) for one in sent.rejected]
    return Judged(sent.accepted, rejects, sent.receipt)


def _check_name(name: str) -> None:
    if not name.strip():
        raise InvalidRecord("missing", "device", "a device needs a name")
    if not NAME.fullmatch(name):
        raise InvalidRecord("not_a_name", "device", "a device's name is not one the API takes")
