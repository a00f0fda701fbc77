"""What the consumer does next: a state machine without I/O, for one channel at a time.

In go deliveries, outcomes of writes, a lost channel, a drain; out come writes, what to settle, and how long to wait.
Time is whatever clock the caller uses, in seconds. `tests/simulation` runs it over thousands of seeds.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import groupby
from typing import Protocol

from consumer.breaker import Breaker
from shared.errors import InvalidRecord, WeirError

#: Waits after a fault that is no record's own; the wait doubles with each one in a row, up to the second.
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0


class Delivery(Protocol):
    """What the core needs to know of a message in hand."""

    @property
    def tag(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def is_suspect(self) -> bool:
        """Whether the consumer has died with it before, so that it is handled with nothing beside it."""

    @property
    def is_dead(self) -> bool:
        """Whether nothing of it can be written, as far as one can see by now."""

    @property
    def is_released(self) -> bool:
        """Whether it was parked before and a person had it tried again: it is not parked once more."""


class ToBeParked(WeirError):
    """A message could be seen to be dead only once it was looked into, and the breaker is open."""


class State(Enum):
    READY = auto()
    WRITING = auto()
    WRITTEN = auto()


@dataclass(eq=False, slots=True)
class Work:
    """Deliveries that are written together. One whose record is at fault is sifted: its dead records are found.

    What is dead while the breaker is open is parked instead: given to the broker again, in another queue.
    """

    deliveries: Sequence[Delivery]
    state: State = State.READY
    sift: bool = False
    park: bool = False

    @property
    def is_alone(self) -> bool:
        return self.deliveries[0].is_suspect and not self.park


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be done now."""

    #: Ack everything up to the last of these, which are written.
    settled: list[Work] = field(default_factory=list)
    #: Write these; each ends in `written` or `failed`.
    writes: list[Work] = field(default_factory=list)
    #: When to ask again at the latest, if nothing happens before.
    at: float | None = None
    #: A drain has come to its end.
    is_drained: bool = False


class Core:
    """Decides. Deliveries of one channel are settled in the order in which they came, never before they are written.

    A batch is started when it is full, or due and nothing else is being written; so several writes run side by side
    only while there is a backlog.
    """

    def __init__(
        self, *, batch_limit: int, batch_wait: float, writers: int, breaker: Breaker, chance: random.Random
    ) -> None:
        self._batch_limit = batch_limit
        self._batch_wait = batch_wait
        self._writers = writers
        self.breaker = breaker
        self._chance = chance
        self._arrived: deque[tuple[float, Delivery]] = deque()
        self._records = 0
        self._work: deque[Work] = deque()
        self._wait = FIRST_WAIT
        self._resume_at = 0.0
        self._draining = False

    def deliver(self, delivery: Delivery, now: float) -> None:
        self._arrived.append((now, delivery))
        self._records += max(delivery.records, 1)

    def lose(self) -> None:
        """The channel is lost: everything in hand will be delivered again. Outcomes still to come mean nothing."""
        self._arrived.clear()
        self._work.clear()
        self._records = 0

    def drain(self) -> None:
        """No more will be delivered: what is in hand is due at once."""
        self._draining = True

    def written(self, work: Work, now: float, *, dead: int = 0) -> None:
        """All of it is committed, or was before; of `dead` of its deliveries, released ones apart, no record could be."""
        work.state = State.WRITTEN
        self._wait = FIRST_WAIT
        good = sum(not one.is_released for one in work.deliveries) - dead
        self.breaker.count(good=good, dead=dead, now=now)

    def parked(self, work: Work, now: float) -> None:
        """The broker has all of it in the parking queue."""
        work.state = State.WRITTEN
        self._wait = FIRST_WAIT
        self.breaker.count(good=0, dead=len(work.deliveries), now=now)

    def failed(self, work: Work, fault: WeirError, now: float) -> None:
        """It was not written, or nobody knows: a record's fault is narrowed down, everything else is waited for."""
        if work not in self._work:
            return
        work.state = State.READY
        if isinstance(fault, InvalidRecord):
            self._narrow_down(work)
        if isinstance(fault, ToBeParked):
            work.park = work.sift  # of several, only those that are dead will be
        if isinstance(fault, InvalidRecord | ToBeParked):
            return
        self._resume_at = now + self._wait * self._chance.uniform(0.5, 1.0)
        self._wait = min(self._wait * 2, LONGEST_WAIT)

    def next(self, now: float) -> Next:
        """Say what to do now. Whoever does it asks again when something has happened, or at the time given."""
        self.breaker.look_at_the_clock(now)
        settled = []
        while self._work and self._work[0].state is State.WRITTEN:
            settled.append(self._work.popleft())
        writes = []
        if now >= self._resume_at:
            while (work := self._startable(now)) is not None:
                work.state = State.WRITING
                writes.append(work)
        return Next(settled, writes, self._ask_again_at(now), self._draining and not self._work and not self._arrived)

    def _startable(self, now: float) -> Work | None:
        """Find work that may begin beside what is being written."""
        writing = [work for work in self._work if work.state is State.WRITING]
        if len(writing) >= self._writers or any(work.is_alone for work in writing):
            return None
        ready = self._ready()
        while ready is None and self._gather(now, is_idle=not writing):
            ready = self._ready()
        return None if ready is None or (ready.is_alone and writing) else ready

    def _ready(self) -> Work | None:
        """Find the first work that waits to be written, or to be parked while the breaker is open."""
        if self.breaker.is_open:
            self._separate_dead()
        found = next((work for work in self._work if work.state is State.READY), None)
        if found is not None and not self.breaker.is_open:
            found.park = False
        return found

    def _separate_dead(self) -> None:
        """Make work of its own of what is dead, to be parked, so that nothing good goes with it."""
        for work in [one for one in self._work if one.state is State.READY and not one.sift]:
            runs = [
                Work(list(run), park=is_dead)
                for is_dead, run in groupby(work.deliveries, key=lambda one: one.is_dead and not one.is_released)
            ]
            if len(runs) > 1 or runs[0].park:
                self._replace(work, runs)

    def _gather(self, now: float, *, is_idle: bool) -> bool:
        """Make the next batch, if it is full or due."""
        if not self._arrived or not (self._is_full() or (is_idle and self._is_due(now))):
            return False
        self._work.append(Work(self._take()))
        return True

    def _is_full(self) -> bool:
        return self._records >= self._batch_limit

    def _is_due(self, now: float) -> bool:
        return self._draining or self._arrived[0][1].is_suspect or now >= self._arrived[0][0] + self._batch_wait

    def _take(self) -> list[Delivery]:
        taken: list[Delivery] = []
        records = 0
        while self._arrived and records < self._batch_limit:
            delivery = self._arrived[0][1]
            if taken and (delivery.is_suspect or taken[0].is_suspect):
                break
            self._arrived.popleft()
            taken.append(delivery)
            records += max(delivery.records, 1)
        self._records -= records
        return taken

    def _narrow_down(self, work: Work) -> None:
        """Put halves in the place of what holds a bad record, down to the delivery, which is sifted."""
        count = len(work.deliveries)
        if count == 1:
            work.sift = True
            return
        half = count // 2
        self._replace(work, [Work(work.deliveries[:half]), Work(work.deliveries[half:])])

    def _replace(self, work: Work, parts: Sequence[Work]) -> None:
        place = self._work.index(work)
        self._work.remove(work)
        for part in reversed(parts):
            self._work.insert(place, part)

    def _ask_again_at(self, now: float) -> float | None:
        if now < self._resume_at:
            return self._resume_at
        if self._arrived and not any(work.state is State.WRITING for work in self._work):
            return self._arrived[0][0] + self._batch_wait
        return None
