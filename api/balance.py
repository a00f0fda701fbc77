"""Whether the ledger balances: what is in flight must be somewhere."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, text

from shared.broker.channel import Channel
from shared.broker.management import Management
from shared.database import translated
from shared.streams import Stream

#: A minute is judged once it has been over for this long: counts of the API may be a second late, the broker's six.
GRACE = timedelta(minutes=1)
#: The same where nobody tells what consumers hold in their hands.
LONG_GRACE = timedelta(minutes=10)
#: Most minutes in one answer, the newest: a week of one stream.
MOST_MINUTES = 10_080

#: Minutes since a moment, and whatever is still open from before it.
_MINUTES = text("""
    SELECT minute, sum(accepted)::bigint, sum(stored)::bigint, sum(duplicate)::bigint, sum(dead)::bigint,
           bool_or(stored + duplicate + dead > accepted)
    FROM ledger
    WHERE stream = :stream AND (minute >= :since OR accepted > stored + duplicate + dead)
    GROUP BY minute ORDER BY minute DESC LIMIT :most
""")


@dataclass(frozen=True)
class QueueState:
    """What a stream's queue holds, and its parking queue, as far as it can be known; None: it cannot.

    `ready` and `consumers` are from now; both are 0 also when the queue is slow to answer. `unacked` is with consumers,
    as of some seconds ago, and so is `seen_empty`: whether the management API saw both queues without any message.
    """

    ready: int | None = None
    consumers: int | None = None
    unacked: int | None = None
    seen_empty: bool | None = None
    parked: int | None = None

    @property
    def is_empty(self) -> bool | None:
        """None when it cannot be known: 0 ready messages alone prove nothing."""
        if self.ready or self.unacked or self.parked or self.seen_empty is False:
            return False
        return True if self.ready == 0 and self.seen_empty else None

    @property
    def has_none_ready(self) -> bool:
        """Whether 0 is what the queue said: one that is too slow to answer knows of no consumers either."""
        return self.ready == 0 and not self.parked and bool(self.consumers)


@dataclass(frozen=True)
class Minute:
    """The records of one minute, in which their messages were made. `why` is None while it balances."""

    minute: datetime
    accepted: int
    stored: int
    duplicate: int
    dead: int
    in_flight: int
    why: str | None


async def look(channel: Channel, stream: Stream) -> QueueState:
    """Ask a stream's queue itself. Raises WeirError."""
    ready, consumers = await channel.look(stream.queue)
    return QueueState(ready, consumers, parked=await channel.ready_messages(stream.parked_queue))


def from_afar(management: Management, stream: Stream, seen: QueueState) -> QueueState:
    """Add what the management API knows. Blocks. Raises WeirError."""
    found = management.queue(stream.queue)
    messages = [found.get("messages"), management.queue(stream.parked_queue).get("messages")]
    seen_empty = None if None in messages else not any(messages)
    return replace(seen, unacked=found.get("messages_unacknowledged"), seen_empty=seen_empty)


def minutes(engine: Engine, stream: Stream, since: datetime, queue: QueueState) -> list[Minute]:
    """Read and judge a stream's minutes, newest first. `queue` must have been looked at before. Raises WeirError."""
    now = datetime.now(UTC)
    with translated(), engine.connect() as connection:
        parameters = {"stream": stream.name, "since": since, "most": MOST_MINUTES}
        rows = connection.execute(_MINUTES, parameters).all()
    newest_settled = max((row[0] for row in rows if row[2] + row[3] + row[4]), default=None)
    found = []
    for minute, accepted, stored, duplicate, dead, overdrawn in rows:
        in_flight = accepted - stored - duplicate - dead
        overtaken = newest_settled is not None and newest_settled > minute + LONG_GRACE
        why = _why(in_flight, now - minute, queue, overdrawn=overdrawn, overtaken=overtaken)
        found.append(Minute(minute, accepted, stored, duplicate, dead, in_flight, why))
    return found


def _why(in_flight: int, age: timedelta, queue: QueueState, *, overdrawn: bool, overtaken: bool) -> str | None:
    """Say why a minute does not balance, if it does not."""
    if overdrawn:
        return "more records were settled than accepted"
    if in_flight and age > timedelta(minutes=1) + GRACE and queue.is_empty:
        return "records are neither settled nor in the queue"
    if in_flight and overtaken and queue.is_empty is None and queue.has_none_ready:
        return "records are not settled, nothing waits in the queue, and later ones were settled long ago"
    return None
