"""`weir stats DEVICE`, and what commands of clients have in common."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.client import Client
from shared.errors import WeirError

FAILED, INTERRUPTED = 2, 130
AXES = ("x", "y", "z")
FIGURES = ("min", "max", "count", "sum", "median")

errors = Console(stderr=True, highlight=False, soft_wrap=True)

Url = Annotated[str | None, typer.Option(help="Address of the API, if not this machine's.", show_default=False)]


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
