"""Load on the front door: devices that send readings, and people who ask for statistics of them.

Knows Weir by its HTTP API alone. Every user of the test makes its own user and device.
"""

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Container
from datetime import UTC, datetime
from typing import Any

from locust import FastHttpUser, between, events, task

BATCH = 100
POLL_SECONDS = 0.1
JOB_SECONDS = 30
RECEIPT_SECONDS = 30

ANY_SUCCESS = range(200, 300)
OK, ACCEPTED = (200,), (202,)


def reading() -> dict[str, Any]:
    return {axis: random.uniform(-4, 4) for axis in "xyz"} | {"timestamp": datetime.now(UTC).isoformat()}


class WeirUser(FastHttpUser):
    """A device of its own, and what both kinds of users do with it."""

    abstract = True
    connection_timeout = 10
    network_timeout = 30

    def on_start(self) -> None:
        name = f"load-{uuid.uuid4()}"
        user = self.expect(ANY_SUCCESS, "POST", "/users/", json={"name": name, "email": f"{name}@example.org"})
        device = self.expect(ANY_SUCCESS, "POST", "/devices/", json={"user_id": user.json()["id"], "name": name})
        self.device = f"/devices/{device.json()['id']}"

    def expect(
        self, statuses: Container[int], method: str, path: str, name: str | None = None, **arguments: Any
    ) -> Any:
        """Send a request; any other status is a failure in the report."""
        with self.client.request(method, path, name=name or path, catch_response=True, **arguments) as response:
            # 0 is no answer at all, and locust says itself why.
            if response.status_code and response.status_code not in statuses:
                response.failure(f"unexpected status {response.status_code}")
        return response

    def wait_until(self, name: str, seconds: float, fetch: Callable[[], Any], good: str, bad: str) -> None:
        """Ask until the answer is there. The whole wait is one line of the report, and a bad end is a failure."""
        began = time.monotonic()
        problem = None
        while True:
            answer = fetch()
            if answer.status_code not in OK:
                problem = RuntimeError("could not ask")
                break
            status = answer.json()["status"]
            if status == good:
                break
            if status == bad:
                problem = RuntimeError(f"ended as {bad}")
                break
            if time.monotonic() - began > seconds:
                problem = TimeoutError(f"not done after {seconds} s")
                break
            time.sleep(POLL_SECONDS)
        took = (time.monotonic() - began) * 1000
        events.request.fire(
            request_type="WAIT", name=name, response_time=took, response_length=0, exception=problem, context={}
        )


class Device(WeirUser):
    """Sends readings as fast as they are accepted, and looks now and then whether they arrived."""

    weight = 9

    def on_start(self) -> None:
        super().on_start()
        self.receipts: deque[str] = deque(maxlen=1)

    @task(40)
    def one_reading(self) -> None:
        self.send("/stats/", reading())

    @task(4)
    def batch(self) -> None:
        self.send("/stats/batch", [reading() for _ in range(BATCH)])

    @task(1)
    def receipt(self) -> None:
        if self.receipts:
            path = self.receipts.pop()
            self.wait_until(
                "accepted → stored",
                RECEIPT_SECONDS,
                lambda: self.expect(OK, "GET", path, "/receipts/{id}"),
                good="stored",
                bad="dead-lettered",
            )

    def send(self, path: str, body: Any) -> None:
        key = {"Idempotency-Key": str(uuid.uuid4())}
        answer = self.expect(ACCEPTED, "POST", self.device + path, "/devices/{id}" + path, json=body, headers=key)
        if answer.status_code in ACCEPTED:
            self.receipts.append(answer.headers["Location"])


class Analyst(WeirUser):
    """Asks for the statistics of a device, and waits for the answer."""

    weight = 1
    wait_time = between(0.5, 1.5)

    def on_start(self) -> None:
        super().on_start()
        self.expect(
            ACCEPTED, "POST", f"{self.device}/stats/batch", "/devices/{id}/stats/batch", json=[reading()] * BATCH
        )

    @task
    def statistics(self) -> None:
        path = f"{self.device}/analytics/"
        job = self.expect(ANY_SUCCESS, "GET", path, "/devices/{id}/analytics/")
        if job.status_code not in ANY_SUCCESS:
            return
        task_path = f"/tasks/{job.json()['task_id']}"
        self.wait_until(
            "submitted → SUCCESS",
            JOB_SECONDS,
            lambda: self.expect(OK, "GET", task_path, "/tasks/{id}"),
            good="SUCCESS",
            bad="FAILURE",
        )
