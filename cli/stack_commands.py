"""Commands about the local stack, and the checks of any: up, down, reset, status, address, migrate, doctor."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from cli import commands, demo
from cli.doctor import report
from cli.doctor.checks import State, worst
from cli.stack import Stack
from shared.config import load
from shared.errors import WeirError
from shared.migrations import upgrade

console = Console(highlight=False, soft_wrap=True)


def up() -> None:
    """Start everything on this machine, prove it with a demo device, and print the addresses."""
    stack = Stack(load())
    with _progress() as step:
        stack.up(step)
        step("sending readings of a demo device and asking for its statistics")
        try:
            answer = demo.run(stack.api_url)
        except WeirError as error:
            stack.supervisor.check()
            raise WeirError(f"{error}; the logs are in {stack.supervisor.logs}") from error
    console.print("\nThe demo device's statistics:")
    console.print_json(data=answer)
    _print_addresses(stack)


def down() -> None:
    """Drain and stop everything; what was accepted is kept for the next time."""
    with _progress() as step:
        Stack(load()).down(step)
    console.print("Weir is down.")


def reset() -> None:
    """Stop everything and remove all data."""
    with _progress() as step:
        Stack(load()).reset(step)
    console.print("Weir is down and its data is gone.")


def status() -> None:
    """Show what runs, since when, and where its log is."""
    supervisor = Stack(load()).supervisor
    if not supervisor.is_running():
        raise WeirError("nothing runs here; `make up` starts it")
    table = Table("program", "state", "since", box=None)
    for info in supervisor.states():
        table.add_row(info["name"], info["statename"], info["description"])
    console.print(table)
    console.print(f"Their logs are in {supervisor.logs}.")


def address() -> None:
    """Print where the API is: what WEIR_API_PORT says, else where `weir up` started it, else the default."""
    typer.echo(Stack(load()).api_url)


def migrate() -> None:
    """Bring the database at WEIR_DATABASE_URL to the newest schema."""
    upgrade(load().database_url)


def doctor(
    *,
    url: commands.Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check that everything is as designed, and say what it means and what to do where it is not.

    Asks the API, the database and the broker's management API; changes nothing. Exit code: 1 when a check fails.
    """
    stack = Stack(load())
    checks = report.examine(stack.running_settings(), url or stack.api_url)
    if as_json:
        typer.echo(report.as_json(checks))
    else:
        report.show(console, checks)
    if worst(checks) is State.FAIL:
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show the step at work, and leave a line with its time once it is done."""
    current, began = "", time.monotonic()
    with console.status("") as line:

        def step(what: str) -> None:
            nonlocal current, began
            if current:
                console.print(f"  [green]✓[/green] {current} [dim]({time.monotonic() - began:.1f} s)[/dim]")
            current, began = what, time.monotonic()
            line.update(f"{what} …")

        try:
            yield step
        except WeirError:
            if current:
                console.print(f"  [red]✗[/red] {current}")
            raise
        step("")


def _print_addresses(stack: Stack) -> None:
    console.print(f"\nAPI         {stack.api_url}")
    console.print(f"its docs    {stack.api_url}/docs")
    management = urlsplit(stack.management_url)
    if management.hostname:
        console.print(f"RabbitMQ    http://{management.hostname}:{management.port}", end="")
        console.print(f"  user {management.username}, password {management.password}" if stack.owns_broker else "")
    console.print("\n`make status` shows what runs, `make down` stops it.")
