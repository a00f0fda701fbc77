"""What can be imported: readings, each of a device, and events."""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cli.client import Client, Submission
from cli.importing import events_file, readings_file
from cli.importing.compared import Occurrences
from cli.importing.lines import Reject
from cli.importing.sending import Judged
from shared.config import Settings
from shared.errors import InvalidRecord, NotFound, Unavailable, WeirError
from shared.streams import READINGS, events
from shared.streams.readings import decode_of_device
from shared.streams.rejections import Rejected
from shared.streams.stream import JSON, TimeBounds, microseconds

#: As the API has it, without what stands for bytes that are no UTF-8.
NAME = re.compile(r"[^\x00-\x1f\x7f\ufffd]{1,200}")

_ANY_TIME = TimeBounds(-(1 << 63), (1 << 63) - 1)

#: How long to wait until what was accepted before is stored, so that the file can be compared with it.
SETTLING = timedelta(minutes=2)


class Device(NamedTuple):
    """A device of the file. `known` is None where it was made for this file, and so has nothing stored."""

    id: str
    known: Occurrences | None


class Readings:
    """Readings of one user's devices. Makes the user, and each device when its first acceptable reading comes.

    Where a device is there already, each chunk is compared with what is stored, and only what is new is sent.

    Args:
        confirm: asks a person whether to go on although something may be stored twice; raises WeirError if not.
    """

    noun = "readings"

    def __init__(
        self,
        file: readings_file.ReadingsFile,
        limit: int,
        settings: Settings,
        email: str,
        confirm: Callable[[str], None],
    ) -> None:
        self.file: readings_file.ReadingsFile = file
        self._limit = limit
        self._settings = settings
        self._email = email
        self._confirm = confirm
        self._user_id = 0
        self._devices: dict[str, Device] = {}
        self._finding = threading.Lock()
        self._is_settled = False
        self._asking = threading.Lock()
        self._asked: dict[str, WeirError | None] = {}

    def chunks(self) -> Iterator[readings_file.Chunk | Reject]:
        return self.file.chunks(self._limit)

    def judge(self, chunk: readings_file.Chunk) -> Judged:
        try:
            _check_name(chunk.device)
        except InvalidRecord as error:
            return Judged(0, chunk.reject_all("device", error.code))
        now, bounds = _now(self._settings)
        encoded = decode_of_device(chunk.encoded(), JSON, now, bounds, key=1)
        return Judged(encoded.records, _rejects(chunk, encoded.rejected))

    def prepare(self, client: Client) -> None:
        self._user_id = client.user(self._email)["id"]

    def submit(self, client: Client, chunk: readings_file.Chunk) -> Judged:
        try:
            device = self._device(client, chunk)
        except InvalidRecord as error:
            return Judged(0, chunk.reject_all("device", error.code))
        if device is None:
            return self.judge(chunk)
        body, count = chunk.encoded(), len(chunk.lines)
        if device.known is not None:
            places = device.known.new(chunk, self._stored(client, device.id, body, count))
            if not places:
                return Judged(count, [], already=count)
            if len(places) < count:
                chunk = chunk.only(places)
                body = chunk.encoded()
        already = count - len(chunk.lines)
        sent = _judged(chunk, client.submit(device.id, body, chunk.key()))
        return sent._replace(accepted=sent.accepted + already, already=already)

    def _stored(self, client: Client, device_id: str, body: bytes, count: int) -> list[int]:
        try:
            return client.stored(device_id, body)
        except (Unavailable, NotFound, InvalidRecord):
            raise
        except WeirError as error:
            self._ask(
                "stored", f"it cannot be known which readings are stored already, and would be stored twice: {error}"
            )
            return [0] * count

    def _ask(self, about: str, what: str) -> None:
        """Ask once, whichever thread comes first. Raises WeirError where the answer is no."""
        with self._asking:
            if about not in self._asked:
                try:
                    self._confirm(what)
                    self._asked[about] = None
                except WeirError as error:
                    self._asked[about] = error
            refused = self._asked[about]
        if refused is not None:
            raise refused

    def _device(self, client: Client, chunk: readings_file.Chunk) -> Device | None:
        """Find or make the device of a chunk; None where it would be made for rejected lines alone."""
        name = chunk.device
        _check_name(name)
        with self._finding:
            if name not in self._devices:
                found = client.device_of(name) or client.owned_device(self._user_id, name)
                if found is not None:
                    self._settle(client)
                    self._devices[name] = Device(found["id"], Occurrences())
                elif not any(_is_acceptable(part) for part in (chunk.only(range(1)), chunk)):
                    return None
                else:
                    self._devices[name] = Device(client.device(self._user_id, name)["id"], None)
            return self._devices[name]

    def _settle(self, client: Client) -> None:
        """Wait until what was accepted before is stored: only then can it be compared."""
        if self._is_settled:
            return
        waiting = client.settled(READINGS.name, client.started, SETTLING)
        if waiting:
            self._ask(
                "settled",
                f"{waiting:,} readings that were accepted before are not stored yet. If some of this file's are among "
                "them, from an import of it that was cut in another way, they will be stored twice",
            )
        self._is_settled = True


class Events:
    """Events, whoever's they are. Each is stored once by its id."""

    noun = "events"

    def __init__(self, file: events_file.EventsFile, limit: int, settings: Settings) -> None:
        self.file = file
        self._limit = limit
        self._settings = settings

    def chunks(self) -> Iterator[events_file.Chunk | Reject]:
        return self.file.chunks(self._limit)

    def judge(self, chunk: events_file.Chunk) -> Judged:
        now, bounds = _now(self._settings)
        encoded = events.decode(chunk.encoded(), JSON, now, bounds).encode({})
        return Judged(encoded.records, _rejects(chunk, encoded.rejected))

    def prepare(self, client: Client) -> None:
        """Nothing is needed."""

    def submit(self, client: Client, chunk: events_file.Chunk) -> Judged:
        return _judged(chunk, client.submit_events(chunk.encoded(), chunk.key()))


def _is_acceptable(chunk: readings_file.Chunk) -> bool:
    """Whether the API would take any of these readings. Which times it takes is its own setting, and not known here."""
    return decode_of_device(chunk.encoded(), JSON, 0, _ANY_TIME, key=1).records > 0


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
