"""A broker, a database and a clock that misbehave on purpose, and a consumer process that is only its core.

Everything that happens follows from the seed. What a write does stands in `_outcome`; it is all or nothing, as a
transaction is, and may end without anybody knowing which.
"""

import random
from collections import Counter, deque
from dataclasses import dataclass, field

from consumer.breaker import Breaker
from consumer.core import Core, ToBeParked, Work
from consumer.deliveries import ATTEMPTS, SUSPECT_AFTER
from shared.errors import BrokerUnavailable, DatabaseUnavailable, InvalidRecord, Misconfigured, PublishRefused

#: Faults of a moment, and what each of them says.
TRANSIENT = (DatabaseUnavailable, BrokerUnavailable, PublishRefused, Misconfigured)


@dataclass(frozen=True)
class Message:
    """Some records, some of them bad; or one that kills whoever handles it."""

    id: int
    records: int
    bad: frozenset[int]
    kills: bool
    #: Whether it can be seen at once that nothing of it can be written.
    is_unreadable: bool = False


@dataclass
class Delivery:
    tag: int
    message: Message
    is_suspect: bool
    #: Seen at once, as where a message cannot be read, or only once it was looked into.
    is_dead: bool = False
    is_released: bool = False

    @property
    def records(self):
        return self.message.records


@dataclass
class Write:
    """A write on its way, to a consumer that may be gone when it ends."""

    ends: float
    work: Work
    core: Core


@dataclass
class World:
    seed: int
    is_faulty: bool = True
    now: float = 0.0
    #: What the database holds.
    receipts: set[int] = field(default_factory=set)
    rows: Counter = field(default_factory=Counter)
    suspects: Counter = field(default_factory=Counter)
    #: What the broker holds; letters are (message, record), record None for a whole message.
    letters: set = field(default_factory=set)
    unacked: dict[int, Message] = field(default_factory=dict)
    deaths: Counter = field(default_factory=Counter)
    #: What stands in the parking queue, some of it twice; and what a person has had tried again.
    parked: list[Message] = field(default_factory=list)
    released: set[int] = field(default_factory=set)
    #: How many were parked, and how often the breaker opened.
    parkings: int = 0
    openings: int = 0

    def __post_init__(self):
        self.chance = random.Random(self.seed)
        #: After a bad deploy nearly every message fails.
        self.is_bad_deploy = self.chance.random() < 0.2
        self.messages = [self._message(number) for number in range(self.chance.randint(1, 25))]
        self.queue = deque(self.messages)
        self.prefetch = self.chance.choice((1, 3, 10, 100))
        self.limit = self.chance.choice((1, 5, 20))
        self.writers = self.chance.randint(1, 3)
        self.trouble = self.chance.choice((0.0, 0.05, 0.3))
        self.in_a_row = self.chance.choice((1, 2, 5, 1000))
        self.crashes = 0
        self.start()

    def _message(self, number):
        records = self.chance.randint(1, 4)
        share = self.chance.choice((0, 0, 0.5, 1))
        if self.is_bad_deploy and self.chance.random() < 0.9:
            share = 1
        bad = frozenset(index for index in range(records) if self.chance.random() < share)
        is_unreadable = len(bad) == records and self.chance.random() < 0.5
        return Message(number, records, bad, self.chance.random() < 0.03, is_unreadable)

    def start(self):
        """A new process, on a new channel."""
        breaker = Breaker(self.in_a_row)
        if self.parked:
            breaker.open(self.now, "parked before")
        self.core = Core(
            batch_limit=self.limit, batch_wait=0.04, writers=self.writers, breaker=breaker, chance=self.chance
        )
        self.writes = []
        self.not_acquitted = set()
        self.is_draining = False
        self._requeue()

    def _requeue(self):
        """The channel is gone: what was unacked is handed out again, and counts it."""
        for message in reversed(self.unacked.values()):
            self.deaths[message.id] += 1
            self.queue.appendleft(message)
        if self.chance.random() < 0.2:
            self.chance.shuffle(self.queue)  # no broker promises the order of what it hands out again
        self.unacked, self.tag = {}, 0

    def happen(self):
        """Let one thing happen."""
        actions = [self.pass_time, self.pass_time, self.deliver, self.deliver, self.deliver]
        if self.is_faulty and self.chance.random() < self.trouble:
            actions = [self.lose_channel, self.kill, self.drain]
        if self.parked and self.chance.random() < 0.05:
            actions = [self.release]
        self.chance.choice(actions)()
        self.obey()

    def deliver(self):
        if self.queue and len(self.unacked) < self.prefetch and not self.is_draining:
            message = self.queue.popleft()
            self.tag += 1
            self.unacked[self.tag] = message
            is_suspect = self.deaths[message.id] >= SUSPECT_AFTER
            is_dead, is_released = message.is_unreadable and not is_suspect, message.id in self.released
            self.core.deliver(Delivery(self.tag, message, is_suspect, is_dead, is_released), self.now)

    def release(self):
        """A person has what is parked tried again."""
        message = self.parked.pop(0)
        self.released.add(message.id)
        self.queue.append(message)

    def pass_time(self):
        """Go on to the next moment at which something is due."""
        moments = [write.ends for write in self.writes]
        if self.asked_at is not None:
            moments.append(self.asked_at)
        if not moments:
            return  # nothing would wake the consumer
        self.now = max(self.now, min(moments))
        for write in [one for one in self.writes if one.ends <= self.now]:
            if write in self.writes:  # another may have killed the process
                self.writes.remove(write)
                self.end(write)

    def lose_channel(self):
        self._requeue()
        self.core.lose()
        self.is_draining = False

    def kill(self):
        """Kill -9.

        Who kills the consumer again and again just while it handles the same message cannot be told from the message:
        that is left out here.
        """
        handled = [write.work.deliveries[0].message for write in self.writes if write.work.is_alone]
        if all(message.kills or self.suspects[message.id] < ATTEMPTS for message in handled):
            self.die()

    def die(self):
        """Each write on its way is committed or not, and nobody is told."""
        self.crashes += 1
        for write in self.writes:
            if self.chance.random() < 0.5 and not any(one.message.kills for one in write.work.deliveries):
                self._commit(write.work)
        self.start()

    def drain(self):
        self.is_draining = True
        self.core.drain()

    asked_at = 0.0

    def obey(self):
        """Do what the core says."""
        step = self.core.next(self.now)
        self.asked_at = step.at
        for work in step.settled:
            for delivery in work.deliveries:
                assert self.unacked.pop(delivery.tag) is delivery.message, "acked what was not in hand"
                known = delivery.message.id in self.receipts or delivery.message in [*self.parked, *self.queue]
                known = known or delivery.message.id in self.released
                assert known, "acked before it was written or parked"
        if step.settled:
            last = step.settled[-1].deliveries[-1].tag
            assert all(tag > last for tag in self.unacked), "ack of a prefix takes others along"
        for work in step.writes:
            beside = [write.work for write in self.writes if write.work in self.core._work]
            assert len(beside) < self.writers
            assert not any(one.is_alone for one in beside), "something is written beside a suspect"
            assert not (work.is_alone and beside), "a suspect is written beside something"
            if not self._begin(work):
                return
            self.writes.append(Write(self.now + self.chance.random() * 0.05, work, self.core))
        if step.is_drained:
            assert not self.unacked
            if self._end_all():
                for number in self.not_acquitted:
                    del self.suspects[number]
                self.start()

    def _begin(self, work):
        """A suspect waits for what is left of a lost channel, as others wait for a suspect; whether we have survived."""
        if (work.is_alone or any(write.work.is_alone for write in self.writes)) and not self._end_all():
            return False
        message = work.deliveries[0].message
        if work.is_alone and message.id not in self.not_acquitted:
            self.suspects[message.id] += 1  # written down that it is tried
        return True

    def _end_all(self):
        """End every write on its way; whether the process has survived that."""
        core = self.core
        for write in list(self.writes):
            if self.core is core:
                self.writes.remove(write)
                self.end(write)
        return self.core is core

    def end(self, write):
        was_open = self.core.breaker.is_open
        fault = self._parked(write.work) if write.work.park else self._outcome(write.work)
        if fault == "death":
            self.die()
        elif write.core is self.core:
            if fault is not None:
                write.core.failed(write.work, fault, self.now)
            elif write.work.park:
                write.core.parked(write.work, self.now)
            else:
                dead = sum(self._is_dead(one) and not one.is_released for one in write.work.deliveries)
                write.core.written(write.work, self.now, dead=dead)
            self.openings += self.core.breaker.is_open and not was_open

    @staticmethod
    def _is_dead(delivery):
        return len(delivery.message.bad) == delivery.message.records

    def _parked(self, work):
        """Park all, some or none of it, and say what the consumer is told."""
        for delivery in work.deliveries:
            assert self._is_dead(delivery), "something good is parked"
            assert not delivery.is_released, "what a person released is parked again"
            if self.is_faulty and self.chance.random() < self.trouble:
                return self.chance.choice(TRANSIENT)("a fault of the moment")
            self.parked.append(delivery.message)
            self.parkings += 1
        if self.is_faulty and self.chance.random() < self.trouble:
            return BrokerUnavailable("parked, but nobody knows")
        return None

    def _outcome(self, work):
        """Commit or not, and say what the consumer is told: nothing, a fault, or that it is dead."""
        messages = [delivery.message for delivery in work.deliveries]
        is_dead = work.is_alone and self.suspects[messages[0].id] > ATTEMPTS
        if any(message.kills for message in messages) and not is_dead:
            return "death"
        if work.is_alone:
            if self.is_faulty and self.suspects[messages[0].id] < ATTEMPTS and self.chance.random() < 0.1:
                self.not_acquitted.add(messages[0].id)
            else:
                self.not_acquitted.discard(messages[0].id)
                del self.suspects[messages[0].id]
        if is_dead:
            self.letters.add((messages[0].id, None))
            self.receipts.add(messages[0].id)
            return None
        if self.is_faulty and self.chance.random() < self.trouble:
            return self.chance.choice(TRANSIENT)("a fault of the moment")
        if fault := self._fault_of_a_record(work):
            return fault
        self._commit(work)
        if self.is_faulty and self.chance.random() < self.trouble:
            return DatabaseUnavailable("committed, but nobody knows")
        return None

    def _fault_of_a_record(self, work):
        new = [one for one in work.deliveries if one.message.id not in self.receipts]
        for one in new if work.sift else ():
            one.is_dead = self._is_dead(one)
        if self.core.breaker.is_open and any(one.is_dead and not one.is_released for one in work.deliveries):
            return ToBeParked("nothing of it can be written")
        if any(one.message.bad for one in new) and not work.sift:
            return InvalidRecord("23514", "x", "a record does not fit")
        return None

    def _commit(self, work):
        for delivery in work.deliveries:
            message = delivery.message
            if message.id in self.receipts:
                continue
            if message.bad and not work.sift:
                return  # cannot be: the transaction would have failed
        for message in (delivery.message for delivery in work.deliveries):
            if message.id in self.receipts:
                continue
            self.receipts.add(message.id)
            self.letters |= {(message.id, index) for index in message.bad}
            self.rows.update((message.id, index) for index in set(range(message.records)) - message.bad)

    def check(self):
        """Nothing twice, nothing that should not be, whatever has happened so far."""
        assert not self.rows or max(self.rows.values()) == 1, "stored twice"
        by_id = {message.id: message for message in self.messages}
        for number, index in self.letters:
            message = by_id[number]
            assert message.kills if index is None else index in message.bad, "an innocent is dead-lettered"

    def check_all_is_settled(self):
        """Everything is stored or dead-lettered, and nothing is left in the queue."""
        assert not self.queue
        assert not self.unacked
        assert not self.parked
        for message in self.messages:
            for index in range(message.records):
                dead = (message.id, None) in self.letters or (message.id, index) in self.letters
                assert self.rows[message.id, index] + dead == 1, "lost"
