"""Imports: chunks of a file to the API, a few at a time, and then the receipts of what it accepted."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from cli.client import Client
from cli.importing.events_file import EventsFile
from cli.importing.lines import Reject
from cli.importing.readings_file import ReadingsFile

#: Requests under way at once: they keep the API busy while lines are read, and leave it room for others.
IN_FLIGHT = 4

Item = TypeVar("Item")
Result = TypeVar("Result")
Chunk = TypeVar("Chunk")


class Judged(NamedTuple):
    """What became of a chunk: how many records were accepted, under which receipt, and the lines that were not.

    `already` of those that count as accepted were stored before, and not sent.
    """

    accepted: int
    rejects: list[Reject]
    receipt: str | None = None
    already: int = 0


@dataclass(slots=True)
class Outcome:
    """What became of a file, in records. Everything accepted ends as one of the last three."""

    accepted: int = 0
    rejected: int = 0
    stored: int = 0
    already_stored: int = 0
    dead_lettered: int = 0
    #: Lines that lack a value, by --missing.
    missing: int = 0

    @property
    def left_out(self) -> int:
        """Accepted, but an earlier run had spent their key when fewer of the same lines were acceptable."""
        return max(0, self.accepted - self.stored - self.already_stored - self.dead_lettered)

    def take(self, judged: Judged) -> None:
        self.accepted += judged.accepted
        self.rejected += len(judged.rejects)
        self.already_stored += judged.already

    def settle(self, receipt: dict[str, Any], started: datetime) -> None:
        self.dead_lettered += len(receipt.get("dead") or ())
        self.already_stored += receipt.get("duplicates") or 0
        stored_at = receipt.get("stored_at")
        if stored_at and datetime.fromisoformat(stored_at) < started:
            self.already_stored += receipt["records"]
        elif stored_at:
            self.stored += receipt["records"]


class Source(Protocol[Chunk]):
    """A file that is being imported: its lines as chunks, and the rules and the place of these in the API."""

    #: What a line is, in the plural.
    noun: str

    @property
    def file(self) -> ReadingsFile | EventsFile: ...

    def chunks(self) -> Iterator[Chunk | Reject]: ...

    def judge(self, chunk: Chunk) -> Judged:
        """Judge a chunk by the API's own rules, without the API."""

    def prepare(self, client: Client) -> None:
        """Make what is needed before the first chunk."""

    def submit(self, client: Client, chunk: Chunk) -> Judged:
        """Give a chunk to the API. Threads do so at the same time."""


class Importer(Generic[Chunk]):
    """Sends the chunks of a source. Raises WeirError."""

    def __init__(self, client: Client, source: Source[Chunk]) -> None:
        self._client = client
        self._source = source
        source.prepare(client)
        #: What was stored before this moment was stored by an earlier run.
        self.started = client.started

    def send(self) -> Generator[Judged, None, None]:
        """Answers come in the order of the chunks."""
        return _concurrently(self._client, self._submit, self._source.chunks())

    def settle(self, receipts: Iterable[str]) -> Generator[dict[str, Any], None, None]:
        """Wait for each to be stored or dead-lettered."""
        return _concurrently(self._client, self._client.settled_receipt, receipts)

    def _submit(self, chunk: Chunk | Reject) -> Judged:
        return Judged(0, [chunk]) if isinstance(chunk, Reject) else self._source.submit(self._client, chunk)


def judged(source: Source[Chunk]) -> Iterator[Judged]:
    """Judge every chunk, and send none."""
    for chunk in source.chunks():
        yield Judged(0, [chunk]) if isinstance(chunk, Reject) else source.judge(chunk)


def _concurrently(
    client: Client, work: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """Like `map`, a few at a time. When it is left early nothing more is sent, and what is under way ends first."""
    waiting = iter(items)
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        try:
            # Twice as many as threads: the next chunk is read and ready when a thread becomes free.
            under_way.extend(pool.submit(work, item) for item in islice(waiting, 2 * IN_FLIGHT))
            while under_way:
                yield under_way.popleft().result()
                under_way.extend(pool.submit(work, item) for item in islice(waiting, 1))
        except BaseException:
            client.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
