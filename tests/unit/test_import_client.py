"""The client waits through what passes and says plainly what does not."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from cli.questions_client import QuestionsClient
from shared.errors import Conflict, InvalidRecord, NotFound, Unavailable, WeirError

ACCEPTED = {"status": "ok", "accepted": 1, "rejected": []}


def client(*answers, patience=timedelta(seconds=30)):
    """A client whose requests meet these answers in turn; the last one stays."""
    waiting = list(answers)
    asked = []

    def answer(request):
        asked.append(request)
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(found, Exception):
            raise found
        return found

    return QuestionsClient("http://weir", patience=patience, transport=httpx.MockTransport(answer)), asked


def problem(status, **content):
    return httpx.Response(status, json={"type": "about:blank", "title": "Something", "status": status, **content})


def accepted():
    return httpx.Response(202, json=ACCEPTED, headers={"Location": "/receipts/1"})


def test_refused_batch_is_sent_again_under_the_same_key():
    weir, asked = client(
        httpx.Response(503, headers={"Retry-After": "0"}),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("gone"),
        accepted(),
    )
    assert weir.submit("d", b"{}", "key").receipt == "/receipts/1"
    assert [request.headers["Idempotency-Key"] for request in asked] == ["key"] * 4


def test_api_that_stays_away_is_given_up_in_a_sentence():
    weir, _ = client(httpx.ConnectError("refused"), patience=timedelta(seconds=0.2))
    with pytest.raises(Unavailable, match="no answer from http://weir"):
        weir.user("a@b.org")


def test_cancelled_client_waits_no_longer():
    weir, asked = client(httpx.Response(503, headers={"Retry-After": "3600"}))
    weir.cancel()
    with pytest.raises(Unavailable):
        weir.submit("d", b"{}", "key")
    assert len(asked) == 1


def test_batch_without_a_valid_reading_is_an_answer_and_no_error():
    faults = [{"index": 0, "field": "x", "code": "not_a_number"}]
    weir, _ = client(problem(422, errors=faults))
    submission = weir.submit("d", b"{}", "key")
    assert (submission.accepted, submission.rejected, submission.receipt) == (0, faults, None)


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (400, Conflict), (413, WeirError), (500, WeirError)])
def test_problem_becomes_its_error_with_the_sentence_it_brings(status, error):
    weir, _ = client(problem(status, detail="no device has this id"))
    with pytest.raises(error, match="no device has this id"):
        weir.submit("d", b"{}", "key")


def test_invalid_input_names_its_field():
    weir, _ = client(problem(422, errors=[{"field": "start", "code": "not_a_timestamp", "message": "must be a date"}]))
    with pytest.raises(InvalidRecord, match="start must be a date") as caught:
        weir.statistics("/devices/d/analytics/", start="soon")
    assert (caught.value.code, caught.value.field) == ("not_a_timestamp", "start")


def test_answer_of_something_else_is_no_traceback():
    weir, _ = client(httpx.Response(200, text="<html>"))
    with pytest.raises(WeirError, match="something else than Weir"):
        weir.user("a@b.org")


def test_user_is_found_on_a_later_page():
    first = httpx.Response(
        200, json=[{"id": 1, "email": "x@b.org"}], headers={"Link": '</users/?cursor=2>; rel="next"'}
    )
    weir, asked = client(first, httpx.Response(200, json=[{"id": 2, "email": "A@b.org"}]))
    assert weir.find_user("a@b.org")["id"] == 2
    assert asked[1].url == "http://weir/users/?cursor=2"


def test_name_of_several_devices_is_not_guessed():
    weir, _ = client(httpx.Response(200, json=[{"id": "1", "name": "a"}, {"id": "2", "name": "a"}]))
    with pytest.raises(Conflict, match="1, 2"):
        weir.find_device("a")


def test_receipt_is_asked_for_until_it_is_settled():
    pending, stored = ({"status": status, "records": 1} for status in ("pending", "stored"))
    weir, asked = client(*(httpx.Response(200, json=answer) for answer in (pending, pending, stored)))
    assert weir.settled_receipt("/receipts/1") == stored
    assert len(asked) == 3


@pytest.mark.parametrize("hours", [0, 5])
def test_start_is_taken_from_the_servers_clock_where_ours_is_wrong(hours):
    now = datetime.now(UTC)
    date = (now + timedelta(hours=hours)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    weir, _ = client(httpx.Response(200, json={"status": "stored"}, headers={"Date": date}))
    weir.settled_receipt("/receipts/1")
    assert abs(weir.started - now - timedelta(hours=hours)) < timedelta(seconds=2)


def ledger(*minutes):
    found = [
        {"minute": f"2026-01-01T00:{minute:02}:00Z", "in_flight": in_flight, "balanced": balanced}
        for minute, in_flight, balanced in minutes
    ]
    other = {"stream": "events", "minutes": [{"minute": "2026-01-01T00:00:00Z", "in_flight": 99, "balanced": True}]}
    return httpx.Response(200, json={"streams": [other, {"stream": "readings", "minutes": found}]})


MOMENT = datetime(2026, 1, 1, 0, 5, 30, tzinfo=UTC)


def test_what_was_accepted_before_is_waited_for():
    weir, asked = client(ledger((4, 7, True)), ledger((5, 3, True)), ledger((6, 3, True)))
    assert weir.settled("readings", MOMENT, timedelta(seconds=30)) == 0
    assert len(asked) == 3


def test_what_does_not_come_in_time_is_counted():
    weir, _ = client(ledger((4, 7, True), (5, 3, True), (6, 100, True)))
    assert weir.settled("readings", MOMENT, timedelta(seconds=0.2)) == 10


def test_minute_that_will_never_balance_is_not_waited_for():
    weir, asked = client(ledger((1, 1000, False), (2, -5, False)))
    assert weir.settled("readings", MOMENT, timedelta(seconds=30)) == 0
    assert len(asked) == 1
