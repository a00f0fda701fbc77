"""Dead letters as rows of a table, and the acts of those who mend them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Identity, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.database import Base


class DeadLetter(Base):
    """What could not be written: as it came, and what was made of it.

    `open` until somebody acts. `replaying` is written down before the broker is given it: from then on it can only be
    replayed again, under the same id, because the broker may have it already. `replayed`: the broker has it.
    """

    __tablename__ = "dead_letters"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    #: Counts up, in the order in which letters were archived.
    number: Mapped[int] = mapped_column(Identity(always=True))
    stream: Mapped[str]
    device_id: Mapped[UUID | None]
    #: Receipt of the submission, and the record's place in it; None: the message as a whole.
    receipt: Mapped[UUID | None]
    index: Mapped[int | None]
    content_type: Mapped[str]
    body: Mapped[bytes] = mapped_column(deferred=True)
    headers: Mapped[dict[str, Any]] = mapped_column(JSON, deferred=True)
    #: SQLSTATE, or a word of ours.
    code: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default="1")
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    state: Mapped[str] = mapped_column(server_default="open")
    #: What to publish in place of the body: a JSON array of records.
    edited: Mapped[bytes | None] = mapped_column(deferred=True)
    #: The message id, and so the receipt, under which it is replayed.
    replay: Mapped[UUID]
    #: The letter whose replay this came back from, and how many replays are behind it.
    replay_of: Mapped[UUID | None]
    replays: Mapped[int] = mapped_column(server_default="0")


class DeadLetterAct(Base):
    """What somebody did with a letter. Never changed."""

    __tablename__ = "dead_letter_acts"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    letter: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    act: Mapped[str]
    by: Mapped[str | None]
    why: Mapped[str | None]
    edited: Mapped[bytes | None]
