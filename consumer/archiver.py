"""Moves dead letters from their queue into the table `dead_letters`, where people can see and mend them."""

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import structlog

from consumer.session import Connection, Session
from shared.broker import topology
from shared.broker.channel import Channel
from shared.broker.content import Message
from shared.broker.messages import foreign_receipt, replay_receipt
from shared.errors import Unavailable, WeirError
from shared.streams import STREAMS
from shared.streams.letters import device_keys, device_of
from shared.streams.stream import COPY, Stream

log = structlog.get_logger()

#: Letters, and bytes of them, in hand: over the second nothing more is read until they are archived.
PREFETCH, LIMIT_BYTES = 200, 16 * 1024 * 1024
#: Waits between attempts to archive the same letters.
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
#: Longest code and reason, in characters: those that we write are far shorter.
CODE, REASON = 200, 2_000

#: A letter that comes again is known by its id, and counts as another attempt only when it was made again. One that
#: came back from a replay is known by its receipt.
_ARCHIVE = """
    INSERT INTO dead_letters AS l (
        id, stream, device_id, receipt, index, content_type, body, headers, code, reason,
        first_seen, last_seen, replay, replay_of, replays
    )
    SELECT %(id)s::uuid, %(stream)s, coalesce(%(device_id)s::uuid, (SELECT id FROM devices WHERE key = %(device_key)s)),
        %(receipt)s::uuid, %(index)s, %(content_type)s, %(body)s, %(headers)s::json, %(code)s, %(reason)s,
        %(at)s, %(at)s, %(replay)s::uuid, origin.id, coalesce(origin.replays + 1, 0)
    FROM (VALUES (1)) AS one LEFT JOIN dead_letters AS origin ON origin.replay = %(receipt)s::uuid
    ON CONFLICT (id) DO UPDATE SET attempts = l.attempts + 1, last_seen = excluded.last_seen
    WHERE l.last_seen < excluded.last_seen
"""


class Archiver:
    """Archives one stream's dead letters: committed, then acked. What it holds when it ends is delivered again."""

    def __init__(self, database_url: str, stream: Stream, deadline: timedelta) -> None:
        self._session = Session(database_url, deadline)
        self._stream = stream
        self._waiting: list[tuple[Channel, Message]] = []
        self._size_bytes = 0
        self._arrived = asyncio.Event()

    async def on_channel(self, channel: Channel) -> None:
        """Start consuming on a new channel."""
        await topology.declare(channel, STREAMS)
        await channel.consume(self._stream.dead_queue, PREFETCH, partial(self._deliver, channel))

    async def run(self) -> None:
        """Archive what arrives, together what arrived together, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            waiting, self._waiting = self._waiting, []
            for channel in dict.fromkeys(channel for channel, _ in waiting):
                await self._settle(channel, [message for of, message in waiting if of is channel])

    def close(self) -> None:
        self._session.close()

    def _deliver(self, channel: Channel, message: Message) -> None:
        self._waiting.append((channel, message))
        self._arrived.set()
        self._size_bytes += len(message.body)
        if self._size_bytes > LIMIT_BYTES:
            channel.line.pause_reading()

    async def _settle(self, channel: Channel, messages: Sequence[Message]) -> None:
        """Archive letters and ack them. Those whose channel is lost are let go: they are delivered again."""
        wait = FIRST_WAIT
        while not channel.is_closed:
            try:
                await self._session.run(partial(self._archive, messages=messages))
                log.info("dead letters archived", stream=self._stream.name, letters=len(messages))
                break
            except Unavailable as error:
                log.warning("dead letters wait", stream=self._stream.name, reason=str(error))
            except WeirError as error:
                log.error(
                    "operator action required: dead letters cannot be archived",
                    stream=self._stream.name,
                    reason=str(error),
                )
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)
        channel.ack(messages[-1].tag, multiple=True)
        self._size_bytes -= sum(len(message.body) for message in messages)
        if self._size_bytes <= LIMIT_BYTES // 2:
            channel.line.resume_reading()

    def _archive(self, connection: Connection, messages: Sequence[Message]) -> None:
        with connection.cursor() as cursor:
            for message in messages:
                cursor.execute(_ARCHIVE, row_of(self._stream, message))


def row_of(stream: Stream, message: Message) -> dict[str, Any]:
    """Read a letter. One that says less than ours do is archived with what it says: everything fits the table."""
    headers = message.properties.headers or {}
    content_type = message.properties.content_type or ""
    index = headers.get("index")
    is_record = isinstance(index, int) and 0 <= index < 1 << 31
    keys = device_keys(stream, message.body, content_type) if is_record else set()
    named = device_of(message.body) if is_record and content_type != COPY else None
    letter_id = _id(stream, message)
    receipt = _uuid(headers.get("receipt"))
    return {
        "id": str(letter_id),
        "stream": stream.name,
        "device_id": named and str(named),
        "device_key": keys.pop() if len(keys) == 1 else None,
        "receipt": receipt and str(receipt),
        "index": index if is_record else None,
        "content_type": _text(content_type, CODE),
        "body": message.body,
        "headers": msgspec.json.encode(headers, enc_hook=repr).decode(),
        "code": _text(headers.get("code", "unreadable"), CODE),
        "reason": _text(headers.get("reason", "the letter does not say why"), REASON),
        "at": _moment(headers),
        "replay": str(replay_receipt(letter_id)),
    }


def _id(stream: Stream, message: Message) -> UUID:
    """Ours is known by its own id, another's by its stream and id, and one without an id by its body."""
    text = message.properties.message_id or hashlib.sha256(message.body).hexdigest()
    is_ours = _uuid((message.properties.headers or {}).get("receipt")) is not None
    return (is_ours and _uuid(text)) or foreign_receipt(stream, "dead", text)


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _moment(headers: Mapping[str, Any]) -> datetime:
    """When the letter was made, or else now."""
    try:
        moment = datetime.fromisoformat(str(headers.get("at")))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return datetime.now(UTC)


def _text(value: object, limit: int) -> str:
    return str(value)[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}")
