"""`weir import readings FILE` and `weir stats DEVICE`."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.client import Client
from cli.importing import Importer, Judged, Outcome, judge
from cli.readings_file import COLUMNS, Chunk, Reject, chunks, lines
from shared.config import load
from shared.errors import WeirError
from shared.streams.decoding import EXPLANATIONS

SOME_REJECTED, FAILED, INTERRUPTED = 1, 2, 130
LISTED = 20
AXES = ("x", "y", "z")
FIGURES = ("min", "max", "count", "sum", "median")
SAID = {
    "columns": "has too few or too many columns",
    "not_a_name": "must be UTF-8 without control characters, 200 at most",
} | EXPLANATIONS

import_app = typer.Typer(help="Bring files in.", no_args_is_help=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Url = Annotated[str | None, typer.Option(help="Address of the API, if not this machine's.", show_default=False)]


@import_app.callback()
def _group() -> None:
    """Keep `readings` a word of its own beside what else may be imported."""


@import_app.command("readings")
def import_readings(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV, plain or gzipped, with device,timestamp,x,y,z.")
    ],
    *,
    user: Annotated[
        str, typer.Option(metavar="EMAIL", help="Whose devices they are.")
    ] = "import@localhost.localdomain",
    url: Url = None,
    rejects: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rejected lines here.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge every line, send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    chunk: Annotated[
        int, typer.Option(min=1, max=10_000, help="Readings per request; the same on every run of a file.")
    ] = 10_000,
) -> None:
    """Store the readings of a CSV file.

    Safe to run twice, and to interrupt and run again: what is stored is not stored a second time. This holds for the
    file as it was. Mend rejected lines in the --rejects file and import that; of a file that has grown, import the new
    lines.

    Exit code: 0 all stored, 1 some lines rejected, 2 failed, 130 interrupted.
    """
    began = time.monotonic()
    outcome = Outcome()
    with (
        failures(),
        _rejects_to(rejects, file) as write,
        _progress(as_json) as progress,
        file.open("rb") as raw,
        closing(lines(raw)) as text,
    ):
        sending = progress.add_task("judging" if dry_run else "sending", total=file.stat().st_size)

        def take(judged: Judged) -> None:
            outcome.accepted += judged.accepted
            for reject in judged.rejects:
                outcome.rejected += 1
                write(reject, outcome.rejected)
            progress.update(sending, completed=raw.tell())

        parts = chunks(text, chunk)
        if dry_run:
            settings = load()
            for part in parts:
                take(judge(part, settings))
        else:
            with Client(url) as client:
                _send(Importer(client, user), parts, take, outcome, progress)
    _report(outcome, time.monotonic() - began, dry_run=dry_run, as_json=as_json)
    if outcome.rejected or outcome.dead_lettered or (outcome.left_out and not dry_run):
        raise typer.Exit(SOME_REJECTED)


def stats(
    device: Annotated[str, typer.Argument(help="A device's id or name.")],
    *,
    start: Annotated[str | None, typer.Option(help="From this moment on; UTC unless it has an offset.")] = None,
    end: Annotated[str | None, typer.Option(help="Up to this moment.")] = None,
    user: Annotated[str | None, typer.Option(metavar="EMAIL", help="Whose device, when several have the name.")] = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Print the statistics of a device, each number as exact as it was computed."""
    with failures(), Client(url) as client:
        user_id = client.find_user(user)["id"] if user else None
        result = client.statistics(client.find_device(device, user_id)["id"], start, end)
    if as_json:
        print(json.dumps(result))
        return
    table = Table("axis", *FIGURES)
    for axis in AXES:
        figures = (result[axis][name] for name in FIGURES)
        table.add_row(axis, *("–" if figure is None else repr(figure) for figure in figures))
    Console(highlight=False).print(table)
    print(f"as of {result['as_of']}, {result['queued']:,} accepted readings not stored yet")


def _send(
    importer: Importer,
    parts: Iterator[Chunk | Reject],
    take: Callable[[Judged], None],
    outcome: Outcome,
    progress: Progress,
) -> None:
    """Send everything, then wait for every receipt: done means stored."""
    receipts: list[str] = []
    with closing(importer.send(parts)) as answers:
        for judged in answers:
            take(judged)
            if judged.receipt:
                receipts.append(judged.receipt)
    with closing(importer.settle(receipts)) as settled:
        for receipt in progress.track(settled, total=len(receipts), description="storing"):
            outcome.settle(receipt, importer.started)


def _report(outcome: Outcome, seconds: float, *, dry_run: bool, as_json: bool) -> None:
    rate = (outcome.accepted + outcome.rejected) / seconds
    if as_json:
        left_out = 0 if dry_run else outcome.left_out
        figures = asdict(outcome) | {"left_out": left_out, "dry_run": dry_run}
        print(json.dumps(figures | {"seconds": round(seconds, 3), "rows_per_second": round(rate)}))
        return
    timing = f"{seconds:.1f} s, {rate:,.0f} rows/s"
    if dry_run:
        print(
            f"{outcome.accepted:,} readings would be accepted, {outcome.rejected:,} rejected; nothing was sent ({timing})"
        )
        return
    print(f"{outcome.accepted:,} readings accepted, {outcome.rejected:,} rejected ({timing})")
    print(f"{outcome.stored:,} stored now, {outcome.already_stored:,} were already stored")
    if outcome.dead_lettered:
        print(f"{outcome.dead_lettered:,} went to the dead letters")
    if outcome.left_out:
        print(f"{outcome.left_out:,} not stored: an earlier run had sent their neighbours when these were rejected;")
        print("write them to a file of their own and import that")


@contextmanager
def _rejects_to(path: Path | None, source: Path) -> Iterator[Callable[[Reject, int], None]]:
    """Say which lines were rejected and why: the first on the terminal, all in a file if one is named."""
    if path is not None and path.exists() and path.samefile(source):
        raise WeirError("--rejects names the file to import itself")
    try:
        out = path.open("w", encoding="utf-8", newline="") if path else io.StringIO()
    except OSError as error:
        raise WeirError(f"{path} cannot be written: {error.strerror}") from error
    with out:
        rows = csv.writer(out)
        rows.writerow(("line", "field", "code", *COLUMNS))

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


@contextmanager
def failures() -> Iterator[None]:
    try:
        yield
    except WeirError as error:
        errors.print(f"[red]weir:[/red] {escape(str(error))}")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        errors.print("interrupted; the same command again goes on from here")
        raise typer.Exit(INTERRUPTED) from None
