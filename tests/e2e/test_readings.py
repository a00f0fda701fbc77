"""A reading's way from the socket to the row, through the real processes."""

from factories import Weir, reading, tuples


def test_accepted_readings_are_stored_with_their_receipt(running_weir: Weir) -> None:
    device = running_weir.device()
    before = running_weir.stored()
    answer = running_weir.http.post(f"/devices/{device}/stats/", json=reading(1))
    assert (answer.status_code, answer.json()) == (202, {"status": "ok"})
    running_weir.wait_until_stored(before + 1)
    receipt = running_weir.http.get(answer.headers["location"]).json()
    assert (receipt["status"], receipt["records"]) == ("stored", 1)
    stored = running_weir.http.get(f"/stats/{device}/").json()
    assert tuples(stored) == tuples([reading(1)])
