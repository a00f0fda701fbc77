"""What all runs of one fault came to, as it is kept."""

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any, Self

import msgspec

from cli.faults.outcome import Outcome
from cli.programs import write_if_changed


class Record(msgspec.Struct, frozen=True):
    """One fault's line in docs/faults.md."""

    fault: str
    date: date
    seed: int
    #: Of the servers and of Python, and the machine, as one reads them.
    versions: str
    machine: str
    runs: int
    #: Runs with a complaint.
    failed: int
    accepted: int
    lost: int
    duplicates: int
    corrupt: int
    recovered: int
    innocents: int
    #: From healing until a fresh record of each stream was stored.
    median_seconds: float | None
    most_seconds: float | None
    answers: dict[str, int]
    #: The worst of all runs.
    p50_ms: float | None
    p99_ms: float | None
    slowest_ms: float | None
    api_mb: float | None
    consumer_mb: float | None
    redelivered: int
    #: What failed and why, and what went with a queue that was deleted.
    notes: list[str]
    #: Of what was run (`code_version`); empty in records from before it was kept.
    code: str = ""

    @classmethod
    def of(
        cls, outcomes: Sequence[Outcome], seed: int, code: str, machine: Mapping[str, Any], versions: Mapping[str, str]
    ) -> Self:
        verdicts = [one.verdict for one in outcomes if one.verdict is not None]
        seconds = [one.stored_seconds for one in outcomes if one.stored_seconds is not None]
        answers: Counter[str] = Counter()
        for one in outcomes:
            answers.update(one.answers)
        return cls(
            fault=outcomes[0].fault,
            date=datetime.now(UTC).date(),
            seed=seed,
            versions=", ".join(f"{name} {version}" for name, version in versions.items()),
            machine=f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB",
            runs=len(outcomes),
            failed=sum(not one.passed for one in outcomes),
            accepted=sum(one.accepted for one in verdicts),
            lost=sum(len(one.lost) for one in verdicts),
            duplicates=sum(len(one.duplicates) for one in verdicts),
            corrupt=sum(len(one.corrupt) + one.unexpected for one in verdicts),
            recovered=sum(one.recovered for one in verdicts),
            innocents=sum(len(one.innocents) for one in verdicts),
            median_seconds=median(seconds) if seconds else None,
            most_seconds=max(seconds, default=None),
            answers=dict(answers.most_common()),
            p50_ms=_most(one.p50_ms for one in outcomes),
            p99_ms=_most(one.p99_ms for one in outcomes),
            slowest_ms=_most(one.slowest_ms for one in outcomes),
            api_mb=_most(one.peak_mb.get("api") for one in outcomes),
            consumer_mb=_most(one.peak_mb.get("consumer") for one in outcomes),
            redelivered=sum(one.redeliveries or 0 for one in outcomes),
            notes=_notes(outcomes),
            code=code,
        )


def read(path: Path) -> list[Record]:
    """Return what is kept in this file; nothing when there is none yet."""
    return msgspec.json.decode(path.read_bytes() if path.exists() else b"[]", type=list[Record])


def keep(path: Path, record: Record, publish: Callable[[list[Record]], None]) -> None:
    """Put a record in the place of the one before, and publish all. Several may do so at the same time: one by one."""
    with _locked(path.parent):
        kept = read(path)
        records = sorted([*(one for one in kept if one.fault != record.fault), record], key=lambda one: one.fault)
        write_if_changed(path, msgspec.json.format(msgspec.json.encode(records), indent=1).decode() + "\n")
        publish(records)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder: that of a file would go with the file when another takes its place."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    notes = [
        f"{one.fault}, run {one.number + 1} ({one.moment}): {'; '.join(one.complaints)}"
        for one in outcomes
        if not one.passed
    ]
    gone = sum(one.verdict.gone for one in outcomes if one.verdict)
    if gone:
        notes.append(
            f"{outcomes[0].fault}: {gone:,} accepted records were in a queue that was deleted, and went with it."
        )
    return notes
