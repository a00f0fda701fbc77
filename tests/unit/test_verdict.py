"""The harness of faults can fail: each kind of harm is found in what is left."""

import math
from datetime import UTC, datetime

import pytest

from cli.faults.engine import complaining
from cli.faults.oracle import ACCEPTED, Answer, Sent, oracle_log
from cli.faults.outcome import Outcome
from cli.faults.readings import Numbered, bits, digest, row_of
from cli.faults.record import Record, keep
from cli.faults.report import page
from cli.faults.table import FAULTS
from cli.faults.verdict import is_what_was_sent, judge
from shared.streams import readings
from shared.streams.stream import TimeBounds

KEY = 7
NUMBERED = Numbered(datetime(2026, 1, 31, tzinfo=UTC))


def sent(first, count=1, *statuses, bad=()):
    answers = [Answer(status, at=float(n), seconds=0.1) for n, status in enumerate(statuses)]
    return Sent(first, first, count, KEY, keyed=False, digest="", at=0.0, bad=list(bad), answers=answers)


def row(number):
    return NUMBERED.row(number, KEY)


def letter(number, **axes):
    return row_of(NUMBERED.copy_tuple(number, KEY, **axes))


def test_all_stored_once_is_no_complaint():
    verdict = judge(NUMBERED, [sent(0, 3, 503, ACCEPTED)], [row(0), row(1), row(2)], [])
    assert verdict.complaints() == []
    assert (verdict.accepted, verdict.stored, verdict.recovered) == (3, 3, 0)


def test_accepted_and_nowhere_is_lost():
    verdict = judge(NUMBERED, [sent(0, 3, ACCEPTED), sent(3, 1, 503)], [row(0), row(2)], [])
    assert verdict.lost == {1}
    assert verdict.complaints() == ["1 lost"]


def test_stored_twice_is_a_duplicate():
    assert judge(NUMBERED, [sent(0, 2, ACCEPTED)], [row(0), row(1), row(0)], []).duplicates == {0}


def test_stored_and_dead_is_a_duplicate():
    verdict = judge(NUMBERED, [sent(0, 1, ACCEPTED, bad=[0])], [row(0)], [letter(0)])
    assert verdict.duplicates == {0}
    assert verdict.spared == {0}


@pytest.mark.parametrize(
    "stored",
    [
        (KEY + 1, *row(0)[1:]),
        (KEY, row(0)[1] + 1_000_000, row(0)[2]),
        (*row(0)[:2], bits(0.0, math.nextafter(math.sin(0.5), 1), -1 / 3)),
        (*row(0)[:2], bits(-0.0, math.sin(0.5), -1 / 3)),
    ],
    ids=["of another device", "at another time", "by one bit", "by the sign of zero"],
)
def test_row_that_differs_is_corrupt(stored):
    verdict = judge(NUMBERED, [sent(0, 1, ACCEPTED)], [stored], [])
    assert verdict.corrupt == {0}
    assert not verdict.lost


def test_row_nobody_sent_is_unexpected():
    verdict = judge(NUMBERED, [sent(0, 1, ACCEPTED)], [row(0), row(5)], [letter(9)])
    assert verdict.unexpected == 2


def test_stored_without_an_answer_is_recovered_and_no_complaint():
    verdict = judge(NUMBERED, [sent(0, 2, 503), sent(2, 1, "TimeoutError")], [row(0), row(1), row(2)], [])
    assert verdict.recovered == 3
    assert verdict.complaints() == []


def test_good_reading_among_the_dead_letters_is_an_innocent():
    verdict = judge(NUMBERED, [sent(0, 2, ACCEPTED, bad=[1])], [], [letter(0), letter(1, x=math.nan)])
    assert verdict.innocents == {0}
    assert verdict.dead == 2


def test_malformed_messages_are_all_dead_lettered_or_missed():
    assert judge(NUMBERED, [], [], [None, None], malformed=2).complaints() == []
    assert judge(NUMBERED, [], [], [None], malformed=2).complaints() == ["1 of 2 malformed messages dead-lettered"]


def test_only_what_was_accepted_before_its_queue_was_deleted_is_gone():
    before, after = sent(0, 1, ACCEPTED), sent(1, 1, 503, ACCEPTED)
    verdict = judge(NUMBERED, [before, after], [], [], gone_until=0.5)
    assert (verdict.gone, verdict.lost) == (1, {1})


def test_answer_that_is_neither_yes_nor_come_again_is_a_complaint():
    outcome = Outcome("any", 0, "idle")
    outcome.observe([sent(0, 1, 500, "TimeoutError", 503, ACCEPTED)], 0, 10)
    assert outcome.complaints == ["an answer was 500"]
    assert outcome.answers == {"500": 1, "TimeoutError": 1, "503": 1, "202": 1}


def test_report_names_each_fault_its_command_and_what_failed():
    verdict = judge(NUMBERED, [sent(0, 3, ACCEPTED)], [row(0)], [])
    failed = Outcome("broker-killed", 4, "burst", verdict, verdict.complaints(), 1.0, 2.5)
    machine = {"cores": 2, "cpu": "a processor", "memory_gb": 8}
    text = page([Record.of([failed], 7, machine, {"PostgreSQL": "18.6"})])
    assert "| 1 | 3 | 2 | 0 | 0 | 0 | 0 | 2.5 | 2.5 |" in text
    assert "| `make faults only=broker-killed seed=7`, 1 failed |" in text
    assert "* broker-killed, run 5 (burst): 2 lost" in text
    assert "PostgreSQL 18.6" in text


def test_record_takes_the_place_of_the_one_before(tmp_path):
    verdict = judge(NUMBERED, [sent(0, 3, ACCEPTED)], [row(0), row(1), row(2)], [])
    machine = {"cores": 2, "cpu": "a processor", "memory_gb": 8}
    first, other, second = (
        Record.of([Outcome(name, 0, "idle", verdict)], seed, machine, {})
        for seed, name in enumerate(["broker-killed", "api-killed", "broker-killed"])
    )
    path = tmp_path / "faults.json"
    assert keep(path, first) == [first]
    assert keep(path, other) == [other, first]
    assert keep(path, second) == [other, second]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_every_fault_says_what_it_does(fault):
    assert fault.what.endswith(".")
    assert fault.numbers


def test_log_is_read_back_as_it_was_written(tmp_path):
    with oracle_log(tmp_path / "oracle.jsonl") as log:
        first = log.take(2)
        body = NUMBERED.body(first, 2, single=False)
        one = log.sent(first, 2, KEY, digest(body), keyed=True, bad=[])
        log.answered(one, 503, one.at)
        log.answered(one, ACCEPTED, one.at)
        (found,) = log.read()
    assert [answer.status for answer in found.answers] == [503, ACCEPTED]
    assert found.numbers == range(2)
    assert is_what_was_sent(NUMBERED, found)
    found.first += 1
    assert not is_what_was_sent(NUMBERED, found)


@pytest.mark.parametrize("number", [0, 1, 149_999])
def test_what_is_sent_is_what_is_compared(number):
    body = NUMBERED.body(number, 1, single=True)
    encoded = readings.encode_one(body, KEY, 0, TimeBounds(0, 1 << 62))
    assert encoded == NUMBERED.copy_tuple(number, KEY)
    assert row_of(encoded) == row(number)


def test_error_without_a_word_is_a_complaint_and_ends_no_run():
    outcome = Outcome("one", 0, "steady")
    with complaining(outcome):
        raise TimeoutError
    assert outcome.complaints == ["TimeoutError: "]
