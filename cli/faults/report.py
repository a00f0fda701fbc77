"""The outcomes as a table for the terminal, and as docs/faults.md."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from rich.table import Table

from cli.faults.fault import FAULTS
from cli.faults.outcome import Outcome
from cli.faults.uncovered import UNCOVERED

COLUMNS = ("runs", "accepted", "lost", "duplicates", "corrupt", "recovered", "innocents", "median s", "max s")

_HEAD = """# What Weir survives

Made by `make faults` on {date}, with {versions}, on {machine}; seed {seed}. `--seed` plays the same choices again.

Each run has a database and a virtual host of its own, and real processes of api and consumer. Senders keep a log of
what they sent and were told; after the fault has healed and everything is drained, every row and every dead letter is
compared with it, bit by bit. Lost: answered 202 and nowhere. Recovered: stored although the sender was not told so,
which is allowed. Innocents: dead-lettered though nothing was wrong with them. The last two columns are the seconds from
healing until a fresh reading was accepted and stored. A fault marked ★ comes at random moments; the runs take turns
between an idle, a steadily loaded and an overrun Weir.

| fault | {columns} | again |
|---|{rule}|---|
"""
_DURING = """
## While it lasted

All answers of all runs; the time they took during the fault (the worst run), the most memory seen, and what the broker
delivered again as far as it still knows.

| fault | answers | p50 ms | p99 ms | slowest ms | API MB | consumer MB | redelivered |
|---|---|---:|---:|---:|---:|---:|---:|
"""
_UNCOVERED = """
## Not covered here

| fault | why |
|---|---|
"""


def cells(outcomes: Sequence[Outcome]) -> list[str]:
    """One fault's row, in the order of the columns."""
    verdicts = [one.verdict for one in outcomes if one.verdict is not None]
    times = [one.stored_seconds for one in outcomes if one.stored_seconds is not None]
    return [
        str(len(outcomes)),
        f"{sum(one.accepted for one in verdicts):,}",
        str(sum(len(one.lost) for one in verdicts)),
        str(sum(len(one.duplicates) for one in verdicts)),
        str(sum(len(one.corrupt) + one.unexpected for one in verdicts)),
        f"{sum(one.recovered for one in verdicts):,}",
        str(sum(len(one.innocents) for one in verdicts)),
        f"{median(times):.1f}" if times else "–",
        f"{max(times):.1f}" if times else "–",
    ]


def table(found: Mapping[str, Sequence[Outcome]]) -> Table:
    made = Table("fault", *COLUMNS, "", box=None)
    for name, outcomes in found.items():
        failed = sum(not one.passed for one in outcomes)
        mark = f"[red]{failed} failed[/red]" if failed else "[green]✓[/green]"
        made.add_row(name, *cells(outcomes), mark)
    return made


def page(
    found: Mapping[str, Sequence[Outcome]], seed: int, machine: Mapping[str, Any], versions: Mapping[str, str]
) -> str:
    """Write docs/faults.md."""
    head = _HEAD.format(
        date=datetime.now(UTC).date(),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        machine=f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB",
        seed=seed,
        columns=" | ".join(COLUMNS),
        rule="|".join("---:" for _ in COLUMNS),
    )
    lines = [_line(name, outcomes) for name, outcomes in found.items()]
    missing = [f"| {what} | {why} |\n" for what, why in UNCOVERED.items()]
    during = [_during(name, outcomes) for name, outcomes in found.items()]
    return head + "".join(lines) + _notes(found) + _DURING + "".join(during) + _UNCOVERED + "".join(missing)


def _line(name: str, outcomes: Sequence[Outcome]) -> str:
    fault = FAULTS[name]
    what = f"{fault.numbers}{' ★' if fault.starred else ''} {fault.what}"
    failed = sum(not one.passed for one in outcomes)
    again = f"`make faults only={name}`" + (f", {failed} failed" if failed else "")
    return f"| {what} | {' | '.join(cells(outcomes))} | {again} |\n"


def _during(name: str, outcomes: Sequence[Outcome]) -> str:
    answers: Counter[str] = Counter()
    for one in outcomes:
        answers.update(one.answers)
    worst = [
        _most(one.p50_ms for one in outcomes),
        _most(one.p99_ms for one in outcomes),
        _most(one.slowest_ms for one in outcomes),
        _most(one.peak_mb.get("api") for one in outcomes),
        _most(one.peak_mb.get("consumer") for one in outcomes),
        f"{sum(one.redeliveries or 0 for one in outcomes):,}",
    ]
    mix = ", ".join(f"{status}: {count:,}" for status, count in answers.most_common())
    return f"| {name} | {mix} | {' | '.join(worst)} |\n"


def _most(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):,.0f}" if known else "–"


def _notes(found: Mapping[str, Sequence[Outcome]]) -> str:
    """What failed and why, and what went with a queue that was deleted."""
    notes = [
        f"* {one.fault}, run {one.number + 1} ({one.moment}): {'; '.join(one.complaints)}\n"
        for outcomes in found.values()
        for one in outcomes
        if not one.passed
    ]
    for name, outcomes in found.items():
        gone = sum(one.verdict.gone for one in outcomes if one.verdict)
        if gone:
            notes.append(
                f"* {name}: {gone:,} accepted readings were in the queue that was deleted, and went with it.\n"
            )
    return "\n" + "".join(notes) if notes else ""
