"""HTTP with patience: waits through 503 and lost connections, and turns problems (RFC 9457) into our errors."""

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event

from shared.errors import Conflict, Expired, InvalidRecord, NotFound, Unavailable, WeirError

Answer = dict[str, Any]
Result = TypeVar("Result")

#: How long for one that never answered at all: most likely it is not up, or somewhere else.
FIRST_PATIENCE = timedelta(seconds=5)
#: For the next piece of a long answer, which has to be read out of a large file perhaps.
PIECE_SECONDS = 90.0
AGAIN = {429, 502, 503, 504}
ERRORS: dict[int, type[WeirError]] = {400: Conflict, 404: NotFound, 409: Conflict, 410: Expired}


class ComeAgain(Unavailable):
    """Not now: another try may help, `after` seconds from now at the earliest."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class PatientHttp:
    """Speaks to one server; threads may share it. `patiently` is what tries again: the rest is one try each.

    Raises:
        ComeAgain: the server is away, or full; after `patiently`, for as long as was worth waiting.
        InvalidRecord, NotFound, Expired, Conflict, WeirError: what it said.
    """

    def __init__(self, url: str, patience: timedelta, transport: httpx.BaseTransport | None = None) -> None:
        #: When the first answer came, by the server's clock as far as that can be known.
        self.started: datetime | None = None
        self.url = url.rstrip("/")
        self._patience = patience
        self._cancelled = threading.Event()
        try:
            # A proxy named in the environment leads out of this machine, never back to it.
            here = httpx.URL(self.url).host in {"127.0.0.1", "localhost", "::1"}
            self._http = httpx.Client(base_url=self.url, timeout=30, transport=transport, trust_env=not here)
        except httpx.InvalidURL as error:
            raise WeirError("the URL of the API must look like http://host:port") from error

    def close(self) -> None:
        self.cancel()
        self._http.close()

    def cancel(self) -> None:
        """Try nothing again: what other threads have under way ends soon."""
        self._cancelled.set()

    def patiently(self, work: Callable[[], Result], patience: timedelta | None = None) -> Result:
        """Try until it works, or `patience` is over: its own, unless it is told."""
        return Retrying(
            retry=retry_if_exception_type(ComeAgain),
            stop=partial(self._give_up, patience or self._patience),
            wait=_pause,
            sleep=sleep_using_event(self._cancelled),
            reraise=True,
        )(work)

    def _give_up(self, patience: timedelta, state: RetryCallState) -> bool:
        patience = patience if self.started else min(patience, FIRST_PATIENCE)
        return self._cancelled.is_set() or (state.seconds_since_start or 0.0) >= patience.total_seconds()

    def request(self, method: str, path: str, **arguments: Any) -> Answer:
        answer: Answer = checked(self.send(method, path, **arguments))
        return answer

    def pages(self, path: str, query: Answer) -> Iterator[Answer]:
        response = self.send("GET", path, params=query)
        yield from checked(response)
        while following := response.links.get("next", {}).get("url"):
            response = self.send("GET", following)
            yield from checked(response)

    def send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._answer(lambda: self._http.request(method, path, **arguments))

    def open(self, path: str, **arguments: Any) -> httpx.Response:
        """Begin to read an answer of any length; whoever reads it has to close it."""
        request = self._http.build_request("GET", path, timeout=PIECE_SECONDS, **arguments)
        response = self._answer(lambda: self._http.send(request, stream=True))
        if not response.is_success:
            response.read()
            checked(response)
        return response

    def _answer(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        asked = datetime.now(UTC)
        try:
            response = ask()
        except httpx.TransportError as error:
            if isinstance(error, httpx.UnsupportedProtocol):
                raise WeirError("the URL of the API must look like http://host:port") from error
            raise ComeAgain(f"no answer from {self.url}; is it up?") from error
        self.started = self.started or _server_time(response, asked)
        if response.status_code in AGAIN:
            response.read()
            after = response.headers.get("Retry-After", "")
            raise ComeAgain(_sentence(response), float(after) if after.isdecimal() else 0.0)
        return response


def _pause(state: RetryCallState) -> float:
    """Longer each time, never before the server asked, and spread so that clients do not come back as one."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.after if isinstance(error, ComeAgain) else 0.0
    longest = min(0.05 * 2**state.attempt_number, 5.0)
    return asked + random.uniform(longest / 2, longest)


def _server_time(response: httpx.Response, asked: datetime) -> datetime:
    """The Date header has whole seconds: where the two clocks agree, ours is the finer one."""
    try:
        date = parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError):
        return asked
    return asked if abs(date - asked) < timedelta(seconds=2) else date


def checked(response: httpx.Response) -> Any:
    if response.is_success:
        return body_of(response)
    sentence = _sentence(response)
    if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        first = next(iter(body_of(response).get("errors") or [{}]))
        raise InvalidRecord(str(first.get("code", "refused")), first.get("field"), sentence)
    raise ERRORS.get(response.status_code, WeirError)(sentence)


def body_of(response: httpx.Response) -> Any:
    try:
        body = response.json()
    except ValueError as error:
        raise WeirError(f"{response.url} answers something else than Weir's API would") from error
    return body


def _sentence(response: httpx.Response) -> str:
    """What a problem (RFC 9457) says, or the status where a proxy answered in its place."""
    try:
        problem = response.json()
        said = problem.get("detail") or problem["title"]
        faults = [
            f"{fault['field'] or 'it'} {fault.get('message') or fault['code']}" for fault in problem.get("errors", [])
        ]
    except (ValueError, AttributeError, KeyError, TypeError):
        return f"{response.url.host} answered {response.status_code} {response.reason_phrase}"
    return f"{said}: {', '.join(faults)}" if faults else str(said)
