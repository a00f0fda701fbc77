"""One run of one fault: load, harm, healing, drain, verdict."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from random import Random

from httpx import HTTPError
from sqlalchemy.exc import SQLAlchemyError

from cli.faults import letters
from cli.faults.fault import Fault
from cli.faults.oracle import ACCEPTED
from cli.faults.outcome import Outcome
from cli.faults.readings import Numbered
from cli.faults.senders import Sender, Senders
from cli.faults.verdict import Verdict, is_what_was_sent, judge
from cli.faults.weir import Weir
from shared.errors import Unavailable, WeirError
from shared.streams import READINGS

#: A fresh reading after healing.
ACCEPTED_WITHIN, STORED_WITHIN = 10.0, 15.0
DRAIN_SECONDS = 90
#: Once the consumer has drained and ended, nothing may be left; a few times it may have been too early.
DRAINS = 5
#: Before the harm, from load's beginning, and after the healing.
LEAD_SECONDS, TAIL_SECONDS = (0.3, 2.0), 1.0

Make = Callable[[Fault, Numbered], Weir]


def run(make: Make, fault: Fault, number: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Run a fault once, with a Weir that `make` makes. What goes wrong becomes a complaint.

    The choices follow from the seed, the fault's name and the number of the run.
    """
    moment, numbered = fault.moment(number), Numbered()
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
        outcome.complaints += weir.complaints
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
    _fresh_reading(weir, outcome)
    time.sleep(TAIL_SECONDS)


def _fresh_reading(weir: Weir, outcome: Outcome) -> None:
    """Send one reading after the other until one is accepted, and wait until that one is stored."""
    sender = Sender(weir.port, weir.devices[0], weir.numbered, weir.log)
    healed = time.monotonic()
    while True:
        sent, body = sender.submit(1)
        if sender.attempt(sent, body) == ACCEPTED:
            break
        if time.monotonic() > healed + 2 * ACCEPTED_WITHIN:
            raise Unavailable(f"no fresh reading was accepted within {2 * ACCEPTED_WITHIN:.0f} s of healing")
        time.sleep(0.1)
    sender.close()
    outcome.accepted_seconds = time.monotonic() - healed
    if outcome.accepted_seconds > ACCEPTED_WITHIN:
        outcome.complaints.append(f"a fresh reading was accepted only after {outcome.accepted_seconds:.1f} s")
    complaint = f"a fresh reading was not stored within {2 * STORED_WITHIN:.0f} s"
    weir.wait_for(lambda: weir.is_stored(sent.first), complaint, 2 * STORED_WITHIN)
    outcome.stored_seconds = time.monotonic() - healed
    if outcome.stored_seconds > STORED_WITHIN:
        outcome.complaints.append(f"a fresh reading was stored only after {outcome.stored_seconds:.1f} s")


def _drain(weir: Weir, outcome: Outcome) -> None:
    """End the API, let the consumer write what is queued, end it, and see that nothing is left in its hands."""
    _end_kindly(weir, "api", outcome)
    for _ in range(DRAINS):
        weir.wait_for(lambda: weir.queued() == 0, f"{READINGS.queue} does not drain", DRAIN_SECONDS)
        weir.wait_for(weir.is_archived, f"{READINGS.dead_queue} does not drain", DRAIN_SECONDS)
        outcome.redeliveries = weir.redeliveries()
        for name in weir.services.names("consumer"):
            _end_kindly(weir, name, outcome)
        if weir.queued() == weir.unarchived() == 0:
            return
        weir.services.start("consumer")
    outcome.complaints.append(f"{weir.queued()} messages are left in {READINGS.queue}")


def _end_kindly(weir: Weir, name: str, outcome: Outcome) -> None:
    code = weir.services.end(name)
    if code:
        outcome.complaints.append(f"{name} ended with {code} when told to stop")


def _judge(weir: Weir, outcome: Outcome) -> None:
    rows, dead = weir.rows(), letters.dead(weir.database, weir.devices)
    sent = weir.log.read()
    wrong = [one.id for one in sent if one.digest and not is_what_was_sent(weir.numbered, one)]
    if wrong:
        outcome.complaints.append(f"{len(wrong)} submissions in the oracle log are not what was sent")
    verdict: Verdict = judge(
        weir.numbered, sent, rows, dead, malformed=weir.malformed, mended=weir.mended, gone_until=weir.gone_until
    )
    outcome.verdict = verdict
    outcome.complaints += verdict.complaints()
