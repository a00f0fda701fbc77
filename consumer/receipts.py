"""Forgets receipts that are older than anything that could still ask for them."""

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import Engine, text

from shared.database import translated
from shared.errors import WeirError

log = structlog.get_logger()

#: Also the wait before the first time: until then the broker has delivered again whatever the last consumer left unacked.
EVERY = timedelta(hours=1)
#: Receipts in one transaction, so that nobody waits for it and little is done in vain when it fails.
MOST = 5_000
#: Held while receipts are deleted, so that several consumers do not look at the same ones.
LOCK = 0x57454951

#: Age counts back from the newest receipt: where nothing was written for long, what is in the queue may be as old.
_DELETE = text("""
    DELETE FROM receipts WHERE id IN (
        SELECT id FROM receipts
        WHERE at < least(now(), (SELECT max(at) FROM receipts)) - CAST(:retention AS interval)
        ORDER BY at LIMIT :most
    )
""")


def forget(engine: Engine, retention: timedelta) -> int:
    """Delete receipts that are older than `retention`, in small transactions; return how many. Raises WeirError."""
    deleted = 0
    while True:
        with translated(), engine.begin() as connection:
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}).scalar_one():
                return deleted
            count = connection.execute(_DELETE, {"retention": retention, "most": MOST}).rowcount
        deleted += count
        if count < MOST:
            return deleted


async def keep_forgetting(engine: Engine, retention: timedelta) -> None:
    """Forget every hour, until cancelled; a database that is away is tried again an hour later."""
    while True:
        await asyncio.sleep(EVERY.total_seconds())
        try:
            deleted = await asyncio.to_thread(forget, engine, retention)
        except WeirError as error:
            log.warning("old receipts are kept for now", reason=str(error))
            continue
        if deleted:
            log.info("receipts forgotten", count=deleted)
