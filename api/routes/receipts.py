"""Receipts: what became of a submission."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlalchemy import Connection, Engine, text

from api.dependencies import ServicesOf
from api.errors import Ambiguous
from api.problems import problems
from shared.broker.messages import foreign_receipt, made_at
from shared.database import translated
from shared.errors import Expired, InvalidRecord, NotFound
from shared.streams import STREAMS

router = APIRouter(tags=["receipts"])

#: Until then an acceptance may not be in the ledger yet: other API processes write theirs every second.
_COUNTED_AFTER = timedelta(minutes=1)
#: A receipt is made before its message, which may fall into the next minute.
_STRADDLES = timedelta(minutes=1)

_FIND = text("""
    SELECT stream, stored, duplicate, dead, at,
        CASE WHEN CAST(:first AS integer) IS NULL THEN duplicate ELSE (
            SELECT coalesce(sum(upper(part) - lower(part)), 0)
            FROM unnest(duplicates * int4multirange(int4range(:first, CAST(:end AS integer)))) AS part
        ) END AS duplicates
    FROM receipts WHERE id = :id AND stream = coalesce(CAST(:stream AS text), stream)
""")
_OPEN = text("""
    SELECT EXISTS (
        SELECT FROM ledger WHERE accepted > stored + duplicate + dead
        AND minute BETWEEN date_trunc('minute', CAST(:made AS timestamptz)) AND :made + CAST(:straddles AS interval)
    )
""")


class DeadRecord(BaseModel):
    """A record that could not be stored. `index` counts the accepted records of the submission from 0, or those of the
    whole receipt where no place in it was asked for; None: the message as a whole.
    """

    index: int | None
    code: str
    reason: str

    def counted_from(self, first: int) -> Self:
        """The same, with its index counted from another record."""
        return self if self.index is None else self.model_copy(update={"index": self.index - first})


class Receipt(BaseModel):
    """`accepted_at` is when its message was made: only a receipt of a submission without a key knows that.

    `records` are those stored under it, `duplicates` those that were stored before, which only events can be.
    """

    id: UUID
    status: Literal["pending", "stored", "dead-lettered", "unknown"]
    stream: str | None = None
    accepted_at: datetime | None = None
    records: int | None = None
    duplicates: int | None = None
    stored_at: datetime | None = None
    dead: list[DeadRecord] = []


@dataclass(frozen=True)
class Place:
    """Which of a receipt's records are those of one submission: the first of them, and the one after the last."""

    first: int
    end: int

    def holds(self, index: int | None) -> bool:
        """Say whether a record is one of these. What concerns the whole message (None) concerns them, too."""
        return index is None or self.first <= index < self.end


#: Largest number of a record, which the table keeps as int4.
_MOST = (1 << 31) - 1


@router.get("/receipts/{receipt_id}", responses=problems(404, 409, 410))
async def get_receipt(
    receipt_id: UUID,
    services: ServicesOf,
    first: Annotated[int | None, Query(ge=0, le=_MOST)] = None,
    records: Annotated[int | None, Query(ge=1, le=_MOST)] = None,
    stream: str | None = None,
    producer: str | None = None,
) -> Receipt:
    """Tell whether the submission kept under this receipt is stored.

    Submissions that shared a message share its receipt. The Location of a 202 names the submission's place in it by
    `first` and `records`, and then the answer is of this submission alone; without them it is of all. `stream`, and
    `producer` (the app_id, else the user_id of the message), find the receipt of another producer's message by its
    message id, which several streams or producers may have used: without `stream` that is a 409.

    A receipt that nobody has
    written down is `pending` while it may be on its way, and 410 once it is older than receipts are kept. Its time is in
    it (UUIDv7), so it is `unknown` when nothing of its minute is in flight: most likely it was never accepted. A receipt
    that was derived from an Idempotency-Key has no time: one that was never given out is `pending` for ever.
    """
    kept_under = receipt_id if producer is None else _of_producer(stream, producer, receipt_id)
    place = _place(first, records)
    retention = services.settings.receipt_retention
    return await services.threads.run(_find, services.engine, kept_under, stream, place, retention)


def _of_producer(stream: str | None, producer: str, message_id: UUID) -> UUID:
    known = next((one for one in STREAMS if one.name == stream), None)
    if known is None:
        raise InvalidRecord("invalid", "stream", f"must be one of {', '.join(one.name for one in STREAMS)}")
    return foreign_receipt(known, producer, str(message_id))


def _place(first: int | None, records: int | None) -> Place | None:
    if (first is None) is not (records is None):
        raise InvalidRecord("missing", "first" if first is None else "records", "first and records come together")
    return None if first is None or records is None else Place(first, min(first + records, _MOST))


def _find(engine: Engine, receipt_id: UUID, stream: str | None, place: Place | None, retention: timedelta) -> Receipt:
    made = made_at(receipt_id)
    bounds = {"first": place and place.first, "end": place and place.end}
    with translated(), engine.connect() as connection:
        rows = connection.execute(_FIND, {"id": receipt_id, "stream": stream, **bounds}).all()
        if not rows:
            return _missing(connection, receipt_id, made, retention)
    if len(rows) > 1:
        raise Ambiguous(
            f"several streams have this receipt ({', '.join(sorted(row.stream for row in rows))}): say which by stream="
        )
    return _told(receipt_id, made, rows[0], place)


def _told(receipt_id: UUID, made: datetime | None, row: Any, place: Place | None) -> Receipt:
    """Say what is written down: of one submission's records, or of all. Raises NotFound when there are not so many."""
    dead = [DeadRecord(**one) for one in row.dead or ()]
    stored = row.stored
    if place is not None:
        is_whole = any(one.index is None for one in dead)
        if not is_whole and place.end > row.stored + row.duplicate + len(dead):
            raise NotFound("the receipt has no record at this place")
        dead = [one.counted_from(place.first) for one in dead if place.holds(one.index)]
        stored = 0 if is_whole else place.end - place.first - row.duplicates - len(dead)
    return Receipt(
        id=receipt_id,
        status="dead-lettered" if dead else "stored",
        stream=row.stream,
        accepted_at=made,
        records=stored,
        duplicates=row.duplicates,
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
