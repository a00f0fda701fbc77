"""The first thing a newcomer sees: a device sends readings through the front door and asks for its statistics."""

import math
from datetime import timedelta
from typing import Any

import httpx

from cli.questions_client import QuestionsClient
from shared.errors import WeirError

EMAIL = "demo@example.com"
DEVICE = "demo"
READINGS = 5
#: A job whose first message was lost with a dying broker is sent again within a minute.
PATIENCE = timedelta(seconds=90)


def run(url: str) -> dict[str, Any]:
    """Send a few readings, wait until they are stored, and return the answer to a statistics job.

    Raises:
        WeirError: something on the way did not work.
    """
    with QuestionsClient(url, patience=PATIENCE) as client:
        user = client.user(EMAIL)
        device = client.device(user["id"], DEVICE)
        for number in range(READINGS):
            client.settled_receipt(_send(url, device["id"], number))
        return client.statistics(f"/devices/{device['id']}/analytics/")


def _send(url: str, device_id: str, number: int) -> str:
    """One reading, as a device would send it. Returns the path of its receipt."""
    angle = 2 * math.pi * number / READINGS
    reading = {"x": math.cos(angle), "y": math.sin(angle), "z": float(number)}
    response = httpx.post(f"{url}/devices/{device_id}/stats/", json=reading, trust_env=False)
    if response.status_code != httpx.codes.ACCEPTED:
        raise WeirError(f"a demo reading was answered with {response.status_code}: {response.text}")
    return str(response.headers["Location"])
