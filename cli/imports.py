"""`weir import readings FILE` and `weir import events FILE`."""

from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from cli.commands import Url, failures
from cli.importing import hints
from cli.importing.arguments import (
    Ambiguous,
    AsJson,
    ChunkOf,
    Columns,
    Delimiter,
    DryRun,
    File,
    Map,
    Missing,
    NoHeader,
    Rejects,
    TimeColumn,
    TimeFormat,
    TimeZone,
    Yes,
    clock_of,
    layout_of,
)
from cli.importing.events_file import EventsFile, IdFrom
from cli.importing.hints import Told
from cli.importing.readings_file import ReadingsFile
from cli.importing.running import Run, confirmation, run
from cli.importing.sources import Events, Readings
from shared.config import load

import_app = typer.Typer(help="Bring files in.", no_args_is_help=True)


@import_app.command("readings")
def import_readings(
    file: File,
    *,
    user: Annotated[
        str, typer.Option(metavar="EMAIL", help="Whose devices they are.")
    ] = "import@localhost.localdomain",
    device: Annotated[str | None, typer.Option(metavar="NAME", help="The device of all lines.")] = None,
    delimiter: Delimiter = ",",
    decimal: Annotated[Literal[".", ","], typer.Option(help="What stands before decimals.")] = ".",
    missing: Missing = None,
    mapping: Map = None,
    time_column: TimeColumn = None,
    time_format: TimeFormat = None,
    time_zone: TimeZone = None,
    ambiguous: Ambiguous = None,
    no_header: NoHeader = False,
    columns: Columns = None,
    url: Url = None,
    rejects: Rejects = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    yes: Yes = False,
    chunk: ChunkOf = 10_000,
) -> None:
    """Store the readings of a CSV file with the columns device,timestamp,x,y,z, or others that the options name.

    Safe to run again: also when it was interrupted, when the file has grown or lines of it were mended, and however it is
    cut into requests. What is stored already is looked up first, and not stored a second time. Mend rejected lines in
    the file itself, or in the --rejects file, and import that.

    Exit code: 0 all stored, 1 some lines rejected, 2 failed, 130 interrupted.
    """
    with failures():
        layout = layout_of(delimiter, mapping, time_column, missing, columns, no_header=no_header)
        clock = clock_of(time_format, time_zone, ambiguous)
        settings, confirm = load(), confirmation(file, yes=yes)

    def build(lines: Iterator[str]) -> Readings:
        read = ReadingsFile(lines, layout, clock, device=device, decimal=decimal)
        return Readings(read, chunk, settings, user, confirm)

    told = Told(layout, clock, decimal, device)
    run(Run(file, build, hints.for_readings, told, url, rejects, dry_run, as_json, yes))


@import_app.command("events")
def import_events(
    file: File,
    *,
    namespace: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Where ids that are no UUIDs come from, if not from this file alone."),
    ] = None,
    event_id: Annotated[
        IdFrom | None, typer.Option("--event-id", help="What ids are made of, where no column has them.")
    ] = None,
    delimiter: Delimiter = ",",
    missing: Missing = None,
    mapping: Map = None,
    time_column: TimeColumn = None,
    time_format: TimeFormat = None,
    time_zone: TimeZone = None,
    ambiguous: Ambiguous = None,
    no_header: NoHeader = False,
    columns: Columns = None,
    url: Url = None,
    rejects: Rejects = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    yes: Yes = False,
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
    with failures():
        layout = layout_of(delimiter, mapping, time_column, missing, columns, no_header=no_header)
        clock, settings = clock_of(time_format, time_zone, ambiguous), load()

    def build(lines: Iterator[str]) -> Events:
        read = EventsFile(lines, layout, clock, namespace=namespace, id_from=event_id)
        return Events(read, chunk, settings)

    told = Told(layout, clock, id_from=event_id)
    run(Run(file, build, hints.for_events, told, url, rejects, dry_run, as_json, yes))
