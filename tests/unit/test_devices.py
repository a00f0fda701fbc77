"""What is remembered of devices has bounds, and strangers cost nobody who is known their place."""

from datetime import timedelta
from uuid import uuid4

import pytest

from api.ingest.devices import STRANGERS, Devices

LIMIT = 100


@pytest.fixture
def devices():
    return Devices(None, None, timedelta(minutes=10), timedelta(seconds=5), LIMIT)


def test_storm_of_strangers_pushes_no_known_device_out_of_memory(devices):
    known = [uuid4() for _ in range(LIMIT)]
    for key, device_id in enumerate(known, 1):
        devices.remember(device_id, key)
    strangers = [uuid4() for _ in range(10 * LIMIT)]
    for device_id in strangers:
        devices.remember(device_id, 0)
    assert [devices.remembered(device_id) for device_id in known] == list(range(1, LIMIT + 1))
    assert [devices.remembered(str(device_id)) for device_id in known] == list(range(1, LIMIT + 1))
    assert sum(devices.remembered(device_id) == 0 for device_id in strangers) == LIMIT // STRANGERS


def test_only_so_many_known_devices_are_remembered_and_the_newest_stay(devices):
    ids = [uuid4() for _ in range(2 * LIMIT)]
    for device_id in ids:
        devices.remember(device_id, 7)
    assert [devices.remembered(device_id) for device_id in ids] == [None] * LIMIT + [7] * LIMIT


def test_stranger_who_is_made_is_known_at_once(devices):
    device_id = uuid4()
    devices.remember(device_id, 0)
    assert devices.remembered(device_id) == 0
    devices.remember(device_id, 3)
    assert devices.remembered(device_id) == 3


def test_what_is_remembered_expires():
    devices = Devices(None, None, timedelta(0), timedelta(0), LIMIT)
    device_id = uuid4()
    devices.remember(device_id, 3)
    assert devices.remembered(device_id) is None
