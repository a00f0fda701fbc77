"""The options that both import commands have, and what they say of a file."""

import csv
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.importing.columns import Layout
from cli.importing.times import Clock, form_of, zone_of
from shared.errors import WeirError

#: Names for delimiters that are hard to type.
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}

File = Annotated[Path, typer.Argument(help="CSV, plain or gzipped: a file, a pipe, or - for standard input.")]
Rejects = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rejected lines here, as they are.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Judge every line, show three as understood, send nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ChunkOf = Annotated[int, typer.Option(min=1, max=10_000, help="Most records per request.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, and go on.")]

Delimiter = Annotated[str, typer.Option(metavar="CHAR", help="Between two cells: a character, or tab.")]
Missing = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help="A cell of this text has no value. Repeatable.")
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN,…", help="Which column has a field; FIELD==TEXT: always this text."),
]
TimeColumn = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN,…", help="The column of the time, or several that make it up.")
]
TimeFormat = Annotated[
    str | None,
    typer.Option(metavar="FORMAT", help="s, ms, us or ns since 1970, auto, or a pattern such as '%d.%m.%Y %H:%M'."),
]
TimeZone = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Of times without offset: Europe/Berlin, UTC, +02:00.")
]
Ambiguous = Annotated[
    Literal["earlier", "later"] | None,
    typer.Option(help="Which of the two, where clocks went back. Otherwise: rejected."),
]
NoHeader = Annotated[bool, typer.Option("--no-header", help="The first line is a record, too; needs --columns.")]
Columns = Annotated[str | None, typer.Option(metavar="NAME,…", help="The names of the columns, with --no-header.")]


def layout_of(
    delimiter: str,
    mapping: list[str] | None,
    time_column: list[str] | None,
    missing: list[str] | None,
    columns: str | None,
    *,
    no_header: bool,
) -> Layout:
    """Make the layout that the options describe. Raises WeirError."""
    char = _DELIMITERS.get(delimiter, delimiter)
    if len(char) != 1 or char in '"\r\n':
        raise WeirError("--delimiter must be one character, or tab, comma, semicolon, pipe or space")
    if no_header is not (columns is not None):
        raise WeirError("--no-header and --columns NAME,NAME,… belong together")
    names = None if columns is None else tuple(name.strip() for name in _split(columns))
    times = tuple(name for text in time_column or () for name in _split(text))
    return Layout(char, names, _mapping(mapping or []), times, frozenset(text.strip() for text in missing or ()))


def clock_of(form: str | None, zone: str | None, ambiguous: str | None) -> Clock:
    """Make the clock that the options describe. Raises WeirError."""
    if ambiguous is not None and zone is None:
        raise WeirError("--ambiguous says which of two local times is meant, and needs --time-zone")
    second = None if ambiguous is None else ambiguous == "later"
    return Clock(form and form_of(form), zone_of(zone) if zone else None, second)


def _mapping(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in (pair for text in texts for pair in _split(text)):
        field, equals, column = pair.partition("=")
        field = field.strip().lower()
        if not equals or not field or not column:
            raise WeirError("--map must look like x=COLUMN,y=COLUMN,z=0")
        if field in found:
            raise WeirError(f"--map names {field} twice")
        found[field] = column.strip() if not column.startswith("=") else column
    return found


def _split(text: str) -> list[str]:
    """Split at commas; a name that has one itself stands in quotes."""
    return next(csv.reader([text], skipinitialspace=True), [])
