"""What the commands that speak to the API have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from shared.errors import WeirError

FAILED, INTERRUPTED = 2, 130

errors = Console(stderr=True, highlight=False, soft_wrap=True)

Url = Annotated[str | None, typer.Option(help="Address of the API, if not this machine's.", show_default=False)]


@contextmanager
def failures(interrupted: str = "the same command again goes on from here") -> Iterator[None]:
    """Say in a sentence what went wrong, and end with the exit code for it."""
    try:
        yield
    except WeirError as error:
        errors.print(f"[red]weir:[/red] {escape(str(error))}")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        errors.print(f"interrupted; {interrupted}")
        raise typer.Exit(INTERRUPTED) from None
