"""One run of one fault: load, harm, healing, drain, verdict."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from random import Random

from httpx import HTTPError
from sqlalchemy.exc import SQLAlchemyError

from cli.faults import letters
from cli.faults.fault import Fault
from cli.faults.numbered import Numbered, all_numbered
from cli.faults.oracle import ACCEPTED, Sent
from cli.faults.outcome import Outcome
from cli.faults.senders import Senders
from cli.faults.verdict import is_what_was_sent, judge
from cli.faults.weir import Weir
from shared.errors import Unavailable, WeirError

#: A fresh record of each stream after healing.
ACCEPTED_WITHIN, STORED_WITHIN = 10.0, 15.0
DRAIN_SECONDS = 90
#: Once the consumer has drained and ended, nothing may be left; a few times it may have been too early.
DRAINS = 5
#: Before the harm, from load's beginning, and after the healing.
LEAD_SECONDS, TAIL_SECONDS = (0.3, 2.0), 1.0

Make = Callable[[Fault, Mapping[str, Numbered]], Weir]


def run(make: Make, fault: Fault, number: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Run a fault once, with a Weir that `make` makes. What goes wrong becomes a complaint.

    The choices follow from the seed, the fault's name and the number of the run.
    """
    moment, numbered = fault.moment(number), all_numbered()
    outcome = Outcome(fault.name, number, moment.name)
    own_seed = f"{seed}/{fault.name}/{number}"
    chance = Random(own_seed)
    with complaining(outcome), closing(make(fault, numbered)) as weir:
        say("starting")
        with complaining(outcome):
            weir.start()
            senders = Senders(weir.port, weir.devices, numbered, weir.log, moment, own_seed)
            try:
                with complaining(outcome):
                    _break_and_heal(weir, fault, chance, outcome, say)
            finally:
                say("draining")
                with complaining(outcome):
                    senders.end()
                outcome.observe(weir.log.read(), cuts_senders=fault.cuts_senders)
            _drain(weir, outcome)
        say("judging")
        with complaining(outcome):
            _judge(weir, outcome)
        outcome.complaints += weir.complaints + weir.services.failures
        outcome.peak_mb = {name: round(value) for name, value in weir.services.peak_mb.items()}
        outcome.note_restarts(weir.services.restarts, ends_processes=fault.ends_processes)
    return outcome


@contextmanager
def complaining(outcome: Outcome) -> Iterator[None]:
    """Turn what goes wrong into a complaint: what comes after is still looked at."""
    try:
        yield
    except (WeirError, OSError, SQLAlchemyError, HTTPError, subprocess.SubprocessError) as error:
        first_line = next(iter(str(error).splitlines()), "")
        outcome.complaints.append(f"{type(error).__name__}: {first_line}")


def _break_and_heal(weir: Weir, fault: Fault, chance: Random, outcome: Outcome, say: Callable[[str], None]) -> None:
    weir.wait_until_accepted(1)
    time.sleep(chance.uniform(*LEAD_SECONDS))
    say("breaking")
    outcome.began = time.monotonic()
    try:
        fault.inject(weir, chance)
    finally:
        outcome.healed = time.monotonic()
    say("healed")
    _fresh_records(weir, outcome)
    time.sleep(TAIL_SECONDS)


def _fresh_records(weir: Weir, outcome: Outcome) -> None:
    """Send one record of each stream after the other until one is accepted, and wait until those are stored."""
    healed = time.monotonic()
    fresh = [_accepted(weir, numbered, healed) for numbered in weir.numbered.values()]
    outcome.accepted_seconds = time.monotonic() - healed
    if outcome.accepted_seconds > ACCEPTED_WITHIN:
        outcome.complaints.append(f"fresh records were accepted only after {outcome.accepted_seconds:.1f} s")
    for sent in fresh:
        complaint = f"a fresh record of {sent.stream} was not stored within {2 * STORED_WITHIN:.0f} s"
        weir.wait_for(lambda sent=sent: weir.is_stored(sent), complaint, 2 * STORED_WITHIN)  # type: ignore[misc]
    outcome.stored_seconds = time.monotonic() - healed
    if outcome.stored_seconds > STORED_WITHIN:
        outcome.complaints.append(f"fresh records were stored only after {outcome.stored_seconds:.1f} s")


def _accepted(weir: Weir, numbered: Numbered, healed: float) -> Sent:
    """Send one record after the other until one is accepted. Raises Unavailable."""
    with closing(weir.sender()) as sender:
        while True:
            sent, request = sender.submit(numbered, 1)
            if sender.attempt(sent, request) == ACCEPTED:
                return sent
            if time.monotonic() > healed + 2 * ACCEPTED_WITHIN:
                what = f"no fresh record of {sent.stream}"
                raise Unavailable(f"{what} was accepted within {2 * ACCEPTED_WITHIN:.0f} s of healing")
            time.sleep(0.1)


def _drain(weir: Weir, outcome: Outcome) -> None:
    """End the API, let the consumer write what is queued, end it, and see that nothing is left in its hands."""
    _end_kindly(weir, "api", outcome)
    for _ in range(DRAINS):
        weir.wait_for(lambda: weir.queued() == 0, "the queues do not drain", DRAIN_SECONDS)
        weir.wait_for(weir.is_archived, "the queues of dead letters do not drain", DRAIN_SECONDS)
        outcome.redeliveries = weir.redeliveries()
        for name in weir.services.names("consumer"):
            _end_kindly(weir, name, outcome)
        if weir.queued() == weir.unarchived() == 0:
            return
        weir.services.start("consumer")
    outcome.complaints.append(f"{weir.queued()} messages are left in the queues")


def _end_kindly(weir: Weir, name: str, outcome: Outcome) -> None:
    code = weir.services.end(name)
    if code:
        outcome.complaints.append(f"{name} ended with {code} when told to stop")


def _judge(weir: Weir, outcome: Outcome) -> None:
    everything = weir.log.read()
    for name, numbered in weir.numbered.items():
        sent = [one for one in everything if one.stream == name]
        wrong = [one.id for one in sent if one.digest and not is_what_was_sent(numbered, one)]
        if wrong:
            outcome.complaints.append(f"{name}: {len(wrong)} submissions in the oracle log are not what was sent")
        verdict = judge(
            numbered,
            sent,
            weir.rows(numbered),
            letters.dead(weir.database, numbered, weir.devices),
            malformed=weir.malformed[name],
            mended=weir.mended,
            gone_until=weir.gone_until.get(name),
        )
        outcome.verdict = verdict if outcome.verdict is None else outcome.verdict + verdict
        outcome.complaints += [f"{name}: {complaint}" for complaint in verdict.complaints()]
