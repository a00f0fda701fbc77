"""The table of dead letters: found, counted, changed; every act leaves its trace."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, func, select, true, update
from sqlalchemy.orm import Session, undefer

from api.errors import NotOpen
from api.schemas import Selection, Signed
from shared.database import Device, translated
from shared.dead_letters import DeadLetter, DeadLetterAct
from shared.errors import NotFound
from shared.streams import STREAMS, Stream
from shared.streams.letters import dated, device_keys, device_of, joined, records_of
from shared.streams.stream import COPY, JSON

#: Bytes of letters that are taken up for replay together; one that is larger is taken alone.
TAKEN_BYTES = 16 * 1024 * 1024
#: What a replay takes unless it is told otherwise, and what it can take at all.
REPLAYED_BY_DEFAULT, REPLAYABLE = ("open", "replaying"), ("open", "replaying", "replayed")


@dataclass(frozen=True)
class Found:
    """One letter with all there is about it; its records are None when they cannot be read."""

    letter: DeadLetter
    records: list[bytes] | None
    acts: Sequence[DeadLetterAct]


class Replayable(NamedTuple):
    """A letter as a message."""

    id: UUID
    stream: Stream
    receipt: UUID
    body: bytes
    content_type: str


class Taken(NamedTuple):
    """What was taken up for replay, what cannot be replayed as it is, and the last number looked at."""

    replayable: list[Replayable]
    left_open: list[UUID]
    last: int


def listed(engine: Engine, selection: Selection, after: int, limit: int) -> Sequence[DeadLetter]:
    """Return letters in the order they were archived. Raises WeirError, as do all of these."""
    query = select(DeadLetter).where(DeadLetter.number > after, *_conditions(selection))
    with translated(), Session(engine) as session:
        return session.scalars(query.order_by(DeadLetter.number).limit(limit)).all()


def find(engine: Engine, letter_id: UUID) -> Found:
    acts = select(DeadLetterAct).where(DeadLetterAct.letter == letter_id).order_by(DeadLetterAct.id)
    with translated(), Session(engine, expire_on_commit=False) as session:
        letter = session.get(DeadLetter, letter_id, options=[undefer("*")])
        if letter is None:
            raise NotFound("there is no dead letter with this id")
        return Found(letter, _records(letter, _devices(session, [letter])), session.scalars(acts).all())


def edit(engine: Engine, letter_id: UUID, records: list[bytes], signed: Signed) -> None:
    """Write what to publish in place of the body. Raises NotOpen."""
    edited = joined(records)
    values = {"edited": edited, "device_id": device_of(records[0]) if len(records) == 1 else None}
    _act(engine, letter_id, DeadLetterAct(letter=letter_id, act="edit", edited=edited, **_signature(signed)), values)


def discard(engine: Engine, letter_id: UUID, signed: Signed) -> None:
    """Give a letter up. Raises NotOpen."""
    act = DeadLetterAct(letter=letter_id, act="discard", **_signature(signed))
    _act(engine, letter_id, act, {"state": "discarded"})


def counted(engine: Engine, selection: Selection) -> tuple[dict[str, int], int]:
    """Return how many letters a replay would take, by code, and the last one's number."""
    query = select(DeadLetter.code, func.count(), func.max(DeadLetter.number)).where(*_replayed(selection))
    with translated(), Session(engine) as session:
        rows = session.execute(query.group_by(DeadLetter.code)).all()
    return {code: count for code, count, _ in rows}, max((last for _, _, last in rows), default=0)


def take(engine: Engine, selection: Selection, span: tuple[int, int], limit: int, signed: Signed) -> Taken:
    """Take letters up for replay: those numbered after the first of `span`, up to the second.

    They are `replaying` from now on, whatever becomes of us: the broker may be given them at any moment.
    """
    after, upto = span
    number = DeadLetter.number
    sizes = (
        select(number, func.octet_length(DeadLetter.body) + func.coalesce(func.octet_length(DeadLetter.edited), 0))
        .where(number > after, number <= upto, *_replayed(selection))
        .order_by(number)
        .limit(limit)
    )
    with translated(), Session(engine, expire_on_commit=False) as session, session.begin():
        found = session.execute(sizes).all()
        total = accumulate(size for _, size in found)
        some = [row[0] for row, sum_ in zip(found, total, strict=True) if sum_ <= TAKEN_BYTES] or [
            row[0] for row in found[:1]
        ]
        query = select(DeadLetter).where(number.in_(some), *_replayed(selection)).order_by(number)
        letters = session.scalars(query.options(undefer("*")).with_for_update()).all()
        messages = {letter.id: _message(letter, _devices(session, [letter])) for letter in letters}
        for letter in letters:
            if messages[letter.id] is not None:
                letter.state = "replaying" if letter.state == "open" else letter.state
                session.add(DeadLetterAct(letter=letter.id, act="replay", **_signature(signed)))
    left_open = [letter_id for letter_id, message in messages.items() if message is None]
    return Taken([one for one in messages.values() if one], left_open, max(some, default=upto))


def replayed(engine: Engine, letter_ids: Iterable[UUID]) -> None:
    """Write down that the broker has these."""
    with translated(), engine.begin() as connection:
        connection.execute(update(DeadLetter).where(DeadLetter.id.in_(list(letter_ids))).values(state="replayed"))


def stream_of(letter: DeadLetter) -> Stream:
    for stream in STREAMS:
        if stream.name == letter.stream:
            return stream
    raise NotFound("the stream of this dead letter is no more")


def _act(engine: Engine, letter_id: UUID, act: DeadLetterAct, values: Mapping[str, object]) -> None:
    changed = update(DeadLetter).where(DeadLetter.id == letter_id, DeadLetter.state == "open").values(**values)
    with translated(), Session(engine) as session, session.begin():
        if session.scalars(changed.returning(DeadLetter.id)).first() is None:
            if session.get(DeadLetter, letter_id) is None:
                raise NotFound("there is no dead letter with this id")
            raise NotOpen("only a letter that is open can be changed")
        session.add(act)


def _signature(signed: Signed) -> dict[str, str | None]:
    return {"by": signed.by, "why": signed.why}


def _conditions(selection: Selection) -> Iterable[ColumnElement[bool]]:
    equal = {"stream": selection.stream, "device_id": selection.device, "code": selection.code}
    for name, value in (equal | {"state": selection.state}).items():
        if value is not None:
            yield getattr(DeadLetter, name) == value
    if selection.reason is not None:
        yield func.strpos(func.lower(DeadLetter.reason), selection.reason.lower()) > 0
    if selection.since is not None:
        yield DeadLetter.last_seen >= selection.since
    if selection.until is not None:
        yield DeadLetter.last_seen < selection.until


def _replayed(selection: Selection) -> Iterable[ColumnElement[bool]]:
    ids = getattr(selection, "ids", None)
    yield DeadLetter.id.in_(ids) if ids is not None else true()
    yield DeadLetter.state.in_(REPLAYABLE if ids or selection.state else REPLAYED_BY_DEFAULT)
    yield from _conditions(selection)


def _devices(session: Session, letters: Iterable[DeadLetter]) -> dict[int, UUID]:
    """Return the devices whose keys stand in the bodies."""
    keys = {key for one in letters for key in device_keys(stream_of(one), one.body, one.content_type)}
    if not keys:
        return {}
    return {row.key: row.id for row in session.execute(select(Device.key, Device.id).where(Device.key.in_(keys)))}


def _records(letter: DeadLetter, devices: Mapping[int, UUID]) -> list[bytes] | None:
    """Return what would be published: the records as they are now, each with a time."""
    stream = stream_of(letter)
    if letter.edited is not None:
        return records_of(stream, letter.edited, JSON, devices, whole=True)
    records = records_of(stream, letter.body, letter.content_type, devices, whole=letter.index is None)
    return records and [dated(stream, record, letter.first_seen) for record in records]


def _message(letter: DeadLetter, devices: Mapping[int, UUID]) -> Replayable | None:
    """Make the message that replays a letter; None when it cannot be replayed as it is."""
    stream, records = stream_of(letter), _records(letter, devices)
    if records is not None:
        return Replayable(letter.id, stream, letter.replay, joined(records), JSON)
    if letter.content_type == COPY:
        return None
    return Replayable(letter.id, stream, letter.replay, letter.body, letter.content_type)
