"""One run of an import: look at the beginning, judge or send it all, say what became of it."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import typer

from cli.client import Client
from cli.commands import errors, failures
from cli.importing import hints
from cli.importing.columns import MissingColumns
from cli.importing.files import STANDARD_INPUT, Input, opened
from cli.importing.hints import Sample, Told
from cli.importing.lines import Reject
from cli.importing.progress import Progress, progress
from cli.importing.rejects import SAID, Rejects
from cli.importing.sending import Importer, Judged, Outcome, Source, judged
from shared.errors import WeirError

SOME_REJECTED = 1
#: Lines at the beginning that are judged before anything is sent. Where none of them is a record, the file is not what
#: it was taken for.
BEGINNING = 1000
#: Records that a dry run shows.
SHOWN = 3
#: Reasons that the API may see in another way than this command, which does not know the API's settings.
_BY_SETTING = {"timestamp_too_old", "timestamp_too_far_ahead"}

Build = Callable[[Iterator[str]], Source[Any]]
Advise = Callable[[Sample, Told], list[str]]


class Run(NamedTuple):
    """What is to be done with a file."""

    path: Path
    build: Build
    advise: Advise
    told: Told
    url: str | None
    rejects: Path | None
    dry_run: bool
    as_json: bool
    yes: bool


def run(asked: Run) -> None:
    """Import a file, or judge it. Raises typer.Exit with the code for the outcome."""
    began = time.monotonic()
    outcome = Outcome()
    with failures(), opened(asked.path) as source, progress(quiet=asked.as_json) as shown:
        beginning = _look(asked, source)
        if asked.dry_run and not asked.as_json:
            _show(beginning)
        rejects = Rejects(asked.rejects, source)
        with closing(rejects):
            noun = _work(asked, source, outcome, rejects, shown)
    _report(outcome, noun, time.monotonic() - began, dry_run=asked.dry_run, as_json=asked.as_json)
    if outcome.rejected or outcome.dead_lettered or (outcome.left_out and not asked.dry_run):
        raise typer.Exit(SOME_REJECTED)


def confirmation(path: Path, *, yes: bool) -> Callable[[str], None]:
    """Make what asks a person before something may be stored twice, and raises WeirError where nobody agrees."""

    def confirm(what: str) -> None:
        if yes:
            errors.print(f"{what}; --yes was said")
        elif path == STANDARD_INPUT or not sys.stdin.isatty() or not typer.confirm(f"{what}. Go on?", err=True):
            raise WeirError(f"{what}. Try again later, or say --yes to go on all the same")

    return confirm


class _Beginning(NamedTuple):
    source: Source[Any]
    records: list[tuple[int, dict[str, object]]]


def _look(asked: Run, source: Input) -> _Beginning:
    """Judge the beginning of a file. Raises WeirError where there is nothing in it that could be imported."""
    found: list[tuple[int, dict[str, object]]] = []
    rejects: list[Reject] = []
    try:
        with source.lines() as text:
            made = asked.build(islice(text, BEGINNING))
            for chunk in made.chunks():
                if isinstance(chunk, Reject):
                    rejects.append(chunk)
                    continue
                faults = made.judge(chunk).rejects
                rejects += faults
                bad = {reject.line for reject in faults}
                found += [(line, chunk.shown(at)) for at, line in enumerate(chunk.lines) if line not in bad]
    except MissingColumns as error:
        raise _helped(str(error), asked, source) from error
    rejects.sort(key=lambda one: one.line)
    is_hopeless = not found and not made.file.missing and not {one.code for one in rejects} <= _BY_SETTING
    if is_hopeless and not asked.yes:
        first = rejects[0]
        field = f"{first.field} " if first.field else ""
        reason = f"none of the first {len(rejects)} records can be stored; line {first.line}: {field}"
        reason += f"{SAID.get(first.code, first.code)} (--yes goes on with the others)"
        raise _helped(reason, asked, source)
    return _Beginning(made, sorted(found, key=lambda one: one[0])[:SHOWN])


def _helped(reason: str, asked: Run, source: Input) -> WeirError:
    sample = Sample.of(source, asked.told)
    return WeirError(f"{reason}\n  {hints.explained(sample, asked.advise(sample, asked.told))}\n  nothing was sent")


def _show(beginning: _Beginning) -> None:
    print("The first records, as understood:")
    for line, record in beginning.records:
        print(f"  line {line}: {json.dumps(record, ensure_ascii=False)}")
    ignored = [name or "(no name)" for name in beginning.source.file.ignored]
    if ignored:
        print(f"Columns that are ignored: {', '.join(ignored)}")


def _work(asked: Run, source: Input, outcome: Outcome, rejects: Rejects, shown: Progress) -> str:
    """Judge or send everything, and name the rejected lines, also when it fails. Returns what a record is called."""
    with source.lines() as text:
        made = asked.build(text)

        def take(one: Judged) -> None:
            outcome.take(one)
            for reject in one.rejects:
                rejects.add(reject)
            rows = outcome.accepted + outcome.rejected
            share = source.position_bytes / max(source.size_bytes, 1)
            shown.say("judging" if asked.dry_run else "sending", rows, share)

        try:
            if asked.dry_run:
                for one in judged(made):
                    take(one)
            else:
                with Client(asked.url) as client:
                    _send(Importer(client, made), take, outcome, shown)
        finally:
            outcome.missing = made.file.missing
            shown.clear()
            text.close()
            if len(rejects):
                for sentence in rejects.report(made.file, asked.told.layout.delimiter):
                    errors.print(sentence, markup=False)
    return made.noun


def _send(importer: Importer[Any], take: Callable[[Judged], None], outcome: Outcome, shown: Progress) -> None:
    """Send everything, then wait for every receipt: done means stored."""
    receipts: list[str] = []
    with closing(importer.send()) as answers:
        for one in answers:
            take(one)
            if one.receipt:
                receipts.append(one.receipt)
    with closing(importer.settle(receipts)) as settled:
        for count, receipt in enumerate(settled, 1):
            outcome.settle(receipt, importer.started)
            shown.say("storing", outcome.stored + outcome.already_stored, count / len(receipts))


def _report(outcome: Outcome, noun: str, seconds: float, *, dry_run: bool, as_json: bool) -> None:
    rate = (outcome.accepted + outcome.rejected) / seconds
    if as_json:
        left_out = 0 if dry_run else outcome.left_out
        figures = asdict(outcome) | {"left_out": left_out, "dry_run": dry_run}
        print(json.dumps(figures | {"seconds": round(seconds, 3), "rows_per_second": round(rate)}))
        return
    timing = f"{seconds:.1f} s, {rate:,.0f} rows/s"
    if outcome.missing:
        print(f"{outcome.missing:,} lines lack a value and were left out")
    if dry_run:
        print(
            f"{outcome.accepted:,} {noun} would be accepted, {outcome.rejected:,} rejected; nothing was sent ({timing})"
        )
        return
    print(f"{outcome.accepted:,} {noun} accepted, {outcome.rejected:,} rejected ({timing})")
    print(f"{outcome.stored:,} stored now, {outcome.already_stored:,} were already stored")
    if outcome.dead_lettered:
        print(f"{outcome.dead_lettered:,} went to the dead letters")
    if outcome.left_out:
        print(f"{outcome.left_out:,} not stored: an earlier run had sent their neighbours when these were rejected;")
        print("run it again: what is stored already is told apart by then")
