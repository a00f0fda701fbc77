"""Answers questions about readings: the numbers of each axis, exact, of one device, of several, or of all."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from analytics import cold
from analytics.buckets import Buckets
from analytics.cold import Cold
from analytics.hot import Hot
from analytics.parts import TIME, Part, keep, moment
from analytics.progress import Progress
from analytics.totals import totals
from shared import data_version
from shared.cold import manifest
from shared.cold.store import Store
from shared.ledger import queued
from shared.questions import Question
from shared.scope import Scope
from shared.streams.readings import READINGS

#: Values that a job keeps in memory instead of reading them again: 32 MB.
ROOM = 4_000_000

Answer = dict[str, Any]


class Statistics:
    """One job's look at the readings: where they are, and whom to tell how far it is."""

    def __init__(self, engine: Engine, store: Store, progress: Progress, room: int = ROOM) -> None:
        self._engine = engine
        self._store = store
        self._progress = progress
        self._room = room

    def of_device(self, device_id: UUID, question: Question) -> Answer:
        """Answer of one device. This and the next ones raise WeirError."""
        with ExitStack() as end:
            connection = end.enter_context(manifest.snapshot(self._engine))
            keys = connection.execute(text("SELECT key FROM devices WHERE id = :id"), {"id": device_id}).scalars()
            return self._together(connection, end, tuple(keys), question)

    def of_user(self, user_id: int, question: Question, *, by_device: bool) -> Answer:
        """Answer of a user's devices, together or each by itself."""
        with ExitStack() as end:
            connection = end.enter_context(manifest.snapshot(self._engine))
            found = connection.execute(_DEVICES, {"user_id": user_id})
            devices: dict[int, UUID] = {row.key: row.id for row in found}
            if by_device:
                return self._apart(connection, devices, question)
            return self._together(connection, end, tuple(devices), question)

    def of_all(self, question: Question) -> Answer:
        """Answer of all readings there are."""
        with ExitStack() as end:
            connection = end.enter_context(manifest.snapshot(self._engine))
            return self._together(connection, end, None, question)

    def _together(
        self, connection: Connection, end: ExitStack, keys: tuple[int, ...] | None, question: Question
    ) -> Answer:
        """Leaves the snapshot as soon as only files are to be read."""
        scope = Scope(keys, question.start, question.end)
        version = data_version.at_start(connection, scope)
        self._progress.saw(version)
        coverage = _coverage(connection, question)
        hot, files = Hot(connection, scope), self._files(connection, scope, question)
        self._progress.expect(hot.expected + sum(file.expected for file in files))
        columns = (*question.columns, TIME) if question.bucket else question.columns
        kept = keep(hot, columns, self._room // len(columns), self._progress.step)
        if kept is not hot:
            end.close()
        answer, rows = self._answer([kept, *files], question, coverage)
        self._progress.saw({**version, **data_version.read(rows["hot"], [file.file_id for file in files])})
        return answer

    def _apart(self, connection: Connection, devices: dict[int, UUID], question: Question) -> Answer:
        question.require_bounded(len(devices))
        whole = Scope(tuple(devices), question.start, question.end)
        version = data_version.at_start(connection, whole)
        self._progress.saw(version)
        coverage = _coverage(connection, question)
        self._progress.expect(Hot(connection, whole).expected)
        answers, hot_rows, read = {}, 0, set[str]()
        for key, device_id in devices.items():
            scope = whole.of_device(key)
            files = self._files(connection, scope, question)
            self._progress.expect(sum(file.expected for file in files))
            parts: list[Part] = [Hot(connection, scope), *files]
            answers[str(device_id)], rows = self._answer(parts, question, coverage, len(devices))
            hot_rows += rows["hot"]
            read |= {file.file_id for file in files}
        self._progress.saw({**version, **data_version.read(hot_rows, read)})
        return {"devices": answers, **coverage}

    def _files(self, connection: Connection, scope: Scope, question: Question) -> list[Cold]:
        ranks_only = question.is_of_ranks and question.bucket is None
        return cold.parts(connection, self._store, scope, ranks_only=ranks_only)

    def _answer(
        self, parts: Sequence[Part], question: Question, coverage: Answer, devices: int = 1
    ) -> tuple[Answer, dict[str, int]]:
        """Answer of what is one of so many devices, or all there is."""
        found = totals(parts, question, self._progress, self._room, timed=question.bucket is not None)
        answer: Answer = dict(found.axes)
        rows = {tier: found.rows[tier] for tier in ("hot", "cold")}
        if question.bucket:
            answer["buckets"] = []
            if found.oldest is not None and found.newest is not None:
                count = sum(rows.values())
                self._progress.expect(count)
                buckets = Buckets(question, self._progress, self._room, question.most_buckets(devices))
                answer["buckets"] = buckets.of(parts, found.oldest, found.newest, count)
        newest = None if found.newest is None else moment(found.newest).isoformat()
        return {**answer, **coverage, "newest": newest, **rows}, rows


_DEVICES = text("SELECT key, id FROM devices WHERE user_id = :user_id ORDER BY key")


def _coverage(connection: Connection, question: Question) -> Answer:
    """Say what an answer covers: the window, the moment, and how much of the stream had not arrived yet."""
    as_of = connection.execute(text("SELECT now()")).scalar_one()
    return {
        "start": question.start and question.start.isoformat(),
        "end": question.end and question.end.isoformat(),
        "as_of": as_of.isoformat(),
        "exact": True,
        "queued": queued(connection, READINGS.name),
    }
