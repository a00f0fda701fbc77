"""`POST /devices/{id}/stats/stored` says how many readings equal to those of a request are stored, hot and cold."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from factories import reading
from sealed import Row, insert, key_of, seal_days

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIME = "2026-03-01T12:00:00Z"


@pytest.fixture
def device(running_weir):
    return running_weir.device(str(uuid4()))


def asked(weir, device, content):
    answer = weir.http.post(f"/devices/{device}/stats/stored", json=content)
    assert answer.status_code == 200, answer.text
    return answer.json()["stored"]


def test_equal_readings_are_counted_and_others_are_not(running_weir, device):
    key, other = key_of(running_weir, device), key_of(running_weir, running_weir.device(str(uuid4())))
    insert(running_weir, [Row(key, NOON, 1.0, 0.1, -0.0)] * 2 + [Row(other, NOON, 2.0, 2.0, 2.0)])
    content = [
        {"x": 1, "y": 0.1, "z": 0, "timestamp": TIME},
        {"x": 1, "y": 0.1, "z": 0, "timestamp": "2026-03-01T14:00:00+02:00"},
        {"x": 1, "y": 0.1, "z": 0, "timestamp": "2026-03-01T12:00:00.000001Z"},
        {"x": 1, "y": 0.10000000000000002, "z": 0, "timestamp": TIME},
        {"x": 2, "y": 2, "z": 2, "timestamp": TIME},
        {"x": 1, "y": 0.1, "z": 0},
        {"x": "1", "y": 0.1, "z": 0, "timestamp": TIME},
        {"x": 1, "y": 0.1, "z": 0, "timestamp": "1970-01-01T00:00:00Z"},
    ]
    assert asked(running_weir, device, content) == [2, 2, 0, 0, 0, 0, 0, 0]
    columns = {name: [one[name] for one in content[:5]] for name in content[0]}
    assert asked(running_weir, device, columns) == [2, 2, 0, 0, 0]


def test_sealed_and_hot_readings_count_together(running_weir, device):
    key = key_of(running_weir, device)
    insert(running_weir, [Row(key, NOON, 1.0, 2.0, 3.0)])
    seal_days(running_weir, [NOON.date()])
    insert(running_weir, [Row(key, NOON, 1.0, 2.0, 3.0), Row(key, NOON, 5.0, 2.0, 3.0)])
    content = [{"x": x, "y": 2, "z": 3, "timestamp": TIME} for x in (1, 5, 6)]
    assert asked(running_weir, device, content) == [2, 1, 0]


def test_nothing_is_stored_by_asking(running_weir, device):
    assert asked(running_weir, device, [reading(timestamp=TIME)]) == [0]
    assert asked(running_weir, device, []) == []
    assert running_weir.scalar("SELECT count(*) FROM readings WHERE device_key = %s", key_of(running_weir, device)) == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [({"json": {"x": 1}}, 422), ({"content": b"{"}, 400), ({"json": [reading()] * 10_001}, 413)],
)
def test_what_is_no_batch_is_refused(running_weir, device, content, status):
    assert running_weir.http.post(f"/devices/{device}/stats/stored", **content).status_code == status


@pytest.mark.parametrize(("device_id", "status"), [(str(uuid4()), 404), ("boiler", 422)])
def test_device_must_be_known(running_weir, device_id, status):
    answer = running_weir.http.post(f"/devices/{device_id}/stats/stored", json=[reading()])
    assert answer.status_code == status
