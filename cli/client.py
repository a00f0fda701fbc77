"""A client of Weir's HTTP API for commands: it waits through what passes, and says the rest in a sentence."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx

from cli.http import Answer, ComeAgain, PatientHttp, body_of, checked
from cli.stack import Stack
from shared.config import load
from shared.emails import email_key
from shared.errors import Conflict, NotFound, Unavailable

#: How long one call may wait for an API that is away, full or still at work.
PATIENCE = timedelta(minutes=5)


class ApiClient:
    """What clients of one API have in common: where it is, and patience."""

    def __init__(
        self, url: str | None = None, *, patience: timedelta = PATIENCE, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = PatientHttp(url or Stack(load()).api_url, patience, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()


@dataclass(frozen=True, slots=True)
class Submission:
    """What the API said about one batch. `receipt` is a path, or None when nothing was kept."""

    accepted: int
    rejected: list[Answer]
    receipt: str | None


class Client(ApiClient):
    """Speaks to one API; threads may share it.

    Every method tries again, until `patience` is over, while the API is away or says 503.

    Raises:
        Unavailable: it did not come back in time, or `cancel` was called.
        InvalidRecord, NotFound, Expired, Conflict, WeirError: what the API said.
    """

    @property
    def started(self) -> datetime:
        """When the first answer came, by the server's clock as far as that can be known. Asks when there was none yet."""
        if self._http.started is None:
            self._http.patiently(lambda: self._http.request("GET", "/healthz"))
        return self._http.started or datetime.now(UTC)

    def cancel(self) -> None:
        """Try nothing again: what other threads have under way ends soon."""
        self._http.cancel()

    def user(self, email: str) -> Answer:
        """Find a user, or make one."""
        name = email.partition("@")[0]
        return self._http.patiently(
            lambda: self._find_user(email) or self._http.request("POST", "/users/", json={"name": name, "email": email})
        )

    def find_user(self, email: str) -> Answer:
        user = self._http.patiently(lambda: self._find_user(email))
        if user is None:
            raise NotFound(f"there is no user {email}")
        return user

    def devices(self, wanted: Answer) -> Iterator[Answer]:
        """Give every device that fits, page by page: by `user_id`, by `name`, by both or all."""
        yield from self._http.pages("/devices/", wanted)

    def device(self, user_id: int | str, name: str) -> Answer:
        """Find the user's device of this name, or make one."""
        wanted = {"user_id": user_id, "name": name, "reuse": True}
        return self._http.patiently(lambda: self._http.request("POST", "/devices/", json=wanted))

    def owned_device(self, user_id: int | str, name: str) -> Answer | None:
        """Find the user's device of this name; None when there is none."""
        found = self._http.patiently(lambda: self._devices({"user_id": user_id, "name": name}))
        return found[0] if found else None

    def device_of(self, device_id: str) -> Answer | None:
        """Find a device by its id; None when there is none, or it is no id at all."""
        if not _is_uuid(device_id):
            return None
        try:
            return self._http.patiently(lambda: self._http.request("GET", f"/devices/{device_id}"))
        except NotFound:
            return None

    def find_device(self, name_or_id: str, user_id: int | str | None = None) -> Answer:
        """Find a device by id or by name.

        Raises:
            Conflict: several have the name.
        """
        if _is_uuid(name_or_id):
            return self._http.patiently(lambda: self._http.request("GET", f"/devices/{name_or_id}"))
        wanted: Answer = {"name": name_or_id} | ({} if user_id is None else {"user_id": user_id})
        found = self._http.patiently(lambda: self._devices(wanted))
        if not found:
            raise NotFound(f"there is no device {name_or_id}")
        if len(found) > 1:
            ids = ", ".join(str(device["id"]) for device in found)
            raise Conflict(f"several devices are named {name_or_id}, say which with --user or by its id: {ids}")
        return found[0]

    def submit(self, device_id: str, columns: bytes, key: str) -> Submission:
        """Give a batch of readings in columns. However often it is sent under one key, it is stored once."""
        return self._submit(f"/devices/{device_id}/stats/batch", columns, key)

    def stored(self, device_id: str, columns: bytes) -> list[int]:
        """Say for each reading of a batch in columns how many equal ones are stored."""
        headers = {"Content-Type": "application/json"}
        answer = self._http.patiently(
            lambda: self._http.request("POST", f"/devices/{device_id}/stats/stored", content=columns, headers=headers)
        )
        found: list[int] = answer["stored"]
        return found

    def settled(self, stream: str, moment: datetime, patience: timedelta) -> int:
        """Wait until everything that was accepted until a moment is settled; return how many records are not yet."""
        waiting = 0

        def look() -> int:
            nonlocal waiting
            streams = self._http.request("GET", "/ops/ledger", params={"since": moment.isoformat()})["streams"]
            minutes = [one for found in streams if found["stream"] == stream for one in found["minutes"]]
            # A minute that does not balance has nothing on its way: its records are gone, or counted wrongly.
            open_minutes = [
                one for one in minutes if one["balanced"] and datetime.fromisoformat(one["minute"]) <= moment
            ]
            waiting = sum(max(0, one["in_flight"]) for one in open_minutes)
            if waiting > 0:
                raise ComeAgain("what was accepted before is not stored yet")
            return 0

        try:
            return self._http.patiently(look, patience)
        except ComeAgain:
            if waiting <= 0:
                raise
            return waiting

    def submit_events(self, events: bytes, key: str) -> Submission:
        """Give a batch of events. However often each of them is sent, it is stored once."""
        return self._submit("/events", events, key)

    def _submit(self, path: str, body: bytes, key: str) -> Submission:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}

        def send() -> Submission:
            response = self._http.send("POST", path, content=body, headers=headers)
            if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                faults = body_of(response).get("errors") or [{}]
                if "index" in faults[0]:
                    return Submission(0, faults, None)
            answer = checked(response)
            return Submission(answer["accepted"], answer["rejected"], response.headers["Location"])

        return self._http.patiently(send)

    def receipt(self, receipt_id: str, query: Answer) -> Answer:
        """Fetch what is known of a submission, whose place in its receipt is in the query of the Location.

        Raises:
            Expired: its receipt is forgotten.
        """
        return self._http.patiently(lambda: self._http.request("GET", f"/receipts/{receipt_id}", params=query))

    def ledger(self, since: datetime) -> Answer:
        """Fetch what was accepted since then and what became of it."""
        return self._http.patiently(
            lambda: self._http.request("GET", "/ops/ledger", params={"since": since.isoformat()})
        )

    def settled_receipt(self, path: str) -> Answer:
        """Wait until a submission is stored or dead-lettered."""

        def fetch() -> Answer:
            receipt = self._http.request("GET", path)
            if receipt["status"] in {"pending", "unknown"}:
                raise ComeAgain("what was accepted is kept, but not stored yet; `weir import` again will tell")
            return receipt

        return self._http.patiently(fetch)

    def download(self, path: str, query: Answer, media_type: str) -> Generator[bytes, None, None]:
        """Read a file of any size, piece by piece. It is whole when this ends by itself.

        Raises:
            Unavailable: it broke off.
        """
        headers = {"Accept": media_type}
        response = self._http.patiently(lambda: self._http.open(path, params=query, headers=headers))
        try:
            yield from response.iter_bytes()
        except httpx.TransportError as error:
            raise Unavailable("the download broke off before its end; the API's log says why") from error
        finally:
            response.close()

    def _find_user(self, email: str) -> Answer | None:
        users = self._http.pages("/users/", {"email": email})
        return next((user for user in users if email_key(user["email"]) == email_key(email)), None)

    def _devices(self, wanted: Answer) -> list[Answer]:
        return [device for device in self._http.pages("/devices/", wanted) if device["name"] == wanted["name"]]


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
