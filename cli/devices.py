"""`weir devices`: which devices there are."""

import itertools
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.client import Client
from cli.commands import Url, failures

console = Console(highlight=False, soft_wrap=True)


def devices(
    *,
    user: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only this user's.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="Only those of this name.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most devices to print.")] = 100,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List devices with their ids, in the order in which they were made. Exit code: 0, or 2 when it failed."""
    with failures(), Client(url) as client:
        wanted = {"user_id": client.find_user(user)["id"] if user else None, "name": name}
        found = list(
            itertools.islice(client.devices({key: one for key, one in wanted.items() if one is not None}), limit)
        )
    if as_json:
        print(json.dumps(found))
        return
    table = Table("id", "name", "user", box=None)
    for one in found:
        table.add_row(one["id"], one["name"] or "–", str(one["user_id"]))
    console.print(table if found else "There are none.")
    if len(found) == limit:
        console.print(f"These are the first {limit}; --limit shows more.")
