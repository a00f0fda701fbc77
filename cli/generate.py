"""`weir generate readings` and `weir generate events`: files to try things with."""

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from cli import generated
from cli.commands import failures
from cli.generated import Row
from shared.errors import WeirError

#: Of a user's events when the number of users is left open.
EVENTS_PER_USER = 20

generate_app = typer.Typer(help="Make up plausible files, the same ones for the same seed.", no_args_is_help=True)

Rows = Annotated[int, typer.Option(min=1, help="How many.")]
Seed = Annotated[int, typer.Option(help="Another seed makes other records.")]
Start = Annotated[datetime, typer.Option(help="When the first one was, in UTC.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where to; packed when it ends in .gz. Standard output unless it is named."),
]
_START = datetime(2026, 1, 1)  # noqa: DTZ001 - typer takes moments without an offset


@generate_app.command("readings")
def generate_readings(
    *,
    rows: Rows,
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="Devices that take turns.")] = 10,
    seed: Seed = 1,
    start: Start = _START,
    out: Out = None,
) -> None:
    """Readings of sensors, one a second and device: slow drift, noise, a resolution of 0.01, gaps."""
    _write(out, generated.READINGS_HEADER, generated.readings(rows, devices, seed, start.replace(tzinfo=UTC)))


@generate_app.command("events")
def generate_events(
    *,
    rows: Rows,
    users: Annotated[int | None, typer.Option(min=1, help="Unless it is said, one for 20 events.")] = None,
    seed: Seed = 1,
    start: Start = _START,
    out: Out = None,
) -> None:
    """Events of a shop in 30 days: sessions, a funnel from view to purchase, users who come back less and less."""
    known = users or max(1, rows // EVENTS_PER_USER)
    _write(out, generated.EVENTS_HEADER, generated.events(rows, known, seed, start.replace(tzinfo=UTC)))


def _write(path: Path | None, header: Row, rows: Iterator[Row]) -> None:
    with failures(), _opened(path) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    """A file to write text into. Raises WeirError. A packed one does not say when it was made, so it is the same again."""
    if path is None:
        yield sys.stdout
        return
    with ExitStack() as files:
        try:
            raw = files.enter_context(path.open("wb"))
        except OSError as error:
            raise WeirError(f"{path} cannot be written: {error.strerror}") from error
        packed = files.enter_context(gzip.GzipFile("", "wb", 6, raw, 0)) if path.suffix == ".gz" else raw
        yield files.enter_context(io.TextIOWrapper(packed, encoding="utf-8", newline=""))
