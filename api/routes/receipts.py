"""Receipts: what became of a submission."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import Engine, Row, text

from api.dependencies import ServicesOf
from api.schemas import DeadRecord, Receipt
from shared.database import translated

router = APIRouter(tags=["receipts"])

_FIND = text("SELECT stored, dead, at FROM receipts WHERE id = :id")


@router.get("/receipts/{receipt_id}")
async def get_receipt(receipt_id: UUID, services: ServicesOf) -> Receipt:
    """Tell whether the submission kept under this receipt is stored.

    Submissions that shared a message share its receipt, and `records` counts them together. A receipt nobody has
    written down yet is pending; so is one that was never given out, because only the broker knows what it still has.
    """
    row = await services.threads.run(_find, services.engine, receipt_id)
    if row is None:
        return Receipt(id=receipt_id, status="pending")
    dead = [DeadRecord(**one) for one in row.dead or ()]
    return Receipt(
        id=receipt_id,
        status="dead-lettered" if dead else "stored",
        records=row.stored,
        stored_at=row.at,
        dead=dead,
    )


def _find(engine: Engine, receipt_id: UUID) -> Row[Any] | None:
    with translated(), engine.connect() as connection:
        return connection.execute(_FIND, {"id": receipt_id}).one_or_none()
