"""Receipts: what became of a submission."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import Connection, Engine, text

from api.dependencies import ServicesOf
from api.problems import problems
from api.schemas import DeadRecord, Receipt
from shared.broker.messages import made_at
from shared.database import translated
from shared.errors import Expired

router = APIRouter(tags=["receipts"])

#: Until then an acceptance may not be in the ledger yet: other API processes write theirs every second.
_COUNTED_AFTER = timedelta(minutes=1)
#: A receipt is made before its message, which may fall into the next minute.
_STRADDLES = timedelta(minutes=1)

_FIND = text("SELECT stream, stored, duplicate, dead, at FROM receipts WHERE id = :id")
_OPEN = text("""
    SELECT EXISTS (
        SELECT FROM ledger WHERE accepted > stored + duplicate + dead
        AND minute BETWEEN date_trunc('minute', CAST(:made AS timestamptz)) AND :made + CAST(:straddles AS interval)
    )
""")


@router.get("/receipts/{receipt_id}", responses=problems(410))
async def get_receipt(receipt_id: UUID, services: ServicesOf) -> Receipt:
    """Tell whether the submission kept under this receipt is stored.

    Submissions that shared a message share its receipt, and `records` counts them together. A receipt that nobody has
    written down is `pending` while it may be on its way, and 410 once it is older than receipts are kept. Its time is in
    it (UUIDv7), so it is `unknown` when nothing of its minute is in flight: most likely it was never accepted. A receipt
    that was derived from an Idempotency-Key has no time: one that was never given out is `pending` for ever.
    """
    retention = services.settings.receipt_retention
    return await services.threads.run(_find, services.engine, receipt_id, retention)


def _find(engine: Engine, receipt_id: UUID, retention: timedelta) -> Receipt:
    made = made_at(receipt_id)
    with translated(), engine.connect() as connection:
        row = connection.execute(_FIND, {"id": receipt_id}).one_or_none()
        if row is None:
            return _missing(connection, receipt_id, made, retention)
    dead = [DeadRecord(**one) for one in row.dead or ()]
    return Receipt(
        id=receipt_id,
        status="dead-lettered" if dead else "stored",
        stream=row.stream,
        accepted_at=made,
        records=row.stored,
        duplicates=row.duplicate,
        stored_at=row.at,
        dead=dead,
    )


def _missing(connection: Connection, receipt_id: UUID, made: datetime | None, retention: timedelta) -> Receipt:
    """Say as much as can be known of a receipt that nobody has written down. Raises Expired."""
    if made is None:
        return Receipt(id=receipt_id, status="pending")
    age = datetime.now(UTC) - made
    may_come: Any = True
    if age > _COUNTED_AFTER:
        may_come = connection.execute(_OPEN, {"made": made, "straddles": _STRADDLES}).scalar_one()
        if not may_come and age > retention:
            raise Expired("receipts are not kept for so long")
    elif age < -_COUNTED_AFTER:
        return Receipt(id=receipt_id, status="unknown")
    return Receipt(id=receipt_id, status="pending" if may_come else "unknown", accepted_at=made)
