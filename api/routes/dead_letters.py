"""Dead letters for those who run Weir: look at them, mend them, replay them, give them up."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from api import dead_letters
from api.dead_letters import Found, stream_of
from api.dependencies import Cursor, Limit, Services, ServicesOf, link_next, page
from api.errors import problem_of_rejected
from api.problems import problems
from api.replay import Replayer
from api.routes.readings import as_response
from api.routes.users import after
from api.schemas import (
    DeadLetter,
    DeadLetterAct,
    DeadLetterSummary,
    Edit,
    Name,
    Replay,
    Replayed,
    Selection,
    Signed,
    State,
    Words,
)
from api.window import Moment, in_utc
from shared.errors import InvalidRecord
from shared.streams.letters import dated, joined, shown
from shared.streams.rejections import Rejected
from shared.streams.stream import JSON, Stream, TimeBounds, microseconds

router = APIRouter(prefix="/ops/dead-letters", tags=["operations"])

#: Bytes of a letter's body that are shown as they are.
SHOWN_BYTES = 64 * 1024


def _selection(
    stream: Annotated[Name | None, Query(description="Only this stream's.")] = None,
    device: Annotated[UUID | None, Query(description="Only this device's, where it is known.")] = None,
    code: Annotated[Name | None, Query(description="Only those with this SQLSTATE or word.")] = None,
    reason: Annotated[Name | None, Query(description="Only those whose reason holds this text.")] = None,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    since: Annotated[Moment | None, Query(description="Seen at this moment or later.")] = None,
    until: Annotated[Moment | None, Query(description="Last seen before this moment.")] = None,
) -> Selection:
    return Selection(
        stream=stream,
        device=device,
        code=code,
        reason=reason,
        state=state,
        since=in_utc(since, "since"),
        until=in_utc(until, "until"),
    )


@router.get("")
async def list_dead_letters(
    request: Request,
    response: Response,
    services: ServicesOf,
    selection: Annotated[Selection, Depends(_selection)],
    limit: Limit = 100,
    cursor: Cursor = None,
) -> list[DeadLetterSummary]:
    """List dead letters in the order they came; the `Link` header leads to the next page."""
    rows = await services.threads.run(dead_letters.listed, services.engine, selection, after(cursor), limit + 1)
    found, more = page(rows, limit)
    if more:
        response.headers.update(link_next(request, str(found[-1].number)))
    return [DeadLetterSummary.model_validate(one) for one in found]


@router.get("/{letter_id}", responses=problems(404))
async def get_dead_letter(letter_id: UUID, services: ServicesOf) -> DeadLetter:
    """Show one dead letter: its records as JSON, what came as it came, and what was done with it."""
    return _shown(await services.threads.run(dead_letters.find, services.engine, letter_id))


@router.patch("/{letter_id}", responses=problems(404, 409))
async def edit_dead_letter(letter_id: UUID, edit: Edit, services: ServicesOf) -> Any:
    """Mend a letter that is open. The records are judged as when they are submitted; the original is kept.

    A record without a time gets that of the original, or the one at which it was accepted.
    """
    found = await services.threads.run(dead_letters.find, services.engine, letter_id)
    if found.letter.index is not None and len(edit.records) > 1:
        raise InvalidRecord("too_many", "records", "must be one: the letter is one record")
    stream = stream_of(found.letter)
    try:
        sent = [json.dumps(record).encode() for record in edit.records]
    except RecursionError as error:
        raise InvalidRecord("invalid", "records", "are nested too deeply") from error
    records = [dated(stream, record, moment) for record, moment in zip(sent, _moments(found, len(sent)), strict=True)]
    rejected = await _judged(services, stream, joined(records))
    if rejected:
        return as_response(problem_of_rejected(rejected))
    await services.threads.run(dead_letters.edit, services.engine, letter_id, records, edit)
    return await get_dead_letter(letter_id, services)


@router.delete("/{letter_id}", status_code=204, responses=problems(404, 409))
async def discard_dead_letter(
    letter_id: UUID,
    services: ServicesOf,
    why: Annotated[Words, Query(description="Why nobody needs it.")],
    by: Annotated[Name | None, Query(description="Who says so.")] = None,
) -> None:
    """Give a letter up. It stays in the table, with the reason, and is never replayed."""
    await services.threads.run(dead_letters.discard, services.engine, letter_id, Signed(by=by, why=why))


@router.post("/replay")
async def replay_dead_letters(replay: Replay, services: ServicesOf) -> Replayed:
    """Publish letters again, oldest first: those that are open, unless it says otherwise.

    Without `"dry_run": false` it only counts them. A request takes ten seconds at most; `cursor` is where the next one
    goes on, and what dies again in the meantime is not replayed again. Each letter keeps one id however often it is
    replayed, and is stored once.
    """
    settings = services.settings
    replayer = Replayer(services.engine, services.threads, services.broker, settings.publish_deadline)
    return await replayer.run(replay)


async def _judged(services: Services, stream: Stream, body: bytes) -> list[Rejected]:
    """Return what the consumer would not take. Raises InvalidRecord, TooLarge."""
    settings = services.settings
    now = datetime.now(UTC)
    bounds = TimeBounds(microseconds(settings.earliest_timestamp), microseconds(now + settings.timestamp_ahead))
    limit = settings.submission_limit
    submission = await asyncio.to_thread(stream.decode, body, JSON, microseconds(now), bounds, limit)
    keys = await services.devices.keys(submission.device_ids)
    return (await asyncio.to_thread(submission.encode, keys)).rejected


def _moments(found: Found, count: int) -> list[datetime]:
    """Say when each record was taken, should it not say so itself."""
    field = stream_of(found.letter).time_field
    moments = [found.letter.first_seen] * count
    for place, record in enumerate((found.records or [])[:count]):
        value = shown(record)
        try:
            moments[place] = datetime.fromisoformat(value[field])
        except (TypeError, KeyError, ValueError):
            continue
    return moments


def _shown(found: Found) -> DeadLetter:
    letter = found.letter
    return DeadLetter(
        **DeadLetterSummary.model_validate(letter).model_dump(),
        records=None if found.records is None else [shown(record) for record in found.records],
        edited=letter.edited is not None,
        content_type=letter.content_type,
        headers=letter.headers,
        size_bytes=len(letter.body),
        body=base64.b64encode(letter.body[:SHOWN_BYTES]).decode(),
        acts=[DeadLetterAct.model_validate(act) for act in found.acts],
    )
