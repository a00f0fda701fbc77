"""Messages that others publish straight to the exchange, and what does not fit in them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from random import Random
from signal import Signals
from uuid import uuid4

from pamqp.commands import Basic
from pamqp.common import FieldTable

from cli.faults import letters
from cli.faults.database_faults import WAITING
from cli.faults.fault import fault
from cli.faults.numbered import Numbered
from cli.faults.services import CHECKOUT
from cli.faults.weir import Weir
from shared.broker.messages import PERSISTENT, Group
from shared.streams import STREAMS, Stream
from shared.streams.stream import COPY, JSON

MESSAGES, RECORDS_EACH, LETTERS, UNREADABLE = 10, 40, 100, 2_000
#: A consumer that is killed by a body with these words in it.
FRAGILE, KILLS = CHECKOUT / "tests" / "crash_on_marker.py", b"kills whoever reads it"
QUARANTINE_SECONDS = 60


@fault("one-bad-row-per-message", "35", starred=True, quick=True)
def one_bad_row_per_message(weir: Weir, chance: Random) -> None:
    """Messages in which one record breaks a constraint of the table: it alone is dead-lettered."""
    for numbered in _of_each_stream(weir, MESSAGES):
        _publish(weir, numbered, chance, 1)
        time.sleep(chance.uniform(0, 0.2))


@fault("many-bad-rows", "36")
def many_bad_rows(weir: Weir, chance: Random) -> None:
    """Messages in which one record, half of them or all break a constraint."""
    for bad in (1, RECORDS_EACH // 2, RECORDS_EACH):
        for numbered in weir.numbered.values():
            _publish(weir, numbered, chance, bad)


@fault("good-behind-many-bad", "36", settings={"WEIR_DEAD_IN_A_ROW": "100", "WEIR_PREFETCH": "500"})
def good_behind_many_bad(weir: Weir, chance: Random) -> None:
    """2,000 messages of each stream that nobody can read: good ones go on behind them, and what is parked is released."""
    for stream in STREAMS:
        unreadable = [(_ours(str(uuid4()), 1, f"{stream.name}/99"), b"\0") for _ in range(UNREADABLE)]
        weir.publish_malformed(stream, unreadable)
    time.sleep(chance.uniform(0, 2))
    weir.services.restart("consumer", chance.choice([Signals.SIGTERM, Signals.SIGKILL]))
    for stream in STREAMS:
        numbered = weir.numbered[stream.name]
        before = weir.ever_stored(stream)
        weir.publish_group(numbered, weir.log.take(RECORDS_EACH), [])
        weir.wait_for(lambda: weir.ever_stored(stream) > before, "good records are stuck", QUARANTINE_SECONDS)  # noqa: B023
    weir.wait_for(lambda: weir.queued() == 0, "what is bad is not parked", QUARANTINE_SECONDS)
    weir.expect(weir.parked() > 0, "nothing was parked")
    weir.wait_for(weir.release, "what was parked is not released", QUARANTINE_SECONDS)


@fault("message-that-kills", "23", starred=True, ends_processes=True)
def message_that_kills(weir: Weir, chance: Random) -> None:
    """A message among others kills whichever consumer reads it: after some deaths it alone is dead-lettered."""
    weir.services.replace("consumer", FRAGILE)
    weir.services.restart("consumer")
    time.sleep(chance.uniform(0.5, 2))
    stream = chance.choice(STREAMS)
    group = Group(stream, opened=0.0)
    group.add(KILLS, 1)
    weir.publish_malformed(stream, [(group.properties(), group.body())])
    weir.wait_for(lambda: weir.has_receipt(group.receipt), "the message is not quarantined", QUARANTINE_SECONDS)
    weir.expect(weir.services.restarts["consumer"] > 0, "no consumer died of the message")


@fault("replay-killed", "42", starred=True, quick=True, cuts_senders=True)
def replay_killed(weir: Weir, chance: Random) -> None:
    """Of a hundred dead letters half are mended; while all are replayed the API is killed with -9, and replays again."""
    for numbered in _of_each_stream(weir, LETTERS // (RECORDS_EACH // 2)):
        _publish(weir, numbered, chance, RECORDS_EACH // 2)
    weir.wait_for(lambda: weir.dead_letters() >= LETTERS, "the dead letters are not archived")
    letters = weir.http.get("/ops/dead-letters", params={"limit": LETTERS}).raise_for_status().json()
    for letter in letters[::2]:
        weir.mend(letter["id"])
    with ThreadPoolExecutor() as threads:
        replaying = threads.submit(weir.replay, rate=LETTERS / 2)
        time.sleep(chance.uniform(0.1, 1.5))
        with weir.services.away("api", Signals.SIGKILL):
            weir.expect(replaying.exception() is not None, "the replay was over before the API was killed")
    weir.wait_for(weir.is_ready, "the API is not ready")
    for state in ("replaying", "open"):
        weir.replay(state=state)


@fault("dead-letters-full", "41")
def dead_letters_full(weir: Weir, chance: Random) -> None:
    """Nobody archives the dead letters, and their queue takes no more: the consumer waits with what it holds."""
    policy = "policies/{vhost}/small"
    weir.management("PUT", policy, {
        "pattern": r"^weir\.[a-z]+\.dead$", "apply-to": "queues", "priority": 9,
        "definition": {"max-length": 3, "overflow": "reject-publish"},
    })  # fmt: skip
    weir.sql("ALTER TABLE dead_letters RENAME TO hidden")
    try:
        for numbered in _of_each_stream(weir, 2 * MESSAGES):
            _publish(weir, numbered, chance, RECORDS_EACH)
        time.sleep(chance.uniform(2, 5))
    finally:
        weir.sql("ALTER TABLE hidden RENAME TO dead_letters")
        weir.management("DELETE", policy)
    # What the archiver holds meanwhile is not in the queue, which would look as if it were drained.
    weir.wait_for(lambda: weir.dead_letters() >= 2 * MESSAGES * RECORDS_EACH, "the dead letters are not archived")
    weir.expect_consumer_said(WAITING)


def _of_each_stream(weir: Weir, count: int) -> Iterator[Numbered]:
    """Take turns between the streams, so many times in all."""
    return islice(cycle(weir.numbered.values()), count)


def _publish(weir: Weir, numbered: Numbered, chance: Random, bad: int) -> None:
    """Publish a message of records, so many of which no table takes."""
    numbers = weir.log.take(RECORDS_EACH)
    weir.publish_group(numbered, numbers, chance.sample(numbers, bad))


@fault("malformed-messages", "40", quick=True)
def malformed_messages(weir: Weir, chance: Random) -> None:
    """Messages that are empty, cut, not UTF-8, of 10 MB, of an unknown version, or have no id or no headers."""
    for stream in STREAMS:
        messages = _malformed(stream)
        chance.shuffle(messages)
        weir.publish_malformed(stream, messages)


def _malformed(stream: Stream) -> list[letters.Raw]:
    return [
        (_json("empty"), b""),
        (_json("cut"), b'[{"x": 1, "y"'),
        (_json("not-utf-8"), b'[{"x": "\xff\xfe"}]'),
        (_json("large"), b"[" + b" " * 10_000_000),
        (_json(None), b'[{"x": 1, "y": 1, "z": 1}]'),
        (_ours("no-headers", None, stream.message_type), b"\0" * 50),
        (_ours("short", 1, stream.message_type), b"\0" * 50),
        (_ours("version", 1, f"{stream.name}/99"), b"\0"),
    ]


def _json(message_id: str | None) -> Basic.Properties:
    return Basic.Properties(message_id=message_id, content_type=JSON, delivery_mode=PERSISTENT)


def _ours(message_id: str, records: int | None, message_type: str) -> Basic.Properties:
    headers: FieldTable = {} if records is None else {"records": records, "minute": int(time.time()) // 60}
    return Basic.Properties(
        message_id=message_id, message_type=message_type, content_type=COPY, delivery_mode=PERSISTENT, headers=headers
    )
