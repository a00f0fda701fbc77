"""Forgets what is older than anything that could still ask for it: receipts, settled dead letters, balanced minutes."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import Engine, text

from shared.database import DatabaseThreads, translated
from shared.errors import WeirError
from shared.streams import STREAMS

log = structlog.get_logger()

#: Also the wait before the first time: until then the broker has delivered again whatever the last consumer left unacked.
EVERY = timedelta(hours=1)
#: Measured on our side, because a frozen database ends nothing: whoever waits longer asks again in the next round.
DEADLINE = timedelta(hours=1)
#: Rows in one transaction, so that nobody waits for it and little is done in vain when it fails.
MOST = 5_000
#: Held while rows are deleted, so that several consumers do not look at the same ones.
LOCK = 0x57454951

#: Age counts back from the newest receipt of the stream: where nothing was written for long, what is in its queue may be
#: as old. That of a replay is kept with its letter, which can be replayed again.
RECEIPTS = """
    DELETE FROM receipts WHERE id IN (
        SELECT id FROM receipts
        WHERE stream = :stream
            AND at < least(now(), (SELECT max(at) FROM receipts WHERE stream = :stream)) - CAST(:retention AS interval)
            AND NOT EXISTS (SELECT FROM dead_letters WHERE replay = receipts.id)
        ORDER BY at LIMIT :most
    )
"""
#: Age counts from when a letter was settled. With it goes what was done with it. Open ones, and those on their way, are
#: kept for as long as they are.
DEAD_LETTERS = """
    DELETE FROM dead_letters WHERE id IN (
        SELECT id FROM dead_letters
        WHERE state IN ('replayed', 'discarded') AND last_seen < now() - CAST(:retention AS interval)
            AND NOT EXISTS (
                SELECT FROM dead_letter_acts WHERE letter = dead_letters.id AND at >= now() - CAST(:retention AS interval)
            )
        ORDER BY number LIMIT :most
    )
"""
#: A minute that does not balance is kept: it tells of something that is still to be found.
MINUTES = """
    DELETE FROM ledger WHERE (stream, minute, series) IN (
        SELECT stream, minute, series FROM ledger
        WHERE minute < now() - CAST(:retention AS interval) AND accepted = stored + duplicate + dead
        ORDER BY minute LIMIT :most
    )
"""


class Term(NamedTuple):
    """How long the rows that a statement deletes are kept; those of one stream, where there is one."""

    name: str
    delete: str
    retention: timedelta
    stream: str | None = None


def terms(receipts: timedelta, settled: timedelta) -> list[Term]:
    """Say how long each stream's receipts are kept, and everything that is settled for good."""
    return [
        *(Term(f"receipts of {stream.name}", RECEIPTS, receipts, stream.name) for stream in STREAMS),
        Term("dead letters", DEAD_LETTERS, settled),
        Term("minutes of the ledger", MINUTES, settled),
    ]


def forget(engine: Engine, term: Term) -> int:
    """Delete what is past its term, in small transactions; return how many rows. Raises WeirError."""
    deleted = 0
    parameters = {"retention": term.retention, "most": MOST, "stream": term.stream}
    while True:
        with translated(), engine.begin() as connection:
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}).scalar_one():
                return deleted
            count = connection.execute(text(term.delete), parameters).rowcount
        deleted += count
        if count < MOST:
            return deleted


async def keep_forgetting(threads: DatabaseThreads, engine: Engine, terms: Sequence[Term]) -> None:
    """Forget every hour, until cancelled; a database that is away is tried again an hour later."""
    while True:
        await asyncio.sleep(EVERY.total_seconds())
        for term in terms:
            try:
                deleted = await threads.run(forget, engine, term, deadline=DEADLINE)
            except WeirError as error:
                log.warning("what is old is kept for now", what=term.name, reason=str(error))
                continue
            if deleted:
                log.info("forgotten", what=term.name, count=deleted)
