"""`weir import readings FILE` and `weir import events FILE`."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cli.client import Client
from cli.commands import Url, errors, failures
from cli.csv_file import Reject, lines
from cli.import_sources import Events, Readings
from cli.importing import Importer, Judged, Outcome, Source, judged
from shared.config import load
from shared.errors import WeirError
from shared.streams.decoding import EXPLANATIONS

SOME_REJECTED = 1
LISTED = 20
SAID = {
    "columns": "has too few or too many columns",
    "not_utf_8": "holds bytes that are no UTF-8",
    "property_twice": "names a property that has a column of its own, too",
    "not_a_name": "must be UTF-8 without control characters, 200 at most",
} | EXPLANATIONS

import_app = typer.Typer(help="Bring files in.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, plain or gzipped.")]
Rejects = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rejected lines here.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Judge every line, send nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ChunkOf = Annotated[int, typer.Option(min=1, max=10_000, help="Records per request; the same on every run of a file.")]


@import_app.command("readings")
def import_readings(
    file: File,
    *,
    user: Annotated[
        str, typer.Option(metavar="EMAIL", help="Whose devices they are.")
    ] = "import@localhost.localdomain",
    url: Url = None,
    rejects: Rejects = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    chunk: ChunkOf = 10_000,
) -> None:
    """Store the readings of a CSV file with the columns device,timestamp,x,y,z.

    Safe to run twice, and to interrupt and run again: what is stored is not stored a second time. This holds for the
    file as it was. Mend rejected lines in the --rejects file and import that; of a file that has grown, import the new
    lines.

    Exit code: 0 all stored, 1 some lines rejected, 2 failed, 130 interrupted.
    """
    _import(file, lambda text: Readings(text, chunk, user), url, rejects, dry_run=dry_run, as_json=as_json)


@import_app.command("events")
def import_events(
    file: File,
    *,
    namespace: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Where ids that are no UUIDs come from, if not from this file alone."),
    ] = None,
    url: Url = None,
    rejects: Rejects = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    chunk: ChunkOf = 10_000,
) -> None:
    """Store the events of a CSV file with the columns event_id,user_id,event_type,occurred_at; all others are properties.

    A column named properties holds a JSON object of them, as `weir export events` writes it.

    Each event is stored once by its id. One that is no UUID becomes one, made of the id and of the namespace; this
    follows from the file's first two lines unless it is named. So the file may be run again, also after it has grown;
    for events that are in several files, name one namespace for all of them. Mend rejected lines in the --rejects file
    and import that.

    Exit code: 0 all stored, 1 some lines rejected, 2 failed, 130 interrupted.
    """
    _import(file, lambda text: Events(text, chunk, namespace), url, rejects, dry_run=dry_run, as_json=as_json)


def _import(
    file: Path,
    source_of: Callable[[Iterator[str]], Source[Any]],
    url: str | None,
    rejects: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    began = time.monotonic()
    outcome = Outcome()
    with failures(), _progress(as_json) as progress, file.open("rb") as raw, closing(lines(raw)) as text:
        source = source_of(text)
        with _rejects_to(rejects, file, source.columns) as write:
            take = _taker(outcome, write, progress, raw, "judging" if dry_run else "sending", file.stat().st_size)
            if dry_run:
                for one in judged(source, load()):
                    take(one)
            else:
                with Client(url) as client:
                    _send(Importer(client, source), take, outcome, progress)
    _report(outcome, source.noun, time.monotonic() - began, dry_run=dry_run, as_json=as_json)
    if outcome.rejected or outcome.dead_lettered or (outcome.left_out and not dry_run):
        raise typer.Exit(SOME_REJECTED)


def _taker(
    outcome: Outcome, write: Callable[[Reject, int], None], progress: Progress, raw: BinaryIO, doing: str, total: int
) -> Callable[[Judged], None]:
    """Make what counts each answer, writes down its rejects and moves the bar."""
    bar = progress.add_task(doing, total=total)

    def take(one: Judged) -> None:
        outcome.accepted += one.accepted
        for reject in one.rejects:
            outcome.rejected += 1
            write(reject, outcome.rejected)
        progress.update(bar, completed=raw.tell())

    return take


def _send(importer: Importer[Any], take: Callable[[Judged], None], outcome: Outcome, progress: Progress) -> None:
    """Send everything, then wait for every receipt: done means stored."""
    receipts: list[str] = []
    with closing(importer.send()) as answers:
        for one in answers:
            take(one)
            if one.receipt:
                receipts.append(one.receipt)
    with closing(importer.settle(receipts)) as settled:
        for receipt in progress.track(settled, total=len(receipts), description="storing"):
            outcome.settle(receipt, importer.started)


def _report(outcome: Outcome, noun: str, seconds: float, *, dry_run: bool, as_json: bool) -> None:
    rate = (outcome.accepted + outcome.rejected) / seconds
    if as_json:
        left_out = 0 if dry_run else outcome.left_out
        figures = asdict(outcome) | {"left_out": left_out, "dry_run": dry_run}
        print(json.dumps(figures | {"seconds": round(seconds, 3), "rows_per_second": round(rate)}))
        return
    timing = f"{seconds:.1f} s, {rate:,.0f} rows/s"
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
        print("write them to a file of their own and import that")


@contextmanager
def _rejects_to(path: Path | None, source: Path, columns: tuple[str, ...]) -> Iterator[Callable[[Reject, int], None]]:
    """Say which lines were rejected and why: the first on the terminal, all in a file if one is named."""
    if path is not None and path.exists() and path.samefile(source):
        raise WeirError("--rejects names the file to import itself")
    try:
        out = path.open("w", encoding="utf-8", newline="") if path else io.StringIO()
    except OSError as error:
        raise WeirError(f"{path} cannot be written: {error.strerror}") from error
    with out:
        rows = csv.writer(out)
        rows.writerow(("line", "field", "code", *columns))

        def write(reject: Reject, count: int) -> None:
            if path:
                rows.writerow((reject.line, reject.field or "", reject.code, *reject.values))
            if count <= LISTED:
                field = f"{reject.field} " if reject.field else ""
                errors.print(f"line {reject.line}: {field}{SAID.get(reject.code, reject.code)}")
            elif count == LISTED + 1:
                errors.print(
                    "more lines are rejected" + (f", see {path}" if path else "; --rejects FILE lists them all")
                )

        yield write


def _progress(quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=errors, disable=quiet or not errors.is_terminal)
