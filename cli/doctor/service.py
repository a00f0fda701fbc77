"""Checks of the API, over HTTP: ready, and does the ledger balance."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from cli.doctor.checks import Check, attempted, fail, ok, warn
from cli.http import PatientHttp
from shared.errors import WeirError

#: One try each: a doctor does not wait until it gets better.
_PATIENCE = timedelta(0)
_SPAN = timedelta(days=1)
#: A record still on its way after this long is late.
LATE = timedelta(minutes=2)

_START = "start the API, or say where it is with --url; its log says why it is down"


class Service:
    """Looks at one API. `close` it."""

    def __init__(self, url: str) -> None:
        self._http = PatientHttp(url, _PATIENCE)
        self._ledger: dict[str, Any] | None = None

    def close(self) -> None:
        self._http.close()

    def checks(self) -> list[Check]:
        return [
            attempted("api", self._ready, _START),
            attempted("ledger", self._balance, _START),
            attempted("lag", self._lag, _START),
        ]

    def clock(self) -> datetime:
        """The API's time, to the second. Raises WeirError."""
        answer = self._http.send("GET", "/healthz")
        try:
            return parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError) as error:
            raise WeirError("the API does not say what time it has") from error

    def _ready(self) -> Check:
        try:
            answer = httpx.get(f"{self._http.url}/readyz", timeout=10, trust_env=False)
            found = answer.json()
            parts = [f"{part}: {found[part]}" for part in ("broker", "database") if found[part] != "ok"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise WeirError(f"no answer from {self._http.url}; is it up?") from error
        if parts or not found["ready"]:
            return fail("api", "not ready; " + "; ".join(parts), "see docs/operations.md for this message")
        return ok("api", f"ready at {self._http.url}")

    def _asked(self) -> dict[str, Any]:
        if self._ledger is None:
            since = (datetime.now(UTC) - _SPAN).isoformat()
            self._ledger = self._http.request("GET", "/ops/ledger", params={"since": since})
        return self._ledger

    def _balance(self) -> Check:
        streams = self._asked()["streams"]
        wrong = [(one["stream"], minute) for one in streams for minute in one["minutes"] if not minute["balanced"]]
        if wrong:
            stream, first = wrong[-1]
            found = f"{len(wrong)} minutes do not balance; {stream} at {first['minute']}: {first['why']}"
            counts = ", ".join(f"{first[name]} {name}" for name in ("accepted", "stored", "duplicate", "dead"))
            return fail(
                "ledger", f"{found} ({counts})", "records may be lost: keep the broker's and the consumer's logs"
            )
        records = sum(minute["accepted"] for one in streams for minute in one["minutes"])
        return ok("ledger", f"balances: accepted = stored + duplicate + dead + in flight; {records} records in a day")

    def _lag(self) -> Check:
        open_minutes = [
            (datetime.fromisoformat(minute["minute"]), minute["in_flight"])
            for one in self._asked()["streams"]
            for minute in one["minutes"]
            if minute["in_flight"]
        ]
        if not open_minutes:
            return ok("lag", "nothing is in flight")
        age = datetime.now(UTC) - min(open_minutes)[0]
        records = sum(count for _, count in open_minutes)
        found = f"{records} records in flight, the oldest for {age.total_seconds():.0f} s"
        if age > timedelta(minutes=1) + LATE:
            return warn("lag", found, "the consumer is away, waits, or is slower than the senders: see its log")
        return ok("lag", found)
