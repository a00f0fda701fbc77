"""From an AMQP message to what is written: parts, each under its own receipt."""

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import structlog

from consumer.intake import deaths
from consumer.told import Told
from shared.broker.content import Message
from shared.broker.messages import DIGESTS, KEYED, foreign_receipt, segments
from shared.broker.parked import RELEASED
from shared.errors import InvalidRecord, TooLarge
from shared.streams.rejections import EXPLANATIONS
from shared.streams.stream import COPY, JSON, PG_EPOCH, Stream, Submission, TimeBounds, microseconds

log = structlog.get_logger()

#: After so many deaths of whoever had it in hand a message is handled alone; after so many of those who handled nothing
#: else, it is dead.
SUSPECT_AFTER, ATTEMPTS = 2, 3

KEY_REUSED = "its Idempotency-Key was used for another body before"


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A record that can never be written as it is: its place in its submission (None: the whole), why, and itself."""

    index: int | None
    code: str
    reason: str
    body: bytes
    content_type: str


@dataclass(slots=True)
class Part:
    """Records that are kept under one receipt."""

    receipt: UUID
    #: How many the submission brought, dead ones included.
    records: int
    rows: bytes
    dead: list[DeadRecord] = field(default_factory=list)
    #: How many of the dead are published already, so that another attempt at the batch does not repeat them.
    announced: int = 0
    #: Of a keyed submission, as it was sent.
    digest: bytes | None = None

    def refuse_key(self) -> None:
        """Give up a submission whose key was used for another body: dead as a whole, under a receipt of its own."""
        assert self.digest is not None
        self.receipt, self.digest = uuid5(self.receipt, self.digest.hex()), None
        self.dead, self.announced = [DeadRecord(None, "key_reused", KEY_REUSED, self.rows, COPY)], 0
        self.rows = b""

    def places(self) -> list[int]:
        """Say where in its submission each of the rows that are left stands."""
        dead = {one.index for one in self.dead}
        return [index for index in range(self.records) if index not in dead]

    @property
    def dead_records(self) -> int:
        return self.records if any(one.index is None for one in self.dead) else len(self.dead)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A message with which the consumer has died before. It is not read yet: that may be what did it."""

    message: Message
    records: int = 1
    is_suspect: bool = True
    is_dead: bool = False
    is_released: bool = False

    @property
    def tag(self) -> int:
        return self.message.tag

    @property
    def size_bytes(self) -> int:
        return len(self.message.body)


@dataclass(slots=True)
class Delivery:
    """One message in hand. Its first part is kept under the message's own receipt, even when it is empty."""

    tag: int
    size_bytes: int
    minute: int
    parts: list[Part]
    #: The series it was published in, and how many records that had reached; without one nobody else has counted it.
    series: UUID | None = None
    reached: int = 0
    #: A JSON body that waits for its devices' keys.
    submission: Submission | None = None
    #: As it came, should it have to be parked.
    message: Message | None = None

    @property
    def is_released(self) -> bool:
        return self.message is not None and bool((self.message.properties.headers or {}).get(RELEASED))

    @property
    def records(self) -> int:
        return sum(part.records for part in self.parts)

    @property
    def is_suspect(self) -> bool:
        return False

    @property
    def is_dead(self) -> bool:
        """Whether nothing of it can be written."""
        dead = sum(part.dead_records for part in self.parts)
        return 0 < dead == self.records

    def resolve(self, keys: Mapping[UUID, int]) -> None:
        """Encode a JSON body, now that its devices' keys are known."""
        submission, self.submission = self.submission, None
        assert submission is not None
        encoded = submission.encode(keys)
        own = self.parts[0]
        own.rows, own.records = encoded.rows, encoded.records + len(encoded.rejected)
        sent = submission.items() if encoded.rejected else []
        own.dead = [
            DeadRecord(one.index, one.code, EXPLANATIONS.get(one.code, one.code), sent[one.index], JSON)
            for one in encoded.rejected
        ]


@dataclass(frozen=True)
class Reader:
    """Reads messages of one stream."""

    stream: Stream
    earliest: datetime
    ahead: timedelta
    #: Most records a JSON body may hold: it is decoded between other deliveries.
    limit: int

    def take(self, message: Message) -> Delivery | Suspect:
        """Read a message, unless the consumer died with it before."""
        return Suspect(message) if deaths(message) >= SUSPECT_AFTER else self.read(message)

    def read_suspect(self, message: Message, attempt: int) -> Delivery:
        """Read a message that is handled alone for the `attempt`th time; after too many it is dead, unread."""
        if attempt <= ATTEMPTS:
            return self.read(message)
        fault = InvalidRecord(
            "kills_consumer", None, f"the consumer died {attempt - 1} times while it handled nothing but this message"
        )
        return self._dead(message, self.receipt_of(message), fault)

    def read(self, message: Message) -> Delivery:
        """Read one message. Whatever is wrong with it becomes a dead record, never an error."""
        receipt = self.receipt_of(message)
        if not message.is_readable:
            fault = InvalidRecord("malformed", None, "the properties of the message cannot be read")
            return self._dead(message, receipt, fault)
        try:
            if message.properties.content_type == COPY:
                return self._ours(receipt, message)
            return self._foreign(receipt, message)
        except InvalidRecord as error:
            fault = error
        except Exception:
            # One message must not end the consumer, and with it take its neighbours round and round.
            log.exception("a message could not be read", receipt=str(receipt))
            fault = InvalidRecord("malformed", None, "the message cannot be read")
        return self._dead(message, receipt, fault)

    def _dead(self, message: Message, receipt: UUID, fault: InvalidRecord) -> Delivery:
        dead = DeadRecord(None, fault.code, str(fault), message.body, message.properties.content_type or "")
        told = Told(1, int(time.time()) // 60, None, 0)
        if message.properties.message_type == self.stream.message_type:
            with suppress(InvalidRecord):
                told = Told.of(message)
        parts = [Part(receipt, told.records, b"", [dead])]
        return Delivery(message.tag, len(message.body), told.minute, parts, told.series, told.reached, message=message)

    def receipt_of(self, message: Message) -> UUID:
        """The receipt of a message; one without an id is known by its body, so that it is dead-lettered once."""
        properties = message.properties
        message_id = properties.message_id or hashlib.sha256(message.body).hexdigest()
        return foreign_receipt(self.stream, properties.app_id or properties.user_id or "", message_id)

    def _ours(self, receipt: UUID, message: Message) -> Delivery:
        properties = message.properties
        headers = properties.headers or {}
        if properties.message_type != self.stream.message_type:
            raise InvalidRecord("unknown_version", None, f"the message is not {self.stream.message_type}")
        told = Told.of(message)
        keyed, digests = headers.get(KEYED, b""), headers.get(DIGESTS, b"")
        # bytes(5) would be five zeros, so types are looked at before anything is made of them.
        if not (isinstance(keyed, bytes | bytearray) and isinstance(digests, bytes | bytearray)):
            raise InvalidRecord("malformed", None, "a header is of another type")
        try:
            found = segments(receipt, told.records, message.body, bytes(keyed), self.stream.count, bytes(digests))
        except ValueError as error:
            raise InvalidRecord("malformed", None, "the headers do not fit the body") from error
        parts = [Part(one.receipt, one.records, message.body[one.start : one.end], digest=one.digest) for one in found]
        return Delivery(message.tag, len(message.body), told.minute, parts, told.series, told.reached, message=message)

    def _foreign(self, receipt: UUID, message: Message) -> Delivery:
        if message.properties.message_id is None:
            raise InvalidRecord("missing_id", None, "a message needs a message_id, or it could be stored twice")
        now = microseconds(datetime.now(UTC))
        bounds = TimeBounds(microseconds(self.earliest), now + self.ahead // timedelta(microseconds=1))
        media_type = (message.properties.content_type or JSON).partition(";")[0].strip().lower()
        try:
            submission = self.stream.decode(message.body, media_type, now, bounds, self.limit)
        except TooLarge as error:
            raise InvalidRecord("too_large", None, str(error)) from error
        minute = int(PG_EPOCH.timestamp() + now / 1_000_000) // 60
        own = [Part(receipt, 0, b"")]
        return Delivery(message.tag, len(message.body), minute, own, submission=submission, message=message)
