"""The outcomes as a table for the terminal, and as docs/faults.md."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.table import Table

from cli.faults.fault import FAULTS
from cli.faults.record import Record
from cli.faults.uncovered import UNCOVERED
from shared.errors import Misconfigured

COLUMNS = ("runs", "accepted", "lost", "duplicates", "corrupt", "recovered", "innocents", "median s", "max s")

#: Between these stands the summary in the README.
BEGIN, END = "<!-- made by `make faults` -->\n", "<!-- until here -->"

_HEAD = """# What Weir survives

Made by `make faults`, with {versions}, on {machine}; each line says when.

Each run has a database and a virtual host of its own, and real processes of api and consumer. Senders send readings
and events, some of these several times; they keep a log of what they sent and were told; after the fault has healed
and everything is drained, every row is compared with it, bit by bit, and every dead letter. Lost: answered 202 and
nowhere. Duplicates: stored twice, dead-lettered twice, or both. Recovered: stored although the sender was not told
so, which is allowed. Innocents: dead-lettered though nothing was wrong with them. An answer that hangs, a connection
that is cut and a process that ends by itself are complaints, unless the fault does just that. The seconds are those
from healing until a fresh record of each stream was accepted and stored. A fault comes at random moments, twenty
times where it is marked ★ and three times where not; its runs take turns between an idle, a steadily loaded and an
overrun Weir as far as these make sense for it. `seed=` plays the same choices again. {code}

**{runs:,} runs of {faults} faults, {accepted:,} records accepted: {lost} lost, {duplicates} duplicates, {corrupt} corrupt,
{innocents} innocents dead-lettered; {failed} runs with a complaint.**

| fault | {columns} | made on | again |
|---|{rule}|---|---|
"""
_DURING = """
## While it lasted

Every answer of all runs; the times of those of which any part lay within the fault (the worst run), the most memory seen, and what the broker delivered again as far as it still knows.

| fault | answers | p50 ms | p99 ms | slowest ms | API MB | consumer MB | redelivered |
|---|---|---:|---:|---:|---:|---:|---:|
"""
_UNCOVERED = """
## Not covered here

| fault | why |
|---|---|
"""


def table(records: Iterable[Record]) -> Table:
    made = Table("fault", *COLUMNS, "", box=None)
    for one in records:
        mark = f"[red]{one.failed} failed[/red]" if one.failed else "[green]✓[/green]"
        made.add_row(one.fault, *_cells(one), mark)
    return made


def page(records: Sequence[Record]) -> str:
    """Write docs/faults.md. Of a fault that the table has no more nothing is shown."""
    known = sorted((one for one in records if one.fault in FAULTS), key=lambda one: list(FAULTS).index(one.fault))
    totals = {
        name: sum(getattr(one, name) for one in known)
        for name in ("runs", "accepted", "lost", "duplicates", "corrupt", "innocents", "failed")
    }
    head = _HEAD.format(
        versions=" or ".join(sorted({one.versions for one in known})),
        machine=" or ".join(sorted({one.machine for one in known})),
        faults=len(known),
        columns=" | ".join(COLUMNS),
        rule="|".join("---:" for _ in COLUMNS),
        code=_code(known),
        **totals,
    )
    missing = [f"| {what} | {why} |\n" for what, why in UNCOVERED.items()]
    notes = "".join(f"* {note}\n" for one in known for note in one.notes)
    return "".join(
        [head, *map(_line, known), "\n" + notes if notes else "", _DURING, *map(_during, known), _UNCOVERED, *missing]
    )


def summary(records: Iterable[Record]) -> str:
    """Write the README's table: a line for each kind of fault, and their sum."""
    made: dict[str, list[Record]] = {}
    for one in records:
        if one.fault in FAULTS:
            made.setdefault(FAULTS[one.fault].kind, []).append(one)
            made.setdefault("**all**", []).append(one)
    made["**all**"] = made.pop("**all**", [])
    head = (
        "| what breaks | faults | runs | records accepted | lost | duplicates | corrupt | innocents dead-lettered |\n"
    )
    return head + "|---|" + "---:|" * 7 + "\n" + "".join(_summed(kind, some) for kind, some in made.items())


def with_summary(readme: str, records: Iterable[Record]) -> str:
    """Put the table between its marks in the README. Raises Misconfigured when they are not there, once each."""
    before, begins, rest = readme.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not (begins and ends) or BEGIN in rest or END in before + after:
        raise Misconfigured(
            f"the README has not one {BEGIN.strip()} and after it one {END}: nothing was written into it"
        )
    return f"{before}{begins}\n{summary(records)}{ends}{after}"


def _summed(kind: str, records: Sequence[Record]) -> str:
    names = ("runs", "accepted", "lost", "duplicates", "corrupt", "innocents")
    sums = [sum(getattr(one, name) for one in records) for name in names]
    return f"| {kind} | {len(records)} | {' | '.join(f'{count:,}' for count in sums)} |\n"


def _code(records: Sequence[Record]) -> str:
    """Say whether all faults were run on the same code."""
    lines = Counter(one.code or "unknown" for one in records).most_common()
    if len(lines) == 1:
        return f"All lines are of one code, {lines[0][0]}."
    return "The code of each line: " + ", ".join(f"{count} of {code}" for code, count in lines) + "."


def _cells(one: Record) -> list[str]:
    """One fault's row, in the order of the columns."""
    counts = (one.runs, one.accepted, one.lost, one.duplicates, one.corrupt, one.recovered, one.innocents)
    return [*(f"{count:,}" for count in counts), _number(one.median_seconds, 1), _number(one.most_seconds, 1)]


def _line(one: Record) -> str:
    fault = FAULTS[one.fault]
    what = f"{fault.numbers}{' ★' if fault.starred else ''} {fault.what}"
    again = f"`make faults only={one.fault} seed={one.seed}`" + (f", {one.failed} failed" if one.failed else "")
    return f"| {what} | {' | '.join(_cells(one))} | {one.date} | {again} |\n"


def _during(one: Record) -> str:
    worst = (one.p50_ms, one.p99_ms, one.slowest_ms, one.api_mb, one.consumer_mb)
    mix = ", ".join(f"{status}: {count:,}" for status, count in one.answers.items())
    return f"| {one.fault} | {mix} | {' | '.join(_number(value, 0) for value in worst)} | {one.redelivered:,} |\n"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
