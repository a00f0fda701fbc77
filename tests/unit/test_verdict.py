"""The harness of faults can fail: each kind of harm is found in what is left."""

import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from typer import BadParameter

from cli.faults.code_version import FOLDERS, code_version
from cli.faults.command import faults, without_kept
from cli.faults.engine import complaining
from cli.faults.letters import rows_of
from cli.faults.numbered import KINDS, Events, Readings, bits, digest
from cli.faults.oracle import ACCEPTED, Answer, Sent, oracle_log
from cli.faults.outcome import Outcome, cut_before
from cli.faults.record import Record, keep, read
from cli.faults.report import BEGIN, END, page, summary, with_summary
from cli.faults.services import CHECKOUT, Services
from cli.faults.table import FAULTS
from cli.faults.verdict import is_what_was_sent, judge
from cli.programs import wait_until
from shared.errors import Misconfigured
from shared.streams import events, readings
from shared.streams.letters import records_of
from shared.streams.stream import COPY, JSON, TimeBounds

KEY, DEVICE = 7, UUID(int=7)
NUMBERED = Readings(datetime(2026, 1, 31, tzinfo=UTC))
EVENTS = Events(datetime(2026, 1, 31, tzinfo=UTC))
EACH_KIND = pytest.mark.parametrize("kind", [NUMBERED, EVENTS], ids=list(KINDS))


def sent(first, count=1, *statuses, bad=()):
    answers = [Answer(status, at=float(n), seconds=0.1) for n, status in enumerate(statuses)]
    numbers = list(range(first, first + count))
    return Sent(first, "readings", numbers, KEY, keyed=False, digest="", at=0.0, bad=list(bad), answers=answers)


def row(number):
    return NUMBERED.row(number, KEY)


def letter(number, *, bad=False):
    return NUMBERED.row_of(NUMBERED.copy_tuple(number, KEY, bad=bad))


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
    verdict = judge(NUMBERED, [sent(0, 1, ACCEPTED, bad=[0])], [NUMBERED.row(0, KEY, bad=True)], [letter(0, bad=True)])
    assert verdict.duplicates == {0}
    assert verdict.spared == {0}


def test_dead_twice_is_a_duplicate():
    verdict = judge(NUMBERED, [sent(0, 1, ACCEPTED, bad=[0])], [], [letter(0, bad=True)] * 2)
    assert verdict.duplicates == {0}
    assert verdict.complaints() == ["1 duplicates"]


@pytest.mark.parametrize("number", range(9))
def test_dead_letter_that_differs_by_one_bit_is_corrupt(number):
    key, time, axes = letter(number, bad=True)
    differing = axes[:-1] + bytes([axes[-1] ^ 1])
    verdict = judge(NUMBERED, [sent(number, 1, ACCEPTED, bad=[number])], [], [(key, time, differing)])
    assert verdict.corrupt == {number}
    assert not verdict.dead


def test_bad_reading_that_is_dead_or_stored_without_its_fault_is_corrupt():
    verdict = judge(NUMBERED, [sent(0, 2, ACCEPTED, bad=[0, 1])], [row(0)], [letter(1)])
    assert verdict.corrupt == {0, 1}


def test_mended_reading_is_stored_as_it_was_mended():
    verdict = judge(NUMBERED, [sent(0, 1, ACCEPTED, bad=[0])], [row(0)], [], mended={0})
    assert verdict.complaints() == []


@EACH_KIND
@pytest.mark.parametrize("number", range(9))
def test_letter_in_json_is_compared_as_one_in_rows(kind, number):
    rows = kind.copy_tuple(number, KEY, bad=True)
    (record,) = records_of(kind.stream, rows, COPY, {KEY: DEVICE}, whole=False)
    assert rows_of(kind, record, JSON, {DEVICE: KEY}) == rows_of(kind, rows, COPY, {})
    assert rows_of(kind, rows, COPY, {}) == [kind.row(number, KEY, bad=True)] != [kind.row(number, KEY)]


@EACH_KIND
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"timestamp": "2026-01-31T00:00:00Z", "x": 1}', b'{"event_id": "1", "occurred_at": ""}'],
)
def test_letter_without_a_record_holds_none(kind, body):
    assert rows_of(kind, body, JSON, {DEVICE: KEY}) == rows_of(kind, body, COPY, {}) == [None]


@EACH_KIND
@pytest.mark.parametrize("number", [0, 1, 97, 149_999])
def test_numbers_are_found_again(kind, number):
    assert kind.candidates(kind.row(number, KEY)) == (number, number)


@pytest.mark.parametrize("number", [0, 1, 149_999])
def test_reading_that_is_sent_is_the_one_that_is_compared(number):
    encoded = readings.encode_one(NUMBERED.body([number], single=True), KEY, 0, TimeBounds(0, 1 << 62))
    assert encoded == NUMBERED.copy_tuple(number, KEY)
    assert NUMBERED.row_of(encoded) == row(number)


@pytest.mark.parametrize("number", [0, 1, 149_999])
def test_event_that_is_sent_is_the_one_that_is_compared(number):
    submission = events.decode(EVENTS.body([number], single=True), JSON, 0, TimeBounds(0, 1 << 62))
    rows, records, rejected = submission.encode({})
    assert (records, rejected) == (1, [])
    assert EVENTS.row_of(rows) == EVENTS.row_of(EVENTS.copy_tuple(number, KEY)) == EVENTS.row(number, KEY)


@pytest.mark.parametrize("place", range(5))
def test_event_that_differs_in_any_field_is_corrupt_or_unexpected(place):
    stored = list(EVENTS.row(4, KEY))
    stored[place] = EVENTS.row(5, KEY)[place]
    verdict = judge(EVENTS, [sent(4, 1, ACCEPTED)], [tuple(stored)], [])
    assert verdict.corrupt == {4}


def test_event_that_was_sent_twice_is_stored_once():
    again = [sent(0, 2, ACCEPTED), sent(1, 2, ACCEPTED)]
    rows = [EVENTS.row(number, KEY) for number in range(3)]
    verdict = judge(EVENTS, again, rows, [])
    assert (verdict.complaints(), verdict.accepted, verdict.stored) == ([], 3, 3)
    assert judge(EVENTS, again, [*rows, rows[1]], []).duplicates == {1}


def test_event_that_was_accepted_again_after_its_queue_was_deleted_is_not_gone():
    again = [sent(0, 1, ACCEPTED), sent(0, 1, 503, ACCEPTED)]
    verdict = judge(EVENTS, again, [], [], gone_until=0.5)
    assert (verdict.gone, verdict.lost) == (0, {0})


def test_verdicts_of_two_streams_add_up():
    lost = judge(NUMBERED, [sent(0, 2, ACCEPTED)], [row(0)], [None], malformed=1)
    twice = judge(EVENTS, [sent(2, 1, ACCEPTED)], [EVENTS.row(2, KEY)] * 2, [])
    both = lost + twice
    assert (both.lost, both.duplicates, both.accepted, both.stored, both.malformed) == ({1}, {2}, 3, 2, 1)


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
    verdict = judge(NUMBERED, [sent(0, 2, ACCEPTED, bad=[1])], [], [letter(0), letter(1, bad=True)])
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
    outcome.observe([sent(0, 1, 500, 503, ACCEPTED)], cuts_senders=True)
    assert outcome.complaints == ["1 answers were 500"]
    assert outcome.answers == {"500": 1, "503": 1, "202": 1}


@pytest.mark.parametrize("cuts_senders", [False, True])
def test_request_that_hangs_is_a_complaint_whatever_the_fault(cuts_senders):
    outcome = Outcome("any", 0, "idle")
    late = replace(sent(0, 1, ACCEPTED).answers[0], seconds=16.0)
    outcome.observe([sent(0, 1, "TimeoutError"), sent(1)], cuts_senders=cuts_senders)
    assert outcome.complaints == ["1 requests hung: no answer within 15 s"]
    outcome = Outcome("any", 0, "idle")
    outcome.observe([replace(sent(0), answers=[late])], cuts_senders=cuts_senders)
    assert outcome.complaints == ["1 requests hung: no answer within 15 s"]


@pytest.mark.parametrize("name", ["ConnectionRefusedError", "RemoteDisconnected", "BrokenPipeError"])
def test_connection_that_is_cut_is_a_complaint_unless_the_fault_cuts_it(name):
    strict, cutting = Outcome("any", 0, "idle"), Outcome("any", 0, "idle")
    strict.observe([sent(0, 1, name, ACCEPTED)], cuts_senders=False)
    cutting.observe([sent(0, 1, name, ACCEPTED)], cuts_senders=True)
    assert strict.complaints == [f"1 requests ended with {name}"]
    assert cutting.complaints == []


@pytest.mark.parametrize(
    ("at", "seconds", "counts"),
    [(4.9, 1.0, False), (5.0, 1.0, True), (8.0, 9.0, True), (6.0, 0.5, True), (9.0, 3.0, True), (9.5, 2.0, False)],
    ids=["before", "into it", "before to after", "within", "out of it", "after"],
)
def test_answer_of_which_any_part_lay_within_the_fault_is_timed(at, seconds, counts):
    outcome = Outcome("any", 0, "idle", began=5.0, healed=7.0)
    outcome.observe([replace(sent(0), answers=[Answer(ACCEPTED, at, seconds)])], cuts_senders=False)
    assert outcome.slowest_ms == (1000 * seconds if counts else None)


def test_process_that_ends_by_itself_is_a_complaint_unless_the_fault_ends_it():
    strict, ending = Outcome("any", 0, "idle"), Outcome("any", 0, "idle")
    strict.note_restarts({"consumer": 2}, ends_processes=False)
    ending.note_restarts({"consumer": 2}, ends_processes=True)
    assert strict.complaints == ["consumer ended by itself, 2 times"]
    assert ending.complaints == []
    assert ending.restarts == {"consumer": 2}


def test_requests_on_their_way_when_the_api_was_told_to_stop_are_told_from_later_ones():
    on_its_way, later, before = (Answer("RemoteDisconnected", at, 1.0) for at in (5.5, 6.5, 4.9))
    answered = Answer(ACCEPTED, 5.5, 1.0)
    one = replace(sent(0), answers=[on_its_way, later, before, answered])
    assert cut_before([one], 5.0) == {"RemoteDisconnected": 1}


def test_child_that_does_not_run_is_a_complaint_when_it_is_ended(tmp_path):
    services = Services(tmp_path, {})
    outcome = Outcome("any", 0, "idle")
    with closing(services), complaining(outcome):
        services.end("consumer")
    assert outcome.complaints == ["Unavailable: consumer does not run, so it cannot be ended"]


def test_child_is_started_again_though_a_fault_fails_half_way(tmp_path):
    program = tmp_path / "waits.py"
    program.write_text("import signal\nsignal.pause()\n")
    services = Services(tmp_path, {"consumer": {}})
    services.replace("consumer", program)
    with closing(services):
        services.start("consumer")
        first = services.pid("consumer")
        with pytest.raises(TimeoutError), services.away("consumer"):
            raise TimeoutError
        assert services.pid("consumer") != first
        assert services.restarts == {}


def test_child_that_cannot_be_started_again_is_told_and_the_others_are_watched_on(tmp_path):
    program = tmp_path / "ends.py"
    program.write_text("")
    folder = tmp_path / "logs"
    folder.mkdir()
    services = Services(folder, {"api": {}, "consumer": {}})
    services.replace("consumer", program)
    with closing(services):
        services.start("consumer")
        shutil.rmtree(folder)
        wait_until(lambda: services.failures, 10, "nobody noticed")
        assert services.failures == ["consumer could not be started again: No such file or directory"]
        folder.mkdir()
        services.replace("api", program)
        services.start("api")
        wait_until(lambda: services.restarts["api"] > 0, 10, "nobody watches")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_every_fault_comes_at_each_of_its_moments(fault):
    assert fault.runs >= 3
    assert {fault.moment(run) for run in range(fault.runs)} == set(fault.moments)


def test_nothing_chosen_is_no_success():
    slow = next(name for name, one in FAULTS.items() if not one.quick)
    with pytest.raises(BadParameter, match=f"--quick has none of {slow}"):
        faults(only=slow, quick=True)


def test_report_names_each_fault_its_command_and_what_failed():
    verdict = judge(NUMBERED, [sent(0, 3, ACCEPTED)], [row(0)], [])
    failed = Outcome("broker-killed", 4, "burst", verdict, verdict.complaints(), 1.0, 2.5)
    machine = {"cores": 2, "cpu": "a processor", "memory_gb": 8}
    text = page([Record.of([failed], 7, "c0de", machine, {"PostgreSQL": "18.6"})])
    assert "| 1 | 3 | 2 | 0 | 0 | 0 | 0 | 2.5 | 2.5 |" in text
    assert "| `make faults only=broker-killed seed=7`, 1 failed |" in text
    assert "* broker-killed, run 5 (burst): 2 lost" in text
    assert "PostgreSQL 18.6" in text
    assert "All lines are of one code, c0de." in text


def test_resumed_run_leaves_out_what_passed_on_this_code(tmp_path, monkeypatch):
    kept, code = tmp_path / "faults.json", code_version(CHECKOUT)
    machine = {"cores": 2, "cpu": "a processor", "memory_gb": 8}
    verdict = judge(NUMBERED, [sent(0, 3, ACCEPTED)], [row(0), row(1), row(2)], [])
    keep(kept, Record.of([Outcome("api-killed", 0, "idle", verdict)], 1, code, machine, {}), len)
    keep(kept, Record.of([Outcome("broker-killed", 0, "idle", verdict)], 1, "c0de", machine, {}), len)
    failed = Outcome("disk-alarm", 0, "idle", verdict, complaints=["1 lost"])
    keep(kept, Record.of([failed], 1, code, machine, {}), len)
    names = ["api-killed", "broker-killed", "disk-alarm"]
    left = without_kept([FAULTS[name] for name in names], read(kept), code)
    assert [fault.name for fault in left] == ["broker-killed", "disk-alarm"]


def test_code_version_changes_with_the_code_and_not_with_the_results(tmp_path):
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "requirements.txt").write_text("one==1\n")
    (tmp_path / "api" / "app.py").write_text("one = 1\n")
    before = code_version(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "faults.md").write_text("results")
    assert code_version(tmp_path) == before
    (tmp_path / "api" / "app.py").write_text("one = 2\n")
    assert code_version(tmp_path) != before


def test_record_takes_the_place_of_the_one_before(tmp_path):
    verdict = judge(NUMBERED, [sent(0, 3, ACCEPTED)], [row(0), row(1), row(2)], [])
    machine = {"cores": 2, "cpu": "a processor", "memory_gb": 8}
    first, other, second = (
        Record.of([Outcome(name, 0, "idle", verdict)], seed, "c0de", machine, {})
        for seed, name in enumerate(["broker-killed", "api-killed", "broker-killed"])
    )
    path, published = tmp_path / "faults.json", []
    for one in (first, other, second):
        keep(path, one, published.append)
    assert published == [[first], [other, first], [other, second]]
    assert [one.name for one in tmp_path.iterdir()] == ["faults.json"]


def test_records_that_are_kept_at_the_same_time_are_published_one_after_the_other(tmp_path):
    machine = {"cores": 2, "cpu": "a processor", "memory_gb": 8}
    names = list(FAULTS)[:8]
    page_path = tmp_path / "page"

    def publish(records):
        page_path.write_text(f"{page_path.read_text() if page_path.exists() else ''}{len(records)} ")

    with ThreadPoolExecutor(len(names)) as threads:
        for name in names:
            threads.submit(
                keep, tmp_path / "faults.json", Record.of([Outcome(name, 0, "idle")], 1, "c0de", machine, {}), publish
            )
    assert page_path.read_text() == "1 2 3 4 5 6 7 8 "


def test_readme_gets_its_summary_between_its_marks():
    readme = f"before\n{BEGIN}of old\n{END}\nafter\n"
    assert with_summary(readme, []) == f"before\n{BEGIN}\n{summary([])}{END}\nafter\n"


@pytest.mark.parametrize(
    "readme", ["no marks", f"{BEGIN}no end", f"no begin{END}", f"{END}{BEGIN}", f"{BEGIN}{END}" * 2]
)
def test_readme_without_its_marks_is_an_error(readme):
    with pytest.raises(Misconfigured, match="nothing was written"):
        with_summary(readme, [])


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_every_fault_says_what_it_does(fault):
    assert fault.what.endswith(".")
    assert fault.numbers


def test_log_is_read_back_as_it_was_written(tmp_path):
    with oracle_log(tmp_path / "oracle.jsonl") as log:
        numbers = log.take(2)
        body = NUMBERED.body(numbers, single=False)
        one = log.sent("readings", numbers, KEY, digest(body), keyed=True)
        log.answered(one, 503, one.at)
        log.answered(one, ACCEPTED, one.at)
        (found,) = log.read()
    assert [answer.status for answer in found.answers] == [503, ACCEPTED]
    assert found.numbers == [0, 1]
    assert is_what_was_sent(NUMBERED, found)
    found.numbers[1] += 1
    assert not is_what_was_sent(NUMBERED, found)


def test_error_without_a_word_is_a_complaint_and_ends_no_run():
    outcome = Outcome("one", 0, "steady")
    with complaining(outcome):
        raise TimeoutError
    assert outcome.complaints == ["TimeoutError: "]
